"""History: everything a study knows, folded from its records. Pure.

The driver applies every row to its history as it writes it, and a resumed driver folds the rows it reads: both end
in the same state, so that a resumed study decides as the uninterrupted one would have. What is asked at every report
is kept in order while rows come in, so that the ten thousandth report costs what the first did.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any, overload

from results.schema import (
    LONGEST_GAP_S,
    AnyRow,
    DecisionRow,
    EpochRow,
    SessionRow,
    Setback,
    Stage,
    StudyState,
    TrialRow,
    TrialState,
    Verdict,
)
from search.sampler import Observation
from search.sharing import larger, larger_share
from search.stopping.rung import Rung
from spaces import Coordinates, Scalar
from trainables.memory import DeviceMemory


@dataclass(slots=True, kw_only=True)
class Trial:
    """One trial as the records tell it.

    Attributes:
        name: ``t0001`` and on, over all arms and stages.
        number: 0-based number of the proposal within arm and stage.
        coordinates: What the sampler chose.
        place: The same as text, equal for equal coordinates.
        recipe: The whole recipe, as plain JSON values.
        source: For a confirm trial, the explored trial that it repeats.
        origin: Why it was proposed, in words.
        audited: Whether it runs on where the stopping rule would end it.
        session: The driver session that last changed its state.
        reason: Why it ended, or why its last attempt was given up, in words.
        attempt: Starts so far.
        crashes: Attempts that ended because the worker raised an exception or died; of these so many are allowed.
        moves: Attempts that ended because the node was lost or taken away.
        fruitless_moves: Of the moves, those since the last epoch that was trained for the first time.
        gpu_share: GPUs that its last attempt was given, if it could share one; else None.
        least_share: GPUs that it needs at least, as it ran out of memory with fewer.
        epochs: For every visible epoch, the metrics of every lane.
        decisions: Verdicts by rung. The first verdict stands, also where a later attempt reaches the rung again; only a
            pause is lifted by a promotion.
        recorded_attempt: The attempt that trained the newest epochs on record.
        recorded_start: The epoch from which that attempt started.
        trained_by: For every epoch that was ever on record, the last attempt that trained it.
        shares: What ``gpu_share`` was in every attempt.
    """

    name: str
    arm: str
    stage: Stage
    number: int
    coordinates: dict[str, Scalar]
    place: str
    params: dict[str, Scalar]
    recipe: dict[str, Any]  # JSON
    seeds: list[int]
    source: str | None
    origin: str = ""
    audited: bool = False
    session: str = ""
    reason: str = ""
    state: TrialState = TrialState.PENDING
    attempt: int = 0
    crashes: int = 0
    moves: int = 0
    fruitless_moves: int = 0
    gpu_share: float | None = None
    least_share: float = 0.0
    epochs: dict[int, dict[int, Mapping[str, float]]] = field(default_factory=dict)
    decisions: dict[int, DecisionRow] = field(default_factory=dict)
    recorded_attempt: int = 1
    recorded_start: int = 0
    trained_by: dict[int, int] = field(default_factory=dict)
    shares: dict[int, float | None] = field(default_factory=dict)
    _told: Observation | None = None

    @property
    def last_epoch(self) -> int:
        """The newest epoch on record; 0 before the first."""
        return max(self.epochs, default=0)

    @property
    def is_spared(self) -> bool:
        """Whether the stopping rule would have ended it, had it not been drawn for the audit."""
        return any(decision.verdict == Verdict.AUDIT for decision in self.decisions.values())

    @property
    def is_promoted(self) -> bool:
        """Whether it was promoted, though a kill came before the record that it does not wait any more."""
        return self.state is TrialState.PAUSED and self.decisions[max(self.decisions)].verdict == Verdict.PROMOTE

    def value(self, metric: str, epoch: int | None = None) -> float | None:
        """The metric after ``epoch`` (default: the newest), as the mean over lanes; None if it was not measured."""
        lanes = self.epochs.get(self.last_epoch if epoch is None else epoch, {})
        values = [metrics[metric] for metrics in lanes.values() if metric in metrics]
        return fmean(values) if values and len(values) == len(self.seeds) else None

    def observation(self, metric: str) -> Observation:
        """What a sampler may know of it."""
        if self._told is None or not self._told.state.is_final:
            self._told = Observation(
                coordinates=self.coordinates, state=self.state, epochs=self.last_epoch, value=self.value(metric)
            )
        return self._told


def place_of(coordinates: Coordinates) -> str:
    """Coordinates as text, equal for equal coordinates."""
    return json.dumps(coordinates, sort_keys=True)


class Observations(Sequence[Observation]):
    """The trials of an arm as a sampler sees them; each is looked at only when it is asked for."""

    def __init__(self, trials: Sequence[Trial], metric: str) -> None:
        self._trials = trials
        self._metric = metric

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, index: int) -> Observation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Observation]: ...
    def __getitem__(self, index: int | slice) -> Observation | list[Observation]:
        if isinstance(index, slice):
            return [trial.observation(self._metric) for trial in self._trials[index]]
        return self._trials[index].observation(self._metric)


@dataclass(slots=True)
class Repeat:
    """Successive epochs of a trial that were on record, and were trained again in a session."""

    trial: str
    session: str
    first_epoch: int
    last_epoch: int


@dataclass(slots=True)
class _Clock:
    """How long a session took: as it said at its end, else by the times of its rows, as far as these can be true."""

    wall_time_s: float = 0.0
    last: datetime | None = None

    def tick(self, row: AnyRow) -> None:
        if isinstance(row, SessionRow) and row.wall_time_s is not None:
            self.wall_time_s = row.wall_time_s
        elif self.last is not None:
            gap_s = (row.reported_at - self.last).total_seconds()
            self.wall_time_s += min(max(0.0, gap_s), LONGEST_GAP_S)
        self.last = row.reported_at


class History:
    """The fold of a study's records.

    Attributes:
        trials: All trials by name, in the order in which they were proposed.
        sessions: Number of driver sessions so far.
        state: What the newest session row says; a driver that was killed leaves RUNNING behind.
        seq: Sequence number of the newest row.
        train_time_s: Time of all epochs ever recorded, repeated ones too, by the share of a GPU; s.
        events: What happened to sessions as a whole, such as the loss of a node: rows with a ``reason`` that says it.
        repeats: Epochs on record that were trained again, because a worker was lost after its last checkpoint.
        gpu_memory: The largest part of a GPU's memory that a trial took; None before one was measured.
    """

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}
        self.sessions = 0
        self.state = StudyState.NEW
        self.seq = 0
        self.train_time_s: defaultdict[float | None, float] = defaultdict(float)
        self.events: list[SessionRow] = []
        self.repeats: list[Repeat] = []
        self.gpu_memory: DeviceMemory | None = None
        self._last_repeat: dict[str, Repeat] = {}
        self._clock: dict[str, _Clock] = defaultdict(_Clock)
        self._listed: defaultdict[tuple[Stage, str], list[Trial]] = defaultdict(list)
        self._by_stage: defaultdict[Stage, list[Trial]] = defaultdict(list)
        self._open: dict[str, Trial] = {}
        self._open_in: Counter[tuple[Stage, str]] = Counter()
        self._paused_in: Counter[str] = Counter()
        self._rungs: defaultdict[tuple[str, int, int], Rung] = defaultdict(Rung)

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
        self._clock[row.session].tick(row)
        match row:
            case TrialRow():
                self._apply_trial(row)
            case EpochRow():
                self._apply_epoch(row)
            case DecisionRow():
                self._apply_decision(row)
            case SessionRow():
                self.sessions = max(self.sessions, int(row.session.removeprefix("s")))
                self.state = StudyState(row.state)
                if self.state is StudyState.RUNNING and row.reason is not None:
                    self.events.append(row)

    def _apply_trial(self, row: TrialRow) -> None:
        if row.trial not in self.trials:
            self._add(row)
        trial = self.trials[row.trial]
        if trial.state.is_final:
            return  # what has ended has ended
        before, trial.state = trial.state, TrialState(row.state)
        trial.session = row.session
        trial.reason = row.reason or ""
        trial.attempt = max(trial.attempt, row.attempt)
        trial.crashes += row.setback == Setback.CRASH
        trial.moves += row.setback == Setback.MOVE
        trial.fruitless_moves += row.setback == Setback.MOVE
        trial.gpu_share = trial.gpu_share if row.gpu_share is None else row.gpu_share
        if trial.state is TrialState.RUNNING:
            trial.shares[row.attempt] = row.gpu_share
        if row.setback == Setback.MEMORY and trial.gpu_share is not None:
            trial.least_share = larger_share(trial.gpu_share)
        self._note_memory(row)
        self._paused_in[trial.arm] += (trial.state is TrialState.PAUSED) - (before is TrialState.PAUSED)
        if trial.state.is_final:
            del self._open[trial.name]
            self._open_in[trial.stage, trial.arm] -= 1
            for decision in trial.decisions.values():
                self.rung(trial.arm, decision.bracket or 0, decision.rung).leave(trial.name)

    def _note_memory(self, row: TrialRow) -> None:
        if row.gpu_peak_bytes is not None and row.gpu_total_bytes:
            self.gpu_memory = larger(
                self.gpu_memory, DeviceMemory(peak_bytes=row.gpu_peak_bytes, total_bytes=row.gpu_total_bytes)
            )

    def _add(self, row: TrialRow) -> None:
        coordinates = json.loads(row.coordinates or "{}")
        trial = Trial(
            name=row.trial,
            arm=row.arm,
            stage=Stage(row.stage),
            number=row.number,
            coordinates=coordinates,
            place=place_of(coordinates),
            params=json.loads(row.params or "{}"),
            recipe=json.loads(row.recipe or "{}"),
            seeds=json.loads(row.seeds or "[]"),
            source=row.source,
            origin=row.origin or "",
            audited=bool(row.audited),
        )
        self.trials[trial.name] = self._open[trial.name] = trial
        self._listed[trial.stage, trial.arm].append(trial)
        self._by_stage[trial.stage].append(trial)
        self._open_in[trial.stage, trial.arm] += 1

    def _apply_epoch(self, row: EpochRow) -> None:
        trial = self.trials[row.trial]
        if row.attempt > trial.recorded_attempt:
            # A later attempt supersedes the epochs on record beyond the one that it started from.
            trial.epochs = {epoch: lanes for epoch, lanes in trial.epochs.items() if epoch <= row.attempt_start}
            trial.recorded_attempt, trial.recorded_start = row.attempt, row.attempt_start
        trial.attempt = max(trial.attempt, row.attempt)
        trial.epochs.setdefault(row.epoch, {})[row.lane] = row.metrics
        if row.epoch not in trial.trained_by:
            trial.fruitless_moves = 0
        if trial.trained_by.setdefault(row.epoch, row.attempt) < row.attempt:
            trial.trained_by[row.epoch] = row.attempt
            self._note_repeat(row)
        self.train_time_s[trial.shares.get(row.attempt)] += row.epoch_time_s

    def _note_repeat(self, row: EpochRow) -> None:
        last = self._last_repeat.get(row.trial)
        if last is not None and last.session == row.session and last.last_epoch == row.epoch - 1:
            last.last_epoch = row.epoch
        else:
            last = self._last_repeat[row.trial] = Repeat(row.trial, row.session, row.epoch, row.epoch)
            self.repeats.append(last)

    def _apply_decision(self, row: DecisionRow) -> None:
        trial = self.trials[row.trial]
        rung = self.rung(row.arm, row.bracket or 0, row.rung)
        if row.verdict == Verdict.PROMOTE:
            trial.decisions[row.rung] = row
            rung.promote(trial.name)
        elif row.rung not in trial.decisions:
            trial.decisions[row.rung] = row
            rung.add(trial.name, row.value, waits=row.verdict == Verdict.PAUSE)

    def wall_time_s(self, *, without: str) -> float:
        """How long all driver sessions took, but for the one that is named; s."""
        return sum(clock.wall_time_s for session, clock in self._clock.items() if session != without)

    def of(self, arm: str | None = None, stage: Stage = Stage.EXPLORE) -> Sequence[Trial]:
        """The trials of a stage, of one arm or of all, in the order in which they were proposed.

        The list grows while the study runs; it is the driver's to look at, and nobody's to change.
        """
        return self._by_stage[stage] if arm is None else self._listed[stage, arm]

    def unfinished(self) -> list[Trial]:
        """The trials that still have to run, in the order in which they were proposed."""
        return list(self._open.values())

    def is_open(self, stage: Stage, arm: str | None = None) -> bool:
        """Whether a trial of a stage, of one arm or of any, has not ended."""
        if arm is not None:
            return self._open_in[stage, arm] > 0
        return any(count for (its_stage, _), count in self._open_in.items() if its_stage is stage)

    def waiting(self) -> list[tuple[int, str]]:
        """The epochs and arms of rungs at which trials wait, the highest rung first, arms in order of appearance."""
        if not any(self._paused_in.values()):
            return []
        places = [(epoch, arm) for (arm, _, epoch), rung in self._rungs.items() if rung.best_waiting("max") is not None]
        return sorted(dict.fromkeys(places), key=lambda place: -place[0])

    def is_waiting(self, arm: str) -> bool:
        """Whether all trials of an arm that have not ended are paused at a rung, one at least."""
        return 0 < self._paused_in[arm] == self._open_in[Stage.EXPLORE, arm]

    def rung(self, arm: str, bracket: int, epoch: int) -> Rung:
        """The values with which the trials of an arm's bracket met the rung at an epoch."""
        return self._rungs[arm, bracket, epoch]

    def best(self, arm: str, metric: str, mode: str, count: int, among: Sequence[Trial] | None = None) -> list[Trial]:
        """The best completed trials of an arm's search, best first; ties go to the earlier proposal.

        Args:
            arm: The arm.
            metric: By which.
            mode: ``max`` or ``min``.
            count: How many at most.
            among: Trials of the arm that are looked at; None for all.
        """
        sign = -1.0 if mode == "max" else 1.0
        done = [
            (sign * value, trial.number, trial)
            for trial in list(self.of(arm) if among is None else among)  # the display's thread looks on while it grows
            if trial.state is TrialState.COMPLETED and (value := trial.value(metric)) is not None
        ]
        return [trial for _, _, trial in sorted(done, key=lambda item: item[:2])[:count]]
