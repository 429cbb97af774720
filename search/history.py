"""History: everything a study knows, folded from its records. Pure.

The driver applies every row to its history as it writes it, and a resumed driver folds the rows it reads: both end
in the same state, so that a resumed study decides as the uninterrupted one would have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from results.schema import AnyRow, DecisionRow, EpochRow, SessionRow, Stage, StudyState, TrialRow, TrialState
from search.sampler import Observation
from spaces import Scalar


@dataclass(slots=True, kw_only=True)
class Trial:
    """One trial as the records tell it.

    Attributes:
        name: ``t0001`` and on, over all arms and stages.
        number: 0-based number of the proposal within arm and stage.
        coordinates: What the sampler chose.
        recipe: The whole recipe, as plain JSON values.
        source: For a confirm trial, the explored trial that it repeats.
        session: The driver session that last changed its state.
        reason: Why it ended, in words.
        attempt: Starts so far.
        epochs: For every visible epoch, the metrics of every lane.
        decisions: Verdicts by rung. The first verdict stands, also where a later attempt reaches the rung again.
        recorded_attempt: The attempt that trained the newest epochs on record.
        recorded_start: The epoch from which that attempt started.
    """

    name: str
    arm: str
    stage: Stage
    number: int
    coordinates: dict[str, Scalar]
    params: dict[str, Scalar]
    recipe: dict[str, Any]  # JSON
    seeds: list[int]
    source: str | None
    session: str = ""
    reason: str = ""
    state: TrialState = TrialState.PENDING
    attempt: int = 0
    epochs: dict[int, dict[int, Mapping[str, float]]] = field(default_factory=dict)
    decisions: dict[int, DecisionRow] = field(default_factory=dict)
    recorded_attempt: int = 1
    recorded_start: int = 0

    @property
    def last_epoch(self) -> int:
        """The newest epoch on record; 0 before the first."""
        return max(self.epochs, default=0)

    def value(self, metric: str, epoch: int | None = None) -> float | None:
        """The metric after ``epoch`` (default: the newest), as the mean over lanes; None if it was not measured."""
        lanes = self.epochs.get(self.last_epoch if epoch is None else epoch, {})
        values = [metrics[metric] for metrics in lanes.values() if metric in metrics]
        return fmean(values) if values and len(values) == len(self.seeds) else None


class History:
    """The fold of a study's records.

    Attributes:
        trials: All trials by name, in the order in which they were proposed.
        sessions: Number of driver sessions so far.
        state: What the newest session row says; a driver that was killed leaves RUNNING behind.
        seq: Sequence number of the newest row.
    """

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}
        self.sessions = 0
        self.state = StudyState.NEW
        self.seq = 0

    @classmethod
    def fold(cls, rows: Iterable[AnyRow]) -> History:
        """The history that these rows tell; they must come in the order of ``seq``."""
        history = cls()
        for row in rows:
            history.apply(row)
        return history

    def apply(self, row: AnyRow) -> None:
        """Take one more row into account."""
        self.seq = row.seq
        match row:
            case TrialRow():
                self._apply_trial(row)
            case EpochRow():
                self._apply_epoch(row)
            case DecisionRow():
                self.trials[row.trial].decisions.setdefault(row.rung, row)
            case SessionRow():
                self.sessions = max(self.sessions, int(row.session.removeprefix("s")))
                self.state = StudyState(row.state)

    def _apply_trial(self, row: TrialRow) -> None:
        if row.trial not in self.trials:
            self.trials[row.trial] = Trial(
                name=row.trial,
                arm=row.arm,
                stage=Stage(row.stage),
                number=row.number,
                coordinates=json.loads(row.coordinates or "{}"),
                params=json.loads(row.params or "{}"),
                recipe=json.loads(row.recipe or "{}"),
                seeds=json.loads(row.seeds or "[]"),
                source=row.source,
            )
        trial = self.trials[row.trial]
        trial.state = TrialState(row.state)
        trial.session = row.session
        trial.reason = row.reason or ""
        trial.attempt = max(trial.attempt, row.attempt)

    def _apply_epoch(self, row: EpochRow) -> None:
        trial = self.trials[row.trial]
        if row.attempt > trial.recorded_attempt:
            # A later attempt supersedes the epochs on record beyond the one that it started from.
            trial.epochs = {epoch: lanes for epoch, lanes in trial.epochs.items() if epoch <= row.attempt_start}
            trial.recorded_attempt, trial.recorded_start = row.attempt, row.attempt_start
        trial.attempt = max(trial.attempt, row.attempt)
        trial.epochs.setdefault(row.epoch, {})[row.lane] = row.metrics

    def of(self, arm: str | None = None, stage: Stage = Stage.EXPLORE) -> Iterator[Trial]:
        """The trials of a stage, of one arm or of all, in the order in which they were proposed."""
        trials = list(self.trials.values())  # the display's thread looks on while the driver adds
        return (t for t in trials if t.stage is stage and arm in (None, t.arm))

    def unfinished(self) -> list[Trial]:
        """The trials that still have to run, in the order in which they were proposed."""
        return [trial for trial in self.trials.values() if not trial.state.is_final]

    def observations(self, arm: str, metric: str) -> list[Observation]:
        """What the sampler may know of an arm."""
        return [
            Observation(coordinates=t.coordinates, state=t.state, epochs=t.last_epoch, value=t.value(metric))
            for t in self.of(arm)
        ]

    def rung_values(self, arm: str, rung: int) -> list[float]:
        """The values with which trials of an arm met a rung, as far as they were decided upon."""
        return [t.decisions[rung].value for t in self.of(arm) if rung in t.decisions]

    def best(self, arm: str, metric: str, mode: str, count: int) -> list[Trial]:
        """The ``count`` best completed trials of an arm's search, best first; ties go to the earlier proposal."""
        sign = -1.0 if mode == "max" else 1.0
        done = [
            (sign * value, trial.number, trial)
            for trial in self.of(arm)
            if trial.state is TrialState.COMPLETED and (value := trial.value(metric)) is not None
        ]
        return [trial for _, _, trial in sorted(done, key=lambda item: item[:2])[:count]]
