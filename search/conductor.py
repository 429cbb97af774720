"""Conductor: what to run next, and what to make of every report. Knows no Ray and no clock but the one it is given.

It joins the pure rules to the records: every choice is a function of the history, and every event becomes a row
that is applied to the history and handed to the writer. Ray's shells, the tests and a resumed driver all use it.

What the driver did last may be lost with it: the records then tell all up to some moment before (results.store), and
the next driver goes on from there. Trials whose last reports are lost are handed out again, and send them again from
their checkpoints, which must therefore not be removed before the rows are safe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from results.schema import (
    Setback,
    Stage,
    TrialState,
    Verdict,
)
from search.agenda import Agenda
from search.failures import Failure
from search.history import History, Trial
from search.proposing import Known, may_propose, next_proposal
from search.recording import Recorder, Writer
from search.sharing import Shares
from search.stopping.audit import is_audited
from search.study import Study
from trainables.memory import DeviceMemory

FREE_MOVES = 4
"""So many times in a row a trial may lose its node without a new epoch in between."""

Report = Mapping[str, Any]  # JSON: what trainables.session.TrialSession.advance returns


class Conductor:
    """Runs a study by telling others what to run.

    Attributes:
        history: Everything known; read it freely, change it only through this class.
        active: Names of the trials that somebody is running.
        agenda: What is left to do.
        shares: GPUs of every trial that was handed out, where trials share them.
        records: Where all that happens goes.
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
        self.agenda = Agenda(study, history, session=session)
        self.shares = Shares(study.resources.gpus, history.gpu_memory)
        self.records = Recorder(study, history, self.shares, writer, session=session, tell=tell, now=now)
        self._known = known or {}
        ready = (t for t in history.unfinished() if t.state is not TrialState.PAUSED or t.is_promoted)
        self._abandoned = {trial.name: None for trial in ready}  # in order; a dict, for quick removal

    # What to run

    def next_trial(self) -> Trial | None:
        """The next trial to run, already on record and counted as active; None if there is none at present."""
        trial = self._left_behind() or self._teach()
        if trial is not None and trial.is_promoted:
            self.records.change(trial, TrialState.PENDING)
        if trial is None and not self.agenda.untrained():
            trial = self._promote() or (None if self.agenda.spent else self._explore() or self._confirm())
        if trial is not None:
            self.active.add(trial.name)
            self.shares.give(trial.name, trial.least_share)
            self._abandoned.pop(trial.name, None)
        return trial

    @property
    def finished(self) -> bool:
        """Whether nothing is running and nothing will ever be."""
        return (
            not self.active
            and not self.history.unfinished()
            and self.agenda.is_explored()
            and not self.agenda.to_confirm()
        )

    @property
    def running(self) -> int:
        """How many of the active trials have a worker; the others wait for one."""
        return sum(self.history.trials[name].state is TrialState.RUNNING for name in self.active)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is running and nothing may be begun: the study is finished, or its budget of trials is."""
        if self.finished:
            return True
        return (
            self.agenda.spent is not None
            and not self.active
            and self._left_behind() is None
            and self.agenda.promotion() is None
        )

    @property
    def between_stages(self) -> bool:
        """Whether there is nothing to run at present, but will be when the last explored trials have ended."""
        if self.agenda.untrained():
            return not self.agenda.ready_to_be_taught()
        if (
            self.agenda.spent
            or self._abandoned
            or any(may_propose(self.study, self.history, arm) for arm in self.study.arms)
        ):
            return False
        return self.history.is_open(Stage.EXPLORE)

    def _left_behind(self) -> Trial | None:
        """A trial that nobody runs any more; before all teachers are trained, only a teacher's."""
        waiting = (self.history.trials[name] for name in self._abandoned)
        return next((t for t in waiting if t.stage is Stage.TEACH or not self.agenda.untrained()), None)

    def _teach(self) -> Trial | None:
        self._note_reused_teachers()
        ready = [] if self.agenda.spent else self.agenda.ready_to_be_taught()
        if not ready:
            return None
        trial = self._propose_teacher(ready[0])
        self.records.flush()  # a teacher on the shelf whose trial is not on record would be taken for one of before
        return trial

    def _note_reused_teachers(self) -> None:
        """A teacher that was on the shelf is on record as well, as a trial without epochs."""
        lost = (TrialState.DIVERGED, TrialState.FAILED)
        newest = {trial.arm: trial for trial in self.history.of(stage=Stage.TEACH)}
        known = {name for name, trial in newest.items() if trial.state not in lost}
        for name in self.study.needed_teachers:
            if name in self.agenda.trained and name not in known:
                trial = self._propose_teacher(name)
                self._end(trial, TrialState.COMPLETED, f"reused: trained before, as {self.agenda.trained[name]}")

    def _propose_teacher(self, name: str) -> Trial:
        teacher = self.study.teachers[name]
        return self.records.propose(
            arm=name,
            stage=Stage.TEACH,
            coordinates="{}",
            params="{}",
            recipe=teacher.recipe.model_dump_json(),
            seeds=json.dumps([teacher.seed]),
        )

    def _explore(self) -> Trial | None:
        """A new trial for the arm with the fewest, so that none waits for another."""
        for arm in sorted(self.study.arms, key=lambda arm: len(self.history.of(arm))):
            proposal = next_proposal(self.study, self.history, arm, self._known)
            if proposal is None:
                continue
            params, recipe = self.study.resolve(arm, proposal.coordinates)
            number = len(self.history.of(arm))
            return self.records.propose(
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

    def _promote(self) -> Trial | None:
        while (promotion := self.agenda.promotion() or self.agenda.last_promotion()) is not None:
            trial, epoch = promotion
            self.records.promotion(trial, epoch)
            if trial.state is TrialState.PAUSED:  # else somebody runs it: a kill came before it was paused
                self.records.change(trial, TrialState.PENDING)
                return trial
        self._end_paused()
        return None

    def _end_paused(self) -> None:
        for arm in self.agenda.only_wait():
            for trial in list(self.history.of(arm)):
                if trial.state is TrialState.PAUSED:
                    met = trial.decisions[max(trial.decisions)]
                    reason = f"never promoted from epoch {met.rung}, rank {met.rank} of {met.n} when it came there"
                    self._end(trial, TrialState.PRUNED, reason)

    def _confirm(self) -> Trial | None:
        todo = self.agenda.to_confirm()
        if not todo:
            return None
        source, seed = todo[0].source, todo[0].seed
        return self.records.propose(
            arm=source.arm,
            stage=Stage.CONFIRM,
            coordinates=json.dumps(source.coordinates),
            params=json.dumps(source.params),
            recipe=json.dumps(source.recipe),
            seeds=json.dumps([seed]),
            source=source.name,
        )

    # What happened

    def started(self, name: str) -> None:
        """A worker began with the trial, for the first time or again."""
        trial = self.history.trials[name]
        self.records.change(trial, TrialState.RUNNING, attempt=trial.attempt + 1)

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
            self.records.event(news)
        divergence = report["divergence"]
        newest = trial.last_epoch
        for epoch, lanes in groupby(report["epochs"], key=lambda lane: int(lane["epoch"])):
            self.records.epoch(trial, epoch, lanes, report["attempt_start"])
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
        met = trial.decisions.get(epoch) or self.records.decide(trial, epoch)
        match met.verdict:
            case Verdict.STOP:
                return self._end(trial, TrialState.PRUNED, f"rank {met.rank} of {met.n} at epoch {epoch}")
            case Verdict.PAUSE if self.agenda.promotion() == (trial, epoch):
                self.records.promotion(trial, epoch)
            case Verdict.PAUSE:
                self.records.change(trial, TrialState.PAUSED)
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
        reached = trial.last_epoch
        self.records.change(trial, TrialState.PENDING, epochs=reached, reason=failure.reason, **failure.columns)
        self.active.discard(trial.name)
        self._abandoned[trial.name] = None

    def _end(self, trial: Trial, state: TrialState, reason: str, **values: Any) -> Verdict:
        value = trial.value(self.study.search.metric)
        self.records.change(trial, state, epochs=trial.last_epoch, value=value, reason=reason, **values)
        self.active.discard(trial.name)
        if trial.stage is Stage.TEACH and state is TrialState.COMPLETED:
            self.agenda.trained.setdefault(trial.arm, trial.name)
        return Verdict.STOP
