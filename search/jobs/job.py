"""A job: the driver of a study on a cluster, as the job server describes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A study's driver on a cluster."""

    id: str
    study: str
    root: str
    kind: str
    """``submit`` or ``resume``."""
    state: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str
    exit_code: int | None
    """Of the driver; negative where a signal killed it; None while it runs, and where the job was stopped."""
    began: datetime | None
    ended: datetime | None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ("PENDING", "RUNNING")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Job | None:  # Any: JSON
        """The job; None if it is none of ours."""
        metadata = values.get("metadata") or {}
        if not values.get("submission_id") or not {"study", "root", "kind"} <= metadata.keys():
            return None
        return cls(
            id=values["submission_id"],
            study=metadata["study"],
            root=metadata["root"],
            kind=metadata["kind"],
            state=values["status"],
            message=values.get("message") or "",
            exit_code=values.get("driver_exit_code"),
            began=_time(values.get("start_time")),
            ended=_time(values.get("end_time")),
        )


def _time(milliseconds: int | None) -> datetime | None:
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, UTC)
