"""Conductor: what to run next, and what to make of every report. Knows no Ray and no clock but the one it is given.

It joins the pure rules to the records: every choice is a function of the history, and every event becomes a row
that is applied to the history and handed to the writer. Ray's shells, the tests and a resumed driver all use it.

What the driver did last may be lost with it: the records then tell all up to some moment before (results.store), and
the next driver goes on from there. Trials whose last reports are lost are handed out again, and send them again from
their checkpoints, which must therefore not be removed before the rows are safe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Protocol

from results.schema import (
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
from search.failures import Failure
from search.history import History, Trial
from search.proposing import Known, is_exhausted, may_propose, next_proposal
from search.sharing import Shares
from search.stopping.audit import is_audited
from search.study import Study
from trainables.memory import DeviceMemory

FREE_MOVES = 4
"""So many times in a row a trial may lose its node without a new epoch in between."""

Report = Mapping[str, Any]  # JSON: what trainables.session.TrialSession.advance returns


class Writer(Protocol):
    """Where rows go: a results.store.RecordWriter, or a list in a test."""

    def append(self, row: AnyRow) -> None:
        """Take a row in; it may wait."""

    def flush(self) -> None:
        """Return when all rows are safe."""


class Nowhere:
    """The writer of a conductor that is only asked: a row that comes to it is a mistake of ours."""

    def append(self, row: AnyRow) -> None:
        """Refuse it."""
        raise AssertionError(f"nothing may be written here, got {row}")

    def flush(self) -> None:
        """Nothing waits."""


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
        shares: GPUs of every trial that was handed out, where trials share them.
    """

    def __init__(
        self,
        study: Study,
        history: History,
        writer: Writer,
        *,
        session: str,
        known: Known | None = None,
        tell: Callable[[str], None] = lambda text: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Takes a study up.

        Args:
            study: What is to be run.
            history: What its records say.
            writer: Where new rows go.
            session: Name of this driver session.
            known: What an earlier study found, for a warm start.
            tell: Hears of events as they are recorded.
            now: The clock.
        """
        self.study = study
        self.history = history
        self.active: set[str] = set()
        self.trained: dict[str, str] = {}
        self.shares = Shares(study.resources.gpus, history.gpu_memory)
        self._writer = writer
        self._session = session
        self._session_row: SessionRow | None = None
        self._known = known or {}
        self._tell = tell
        self._chosen: tuple[int, list[Trial]] | None = None
        teachers = history.of(stage=Stage.TEACH)
        self._reused = sum(t.state is TrialState.COMPLETED and t.attempt == 0 for t in teachers)
        self._now = now
        ready = (t for t in history.unfinished() if t.state is not TrialState.PAUSED or t.is_promoted)
        self._abandoned = {trial.name: None for trial in ready}  # in order; a dict, for quick removal

    # What to run

    def next_trial(self) -> Trial | None:
        """The next trial to run, already on record and counted as active; None if there is none at present."""
        trial = self._left_behind() or self._teach()
        if trial is not None and trial.is_promoted:
            self._record(self._change(trial, TrialState.PENDING))
        if trial is None and not self._untrained():
            trial = self._promote() or (None if self.spent else self._explore() or self._confirm())
        if trial is not None:
            self.active.add(trial.name)
            self.shares.give(trial.name, trial.least_share)
            self._abandoned.pop(trial.name, None)
        return trial

    @property
    def finished(self) -> bool:
        """Whether nothing is running and nothing will ever be."""
        return not self.active and not self.history.unfinished() and self._is_explored() and not self._to_confirm()

    @property
    def running(self) -> int:
        """How many of the active trials have a worker; the others wait for one."""
        return sum(self.history.trials[name].state is TrialState.RUNNING for name in self.active)

    @property
    def spent(self) -> str | None:
        """Why no new trial is begun though there would be some: the budget of trials is used up; None if it is not."""
        limit = self.study.budget.trials
        begun = len(self.history.trials) - self._reused
        return None if limit is None or begun < limit else f"{begun} of {limit} trials"

    @property
    def at_rest(self) -> bool:
        """Whether nothing is running and nothing may be begun: the study is finished, or its budget of trials is."""
        if self.finished:
            return True
        return self.spent is not None and not self.active and self._left_behind() is None and self._promotion() is None

    @property
    def between_stages(self) -> bool:
        """Whether there is nothing to run at present, but will be when the last explored trials have ended."""
        if self._untrained():
            return not self._ready_to_be_taught()
        if self.spent or self._abandoned or any(may_propose(self.study, self.history, arm) for arm in self.study.arms):
            return False
        return self.history.is_open(Stage.EXPLORE)

    def candidates(self) -> list[Trial]:
        """The explored trials whose configurations are worth fresh seeds: the best of every arm.

        Empty while the search is not over.
        """
        if self.history.is_open(Stage.EXPLORE) or not self._is_explored():
            return []
        explored = len(self.history.of())
        if self._chosen is None or self._chosen[0] != explored:  # asked for at every idle moment
            search = self.study.search
            best = [
                trial
                for arm in self.study.arms
                for trial in self.history.best(arm, search.metric, search.mode, self.study.confirmed_trials(arm))
            ]
            self._chosen = (explored, best)
        return self._chosen[1]

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
        waiting = (self.history.trials[name] for name in self._abandoned)
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
        ready = [] if self.spent else self._ready_to_be_taught()
        if not ready:
            return None
        trial = self._propose_teacher(ready[0])
        self._writer.flush()  # a teacher on the shelf whose trial is not on record would be taken for one of before
        return trial

    def _note_reused_teachers(self) -> None:
        """A teacher that was on the shelf is on record as well, as a trial without epochs."""
        lost = (TrialState.DIVERGED, TrialState.FAILED)
        newest = {trial.arm: trial for trial in self.history.of(stage=Stage.TEACH)}
        known = {name for name, trial in newest.items() if trial.state not in lost}
        for name in self.study.needed_teachers:
            if name in self.trained and name not in known:
                trial = self._propose_teacher(name)
                self._end(trial, TrialState.COMPLETED, f"reused: trained before, as {self.trained[name]}")
                self._reused += 1

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

    def _is_explored(self) -> bool:
        return all(is_exhausted(self.study, self.history, arm) for arm in self.study.arms)

    def _explore(self) -> Trial | None:
        """A new trial for the arm with the fewest, so that none waits for another."""
        for arm in sorted(self.study.arms, key=lambda arm: len(self.history.of(arm))):
            proposal = next_proposal(self.study, self.history, arm, self._known)
            if proposal is None:
                continue
            params, recipe = self.study.resolve(arm, proposal.coordinates)
            number = len(self.history.of(arm))
            return self._propose(
                arm=arm,
                stage=Stage.EXPLORE,
                coordinates=json.dumps(proposal.coordinates),
                params=json.dumps(params),
                recipe=recipe.model_dump_json(),
                seeds=json.dumps(self.study.search_seeds),
                origin=proposal.origin,
                audited=int(is_audited(self.study.search.seed, arm, number, self.study.audit)),
            )
        return None

    def _promotion(self) -> tuple[Trial, int] | None:
        """The paused trial that should go on, with its rung: of the highest rung that has one, the first arm's.

        Where an amendment made the rule one that does not pause, all go on that wait.
        """
        rule = self.study.rule
        for epoch, arm in self.history.waiting():
            rung = self.history.rung(arm, 0, epoch)
            name = rule.promotable(rung) if rule.pauses else rung.best_waiting(self.study.search.mode)
            if name is not None:
                return self.history.trials[name], epoch
        return None

    def _promote(self) -> Trial | None:
        while (promotion := self._promotion() or self._last_promotion()) is not None:
            trial, epoch = promotion
            self._record_promotion(trial, epoch)
            if trial.state is TrialState.PAUSED:  # else somebody runs it: a kill came before it was paused
                self._record(self._change(trial, TrialState.PENDING))
                return trial
        self._end_paused()
        return None

    def _only_wait(self) -> Iterator[str]:
        """The arms in which nothing else can be done than to wait; at the end, or at that of a round of a grid."""
        for arm in self.study.arms:
            if self.history.is_waiting(arm) and not may_propose(self.study, self.history, arm):
                yield arm

    def _last_promotion(self) -> tuple[Trial, int] | None:
        """The best that waits at the highest rung of an arm that would else have too few trials to confirm."""
        search = self.study.search
        for arm in self._only_wait():
            wanted = self.study.confirmed_trials(arm)
            if len(self.history.best(arm, search.metric, search.mode, wanted)) < wanted:
                epoch = next(epoch for epoch, its_arm in self.history.waiting() if its_arm == arm)
                name = self.history.rung(arm, 0, epoch).best_waiting(search.mode)
                assert name is not None, "a rung at which somebody waits"
                return self.history.trials[name], epoch
        return None

    def _end_paused(self) -> None:
        for arm in self._only_wait():
            for trial in list(self.history.of(arm)):
                if trial.state is TrialState.PAUSED:
                    met = trial.decisions[max(trial.decisions)]
                    reason = f"never promoted from epoch {met.rung}, rank {met.rank} of {met.n} when it came there"
                    self._end(trial, TrialState.PRUNED, reason)

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
        number = len(self.history.of(arm, stage))
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
            CONTINUE if the worker is to go on; STOP if the trial has ended, in whatever state, or another attempt has
            taken its place; PAUSE if it waits at a rung, or for more memory, and its worker is free for another.
        """
        trial = self.history.trials[name]
        if trial.state is not TrialState.RUNNING or report["attempt"] != trial.attempt:
            return Verdict.STOP  # a late report, after the end, or of a worker that was given up
        if report["memory"] is not None and (news := self.shares.note(name, DeviceMemory(**report["memory"]))):
            self.event(news)
        divergence = report["divergence"]
        newest = trial.last_epoch
        for epoch, lanes in groupby(report["epochs"], key=lambda lane: int(lane["epoch"])):
            self._record_epoch(trial, epoch, lanes, report["attempt_start"])
            if divergence is not None and epoch >= divergence["epoch"]:
                return self._end(trial, TrialState.DIVERGED, divergence["reason"])
            if epoch < newest and epoch not in trial.decisions:
                continue  # no rung when the trial came there: an amendment made it one
            verdict = self._judge(trial, epoch)
            if verdict is not Verdict.CONTINUE:
                return verdict
        if report["out_of_memory"] is not None:
            return self._out_of_memory(trial, report["out_of_memory"])
        if report["finished"]:
            spared = "; audited: it would have ended before" if trial.is_spared else ""
            return self._end(trial, TrialState.COMPLETED, f"all {trial.last_epoch} epochs trained{spared}")
        return Verdict.CONTINUE

    def _judge(self, trial: Trial, epoch: int) -> Verdict:
        """What becomes of a trial after an epoch, by the stopping rule: it goes on, ends or waits, and all is recorded.

        What was decided there before, as of a report that comes again after a restart, is not decided anew.
        """
        rule = self.study.rule
        if trial.stage is not Stage.EXPLORE or trial.is_spared or epoch not in rule.rungs(rule.bracket(trial.number)):
            return Verdict.CONTINUE
        met = trial.decisions.get(epoch) or self._decide(trial, epoch)
        match met.verdict:
            case Verdict.STOP:
                return self._end(trial, TrialState.PRUNED, f"rank {met.rank} of {met.n} at epoch {epoch}")
            case Verdict.PAUSE if self._promotion() == (trial, epoch):
                self._record_promotion(trial, epoch)
            case Verdict.PAUSE:
                self._record(self._change(trial, TrialState.PAUSED))
                self.active.discard(trial.name)
                return Verdict.PAUSE
        return Verdict.CONTINUE

    def lost(self, name: str, failure: Failure) -> None:
        """An attempt at the trial broke off: it will be handed out again, or has crashed too often and ends.

        Crashes count over all sessions. What the cluster takes away is not the trial's fault, and does not count; but
        where moves follow one another and no new epoch is trained, they may be, and count from the fifth on.

        Args:
            name: The trial.
            failure: What happened.
        """
        trial = self.history.trials[name]
        if name not in self.active:
            return  # it has ended, or waits
        if failure.setback is Setback.MOVE and trial.fruitless_moves >= FREE_MOVES:
            reason = f"{failure.reason}, the fifth time or more without a new epoch, which counts as a crash"
            failure = replace(failure, setback=Setback.CRASH, reason=reason)
        if failure.setback is Setback.CRASH and trial.crashes >= self.study.resources.max_failures:
            self.failed(name, failure)
        else:
            self._give_up(trial, failure)

    def failed(self, name: str, failure: Failure) -> None:
        """The trial ends, because of what happened to its last attempt."""
        self._end(self.history.trials[name], TrialState.FAILED, failure.reason, **failure.columns)

    def _out_of_memory(self, trial: Trial, message: str) -> Verdict:
        """A trial that shared its GPU gets more of it; one that was alone would run out of memory again."""
        failure = Failure(setback=Setback.MEMORY, reason=f"out of memory: {message}")
        if trial.gpu_share is None or trial.gpu_share >= 1:
            self.failed(trial.name, failure)
            return Verdict.STOP
        self._give_up(trial, failure)
        return Verdict.PAUSE

    def _give_up(self, trial: Trial, failure: Failure) -> None:
        row = self._change(trial, TrialState.PENDING, epochs=trial.last_epoch, reason=failure.reason, **failure.columns)
        self._record(row)
        self.active.discard(trial.name)
        self._abandoned[trial.name] = None

    def session(self, state: StudyState, **facts: Any) -> None:
        """The driver takes the study up or puts it down; ``facts`` are the columns of SessionRow."""
        self._writer.flush()  # all that the session did is safe before it says that it has ended
        self._session_row = SessionRow(**self._stamp(), state=state, **facts)
        self._record(self._session_row)
        self._writer.flush()

    def event(self, text: str, *, slots: int | None = None) -> None:
        """Something about the session that is worth keeping: a node was lost, or will be taken away.

        Args:
            text: What happened, a sentence without a full stop.
            slots: How many trials fit at once from now on; None for as many as before.
        """
        assert self._session_row is not None, "a session begins before anything happens in it"
        self._session_row = replace(self._session_row, slots=self._session_row.slots if slots is None else slots)
        self._record(replace(self._session_row, **self._stamp(), reason=text))
        self._tell(text)

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

    def _decide(self, trial: Trial, epoch: int) -> DecisionRow:
        rule, metric = self.study.rule, self.study.search.metric
        bracket = rule.bracket(trial.number)
        measured = [trial.value(metric, earlier) for earlier in range(1, epoch + 1)]
        value = rule.score([float("nan") if v is None else v for v in measured])
        decision = rule.decide(self.history.rung(trial.arm, bracket, epoch), value)
        spared = trial.audited and decision.verdict is Verdict.STOP
        row = DecisionRow(
            **self._stamp(),
            trial=trial.name,
            arm=trial.arm,
            rung=epoch,
            value=value,
            cutoff=decision.cutoff,
            rank=decision.rank,
            n=decision.n,
            verdict=Verdict.AUDIT if spared else decision.verdict,
            bracket=bracket,
        )
        self._record(row)
        return row

    def _record_promotion(self, trial: Trial, epoch: int) -> None:
        """A trial that the rule let wait at a rung goes on from there, ranked among what the rung holds by now."""
        rung = self.history.rung(trial.arm, 0, epoch)
        value = rung.value_of(trial.name)
        before = trial.decisions[epoch]
        self._record(
            replace(
                before,
                **self._stamp(),
                rank=rung.rank(value, self.study.search.mode),
                n=len(rung),
                verdict=Verdict.PROMOTE,
            )
        )

    def _end(self, trial: Trial, state: TrialState, reason: str, **values: Any) -> Verdict:
        value = trial.value(self.study.search.metric)
        self._record(self._change(trial, state, epochs=trial.last_epoch, value=value, reason=reason, **values))
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
            **self.shares.columns(trial.name),
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
