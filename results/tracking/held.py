"""What MLflow holds about a study: its runs, found again by their tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

KEY = "thermotune.key"
"""Tag by which a run is found again: the study's id, for a trial followed by a slash and its name."""
STUDY = "thermotune.study"
"""Tag with the study's id."""
CREATED = "thermotune.created"
"""Tag with the time at which a run was made, in nanoseconds: of twins, which a lost reply can make, the older stays."""
PARENT = "mlflow.parentRunId"
"""MLflow's own tag for runs below others."""

_PAGE = 1000


@dataclass(slots=True, kw_only=True)
class HeldRun:
    """A run as MLflow has it; whoever changes it there notes it here."""

    id: str
    status: str
    end_ms: int | None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    """Names of its metrics."""

    @property
    def key(self) -> str:
        """What it is the run of."""
        return self.tags[KEY]

    @property
    def age(self) -> tuple[int, str]:
        """Smaller for the older of two twins, and never equal."""
        return int(self.tags.get(CREATED, "0")), self.id


def experiment_id(client: Any, name: str) -> str | None:  # Any: mlflow is untyped
    """The id of an experiment; None if there is none of that name."""
    found = client.get_experiment_by_name(name)
    return None if found is None else str(found.experiment_id)


def held_runs(client: Any, experiment: str, study: str) -> Iterator[HeldRun]:  # Any: mlflow is untyped
    """The study's runs that were not deleted; of a lost reply there may be twins with one key.

    Args:
        client: An ``MlflowClient``.
        experiment: Id of the experiment.
        study: Id of the study.
    """
    token = None
    while True:
        page = client.search_runs(
            [experiment], filter_string=f"tags.`{STUDY}` = '{study}'", max_results=_PAGE, page_token=token
        )
        for run in page:
            if KEY in run.data.tags:  # else not ours: somebody copied a tag
                yield HeldRun(
                    id=run.info.run_id,
                    status=run.info.status,
                    end_ms=run.info.end_time,
                    tags=dict(run.data.tags),
                    params=dict(run.data.params),
                    metrics=tuple(run.data.metrics),
                )
        token = page.token
        if not token:
            return
