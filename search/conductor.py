"""Conductor: what to run next, and what to make of every report. Knows no Ray and no clock but the one it is given.

It joins the pure rules to the records: every choice is a function of the history, and every event becomes a row
that is applied to the history and handed to the writer. Ray's shells, the tests and a resumed driver all use it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Protocol

from results.schema import (
    AnyRow,
    DecisionRow,
    EpochRow,
    SessionRow,
    Stage,
    StudyState,
    TrialRow,
    TrialState,
    Verdict,
)
from search.asha import decide
from search.history import History, Trial
from search.sampler import propose
from search.study import Study

Report = Mapping[str, Any]  # JSON: what trainables.session.TrialSession.advance returns


class Writer(Protocol):
    """Where rows go: a results.store.RecordWriter, or a list in a test."""

    def append(self, row: AnyRow) -> None:
        """Take a row in; it may wait."""

    def flush(self) -> None:
        """Return when all rows are safe."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration that the stage confirm measures: an explored trial's."""

    source: Trial
    seed: int


class Conductor:
    """Runs a study by telling others what to run.

    Attributes:
        history: Everything known; read it freely, change it only through this class.
        active: Names of the trials that somebody is running.
        trained: The teachers that are on the shelf, with their addresses; to be filled in before the first trial.
    """

    def __init__(
        self,
        study: Study,
        history: History,
        writer: Writer,
        *,
        session: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Takes a study up.

        Args:
            study: What is to be run.
            history: What its records say.
            writer: Where new rows go.
            session: Name of this driver session.
            now: The clock.
        """
        self.study = study
        self.history = history
        self.active: set[str] = set()
        self._writer = writer
        self._session = session
        self._now = now
        self.trained: dict[str, str] = {}

    # What to run

    def next_trial(self) -> Trial | None:
        """The next trial to run, already on record and counted as active; None if there is none at present."""
        trial = self._left_behind() or self._teach()
        if trial is None and not self._untrained():
            trial = self._explore() or self._confirm()
        if trial is not None:
            self.active.add(trial.name)
        return trial

    @property
    def finished(self) -> bool:
        """Whether nothing is running and nothing will ever be."""
        return not self.active and not self.history.unfinished() and self._next_arm() is None and not self._to_confirm()

    @property
    def between_stages(self) -> bool:
        """Whether there is nothing to run at present, but will be when the last explored trials have ended."""
        if self._untrained():
            return not self._ready_to_be_taught()
        if self._next_arm() is not None or self._left_behind() is not None:
            return False
        return any(not trial.state.is_final for trial in self.history.of())

    def candidates(self) -> list[Trial]:
        """The explored trials whose configurations are worth fresh seeds: the best of every arm.

        Empty while the search is not over. The reference arm sends one, since it stands for the baseline.
        """
        if self._next_arm() is not None or any(not trial.state.is_final for trial in self.history.of()):
            return []
        search = self.study.search
        return [
            trial
            for arm in self.study.arms
            for trial in self.history.best(
                arm, search.metric, search.mode, 1 if arm == self.study.reference else self.study.confirm.top
            )
        ]

    @property
    def blocked(self) -> str | None:
        """Why the study cannot go on: a teacher that it needs could not be trained in this session; None if it can."""
        for trial in self.history.of(stage=Stage.TEACH):
            if trial.session == self._session and trial.state in (TrialState.DIVERGED, TrialState.FAILED):
                diverged = trial.state is TrialState.DIVERGED
                remedy = (
                    "Lower its learning rate, and submit it as a new study"
                    if diverged
                    else "Mend the cause, and resume"
                )
                return f"the teacher {trial.arm} ({trial.name}) {trial.state.lower()}: {trial.reason}. {remedy}"
        return None

    def _left_behind(self) -> Trial | None:
        """A trial that nobody runs any more; before all teachers are trained, only a teacher's."""
        waiting = (trial for trial in self.history.unfinished() if trial.name not in self.active)
        return next((t for t in waiting if t.stage is Stage.TEACH or not self._untrained()), None)

    def _untrained(self) -> list[str]:
        return [name for name in self.study.needed_teachers if name not in self.trained]

    def _ready_to_be_taught(self) -> list[str]:
        """Teachers that nobody trains yet, though all that they learn from themselves is there."""
        if self.blocked is not None:
            return []
        begun = {trial.arm for trial in self.history.of(stage=Stage.TEACH) if not trial.state.is_final}
        return [
            name
            for name in self._untrained()
            if name not in begun and all(other in self.trained for other in self.study.teachers[name].recipe.names)
        ]

    def _teach(self) -> Trial | None:
        self._note_reused_teachers()
        ready = self._ready_to_be_taught()
        return self._propose_teacher(ready[0]) if ready else None

    def _note_reused_teachers(self) -> None:
        """A teacher that was on the shelf is on record as well, as a trial without epochs."""
        lost = (TrialState.DIVERGED, TrialState.FAILED)
        newest = {trial.arm: trial for trial in self.history.of(stage=Stage.TEACH)}
        known = {name for name, trial in newest.items() if trial.state not in lost}
        for name in self.study.needed_teachers:
            if name in self.trained and name not in known:
                trial = self._propose_teacher(name)
                self._end(trial, TrialState.COMPLETED, f"reused: trained before, as {self.trained[name]}")

    def _propose_teacher(self, name: str) -> Trial:
        teacher = self.study.teachers[name]
        return self._propose(
            arm=name,
            stage=Stage.TEACH,
            coordinates="{}",
            params="{}",
            recipe=teacher.recipe.model_dump_json(),
            seeds=json.dumps([teacher.seed]),
        )

    def _next_arm(self) -> str | None:
        """The arm with the fewest trials, so that none waits for another; None if all have theirs."""
        counts = {arm: sum(1 for _ in self.history.of(arm)) for arm in self.study.arms}
        open_arms = [arm for arm, count in counts.items() if count < self.study.planned_trials(arm)]
        return min(open_arms, key=lambda arm: counts[arm], default=None)

    def _explore(self) -> Trial | None:
        arm = self._next_arm()
        if arm is None:
            return None
        search = self.study.search
        observations = self.history.observations(arm, search.metric)
        coordinates = propose(
            self.study.arm_space(arm),
            observations,
            mode=search.mode,
            seed=search.seed,
            arm=arm,
            number=len(observations),
        )
        params, recipe = self.study.resolve(arm, coordinates)
        return self._propose(
            arm=arm,
            stage=Stage.EXPLORE,
            coordinates=json.dumps(coordinates),
            params=json.dumps(params),
            recipe=recipe.model_dump_json(),
            seeds=json.dumps(self.study.search_seeds),
        )

    def _to_confirm(self) -> list[Candidate]:
        """Candidates and seeds that no confirm trial covers; seed by seed, so that pairs are complete early."""
        covered = {(trial.source, seed) for trial in self.history.of(stage=Stage.CONFIRM) for seed in trial.seeds}
        sources = self.candidates()
        return [
            Candidate(source, seed)
            for seed in self.study.confirm_seeds
            for source in sources
            if (source.name, seed) not in covered
        ]

    def _confirm(self) -> Trial | None:
        todo = self._to_confirm()
        if not todo:
            return None
        source, seed = todo[0].source, todo[0].seed
        return self._propose(
            arm=source.arm,
            stage=Stage.CONFIRM,
            coordinates=json.dumps(source.coordinates),
            params=json.dumps(source.params),
            recipe=json.dumps(source.recipe),
            seeds=json.dumps([seed]),
            source=source.name,
        )

    def _propose(self, *, arm: str, stage: Stage, **values: Any) -> Trial:
        name = f"t{len(self.history.trials) + 1:04d}"
        number = sum(1 for _ in self.history.of(arm, stage))
        self._record(
            TrialRow(
                **self._stamp(),
                trial=name,
                arm=arm,
                stage=stage,
                number=number,
                state=TrialState.PENDING,
                attempt=0,
                **values,
            )
        )
        self._writer.flush()
        return self.history.trials[name]

    # What happened

    def started(self, name: str) -> None:
        """A worker began with the trial, for the first time or again."""
        trial = self.history.trials[name]
        self._record(self._change(trial, TrialState.RUNNING, attempt=trial.attempt + 1))

    def report(self, name: str, report: Report) -> Verdict:
        """Takes a worker's report in.

        Args:
            name: The trial.
            report: Epochs trained since the last report, as ``TrialSession.advance`` returns them. Epochs that are
                on record already, as after a restart, are passed over.

        Returns:
            CONTINUE if the worker is to go on; STOP if the trial has ended, in whatever state.
        """
        trial = self.history.trials[name]
        if trial.state.is_final:
            return Verdict.STOP  # a late report, after an orderly end
        divergence = report["divergence"]
        for epoch, lanes in groupby(report["epochs"], key=lambda lane: int(lane["epoch"])):
            self._record_epoch(trial, epoch, lanes, report["attempt_start"])
            if divergence is not None and epoch >= divergence["epoch"]:
                return self._end(trial, TrialState.DIVERGED, divergence["reason"])
            if trial.stage is Stage.EXPLORE and epoch in self.study.rungs:
                decision = trial.decisions.get(epoch) or self._decide(trial, epoch)
                if decision.verdict == Verdict.STOP:
                    return self._end(trial, TrialState.PRUNED, f"rank {decision.rank} of {decision.n} at epoch {epoch}")
                self._writer.flush()  # nobody acts on a verdict that could be lost
        if report["finished"]:
            return self._end(trial, TrialState.COMPLETED, f"all {trial.last_epoch} epochs trained")
        return Verdict.CONTINUE

    def release(self, name: str) -> None:
        """Nobody runs the trial any more, and it has not ended: it will be handed out again."""
        self.active.discard(name)

    def failed(self, name: str, error: str) -> None:
        """The trial's worker crashed for the last time that is allowed.

        Args:
            name: The trial.
            error: The traceback.
        """
        last_line = error.strip().splitlines()[-1] if error.strip() else "worker lost"
        self._end(self.history.trials[name], TrialState.FAILED, last_line[:200], error=error)

    def session(self, state: StudyState, **facts: Any) -> None:
        """The driver takes the study up or puts it down; ``facts`` are the columns of SessionRow."""
        self._record(SessionRow(**self._stamp(), state=state, **facts))
        self._writer.flush()

    def _record_epoch(self, trial: Trial, epoch: int, lanes: Iterable[Mapping[str, Any]], attempt_start: int) -> None:
        # At or below attempt_start an earlier attempt trained; its report may have been lost with the worker or driver.
        restored = epoch <= attempt_start
        for lane in lanes:
            if restored and lane["lane"] in trial.epochs.get(epoch, {}):
                continue
            self._record(
                EpochRow(
                    **self._stamp(),
                    trial=trial.name,
                    arm=trial.arm,
                    stage=trial.stage,
                    lane=lane["lane"],
                    seed=lane["seed"],
                    epoch=epoch,
                    attempt=trial.recorded_attempt if restored else trial.attempt,
                    attempt_start=trial.recorded_start if restored else attempt_start,
                    epoch_time_s=lane["epoch_time_s"],
                    metrics=lane["metrics"],
                )
            )

    def _decide(self, trial: Trial, rung: int) -> DecisionRow:
        value = trial.value(self.study.search.metric, rung)
        decision = decide(
            self.history.rung_values(trial.arm, rung),
            float("nan") if value is None else value,
            mode=self.study.search.mode,
            reduction_factor=self.study.stopping.reduction_factor,
        )
        row = DecisionRow(
            **self._stamp(),
            trial=trial.name,
            arm=trial.arm,
            rung=rung,
            value=float("nan") if value is None else value,
            cutoff=decision.cutoff,
            rank=decision.rank,
            n=decision.n,
            verdict=decision.verdict,
        )
        self._record(row)
        return row

    def _end(self, trial: Trial, state: TrialState, reason: str, error: str | None = None) -> Verdict:
        value = trial.value(self.study.search.metric)
        self._record(self._change(trial, state, epochs=trial.last_epoch, value=value, reason=reason, error=error))
        self._writer.flush()
        self.active.discard(trial.name)
        if trial.stage is Stage.TEACH and state is TrialState.COMPLETED:
            self.trained.setdefault(trial.arm, trial.name)
        return Verdict.STOP

    def _change(self, trial: Trial, state: TrialState, *, attempt: int | None = None, **values: Any) -> TrialRow:
        return TrialRow(
            **self._stamp(),
            trial=trial.name,
            arm=trial.arm,
            stage=trial.stage,
            number=trial.number,
            state=state,
            attempt=trial.attempt if attempt is None else attempt,
            **values,
        )

    def _stamp(self) -> dict[str, Any]:
        return {
            "study": self.study.name,
            "session": self._session,
            "seq": self.history.seq + 1,
            "reported_at": self._now(),
        }

    def _record(self, row: AnyRow) -> None:
        self.history.apply(row)
        self._writer.append(row)
