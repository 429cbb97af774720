"""Recording: what happens in a study, and what its stopping rule says of it, becomes rows.

Every row is applied to the history and handed to the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
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
from search.history import History, Trial
from search.sharing import Shares
from search.study import Study


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


class Recorder:
    """Makes the rows of one driver session."""

    def __init__(
        self,
        study: Study,
        history: History,
        shares: Shares,
        writer: Writer,
        *,
        session: str,
        tell: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        """Nothing has happened yet in this session.

        Args:
            study: That is run.
            history: To which every row is applied.
            shares: GPUs of every trial.
            writer: To which every row goes.
            session: Name of the driver session.
            tell: Hears of events as they are recorded.
            now: The clock.
        """
        self._study = study
        self._history = history
        self._shares = shares
        self._writer = writer
        self._session = session
        self._session_row: SessionRow | None = None
        self._tell = tell
        self._now = now

    def propose(self, *, arm: str, stage: Stage, **values: Any) -> Trial:
        """A new trial, with the next free name; ``values`` are further columns of TrialRow."""
        name = f"t{len(self._history.trials) + 1:04d}"
        number = len(self._history.of(arm, stage))
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
        return self._history.trials[name]

    def change(self, trial: Trial, state: TrialState, *, attempt: int | None = None, **values: Any) -> None:
        """A trial comes into a state; ``values`` are further columns of TrialRow."""
        self._record(
            TrialRow(
                **self._stamp(),
                trial=trial.name,
                arm=trial.arm,
                stage=trial.stage,
                number=trial.number,
                state=state,
                attempt=trial.attempt if attempt is None else attempt,
                **self._shares.columns(trial.name),
                **values,
            )
        )

    def epoch(self, trial: Trial, epoch: int, lanes: Iterable[Mapping[str, Any]], attempt_start: int) -> None:
        """What a worker measured in an epoch, lane by lane, but for what is on record already."""
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

    def decide(self, trial: Trial, epoch: int) -> DecisionRow:
        """What the stopping rule says of a trial at a rung."""
        rule, metric = self._study.rule, self._study.search.metric
        bracket = rule.bracket(trial.number)
        measured = [trial.value(metric, earlier) for earlier in range(1, epoch + 1)]
        value = rule.score([float("nan") if v is None else v for v in measured])
        decision = rule.decide(self._history.rung(trial.arm, bracket, epoch), value)
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

    def promotion(self, trial: Trial, epoch: int) -> None:
        """A trial that the rule let wait at a rung goes on from there, ranked among what the rung holds by now."""
        rung = self._history.rung(trial.arm, 0, epoch)
        value = rung.value_of(trial.name)
        before = trial.decisions[epoch]
        self._record(
            replace(
                before,
                **self._stamp(),
                rank=rung.rank(value, self._study.search.mode),
                n=len(rung),
                verdict=Verdict.PROMOTE,
            )
        )

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

    def flush(self) -> None:
        """Returns when all rows are safe."""
        self._writer.flush()

    def _stamp(self) -> dict[str, Any]:
        return {
            "study": self._study.name,
            "session": self._session,
            "seq": self._history.seq + 1,
            "reported_at": self._now(),
        }

    def _record(self, row: AnyRow) -> None:
        self._history.apply(row)
        self._writer.append(row)
