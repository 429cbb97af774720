"""Typed answers to questions asked of a study's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from results.facts import Change
from results.schema import Stage, StudyState, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial as it stands."""

    trial: str
    """``t0001``, ..."""
    arm: str
    """Its arm; of a teacher, its name."""
    stage: Stage
    """A teacher, explored, or confirmed on a fresh seed."""
    number: int
    """0-based order within arm and stage."""
    state: TrialState
    """Where it stands."""
    attempt: int
    """Starts so far."""
    restarts: int
    """Starts after a worker or a driver was lost; going on after a pause is none."""
    crashes: int
    """Starts that ended because the worker raised an exception or died."""
    moves: int
    """Starts that ended because the node was lost or taken away."""
    epochs: int
    """Visible epochs trained."""
    value: float | None
    """The study's metric when the trial ended; None before, and where the trial has none."""
    last_value: float | None
    """The study's metric at the last visible epoch."""
    source: str | None
    """Confirm only: the explored trial it repeats."""
    seeds: tuple[int, ...]
    """Seed of each lane."""
    coordinates: Mapping[str, object]
    """What the sampler chose, by dotted path."""
    params: Mapping[str, object]
    """The values these give in the recipe."""
    recipe: Mapping[str, Any]  # Any: the whole nested recipe
    """The whole resolved recipe."""
    origin: str | None
    """Explore only: why these coordinates, in words; None in older studies."""
    audited: bool
    """Whether it runs on where the stopping rule would end it."""
    reason: str | None
    """Why it ended."""
    error: str | None
    """Traceback of a failed trial."""
    created_at: datetime
    """When it was proposed; UTC."""
    started_at: datetime | None
    """When it first ran; UTC."""
    ended_at: datetime | None
    """When it ended; UTC."""
    mean_epoch_time_s: float | None
    """Mean time of a visible epoch, lanes added up; s."""
    train_time_s: float
    """Time of all epochs of all attempts and lanes; s."""

    @property
    def reused(self) -> bool:
        """Whether it is a teacher that was on the shelf: on record, but not trained in this study."""
        return self.stage is Stage.TEACH and self.state is TrialState.COMPLETED and self.attempt == 0

    def setting(self, path: str) -> object:
        """The recipe's value at a dotted path, whether searched, fixed by the arm or default; None if there is none."""
        if path in self.params:
            return self.params[path]
        value: object = self.recipe
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMean:
    """An epoch of a trial, mean over its lanes."""

    trial: str
    """The trial."""
    epoch: int
    """1-based epoch."""
    attempt: int
    """Attempt that trained it."""
    lanes: int
    """Lanes that reported it."""
    reported_at: datetime
    """When the last lane's row came; UTC."""
    epoch_time_s: float
    """Time of the epoch, lanes added up; s."""
    metrics: Mapping[str, float]
    """Measured means by metric name; may be NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A driver session."""

    session: str
    """``s0001``, ..."""
    state: StudyState
    """State in its last row; RUNNING if it never wrote its end."""
    started_at: datetime
    """When it took the study up; UTC."""
    ended_at: datetime | None
    """When it put the study down; None if it never did."""
    last_row_at: datetime
    """When its last row of any table came; UTC."""
    host: str
    """Host of the driver."""
    pid: int
    """Process of the driver."""
    slots: int
    """Trials that may run at once."""
    command: str
    """Command line."""
    environment: Mapping[str, Any]  # Any: a JSON document
    """Commit, versions, hardware."""
    reason: str | None
    """Why it ended."""
    amendment: int | None
    """Study file that it went by: 1 for ``study.yaml``, n for ``study-n.yaml``; None in older studies."""
    wall_time_s: float
    """How long it took, by a clock that nobody can set; of one that never said so, by the times of its rows; s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """A later study file, and who went by it first."""

    number: int
    """n of ``study-n.yaml``, from 2."""
    changes: tuple[Change, ...]
    """What differs from the file before."""
    session: str | None
    """The first driver session that went by it; None while none did, and in older studies."""
    since: datetime | None
    """When this session took the study up; UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Successive epochs of a trial that were on record, and were trained again in a session.

    The session or worker that had trained them died after the last checkpoint that could be read. An epoch that was
    trained three times is in two of these.
    """

    trial: str
    """The trial."""
    session: str
    """The session that trained them again."""
    trained_in: tuple[str, ...]
    """The sessions that had trained them before; the same one where only the trial's worker died."""
    from_epoch: int
    """The first of these epochs."""
    to_epoch: int
    """The last of them."""
    wasted_s: float
    """Time of what was trained before, lanes added up; s."""

    @property
    def epochs(self) -> int:
        """How many there are."""
        return self.to_epoch - self.from_epoch + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What became of the trials of an arm that reached a rung, by the first verdict on each."""

    arm: str
    """The arm."""
    epoch: int
    """Epoch of the rung."""
    bracket: int | None
    """Hyperband's bracket; None for all of them together."""
    reached: int
    """Trials that were judged there."""
    stopped: int
    """Of these, trials that were stopped there."""
    audited: int
    """Trials that would have been stopped, but ran on for the audit."""
    paused: int
    """Trials that paused there and were not promoted yet, or never."""
    promoted: int
    """Trials that paused there and were promoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a study took of something that its budget limits."""

    what: str
    """``wall hours``, ``GPU hours`` or ``trials``."""
    used: float
    """So much, over all sessions."""
    limit: float
    """Of so much."""

    def __str__(self) -> str:
        used = f"{self.used:.2f}" if self.what.endswith("hours") else f"{self.used:g}"
        return f"{used} of {self.limit:g} {self.what} used"
