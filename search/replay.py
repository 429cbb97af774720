"""Replay: every choice on record made again from the rows that stood before it, and compared with what was recorded.

The conductor itself makes the choices, on the history that the recorded rows tell. The first row that it would write
is what the records must have next; it is never taken in, and the recorded one is, so that a difference does not
spoil what comes after it.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results import formats
from results.environment import collect
from results.places import Place
from results.report.model import Table
from results.report.output import Format, json_text, render_short
from results.schema import (
    AnyRow,
    DecisionRow,
    EpochRow,
    SessionRow,
    Setback,
    Stage,
    TrialRow,
    TrialState,
    Verdict,
)
from results.store import read_rows
from search import warm_start
from search.conductor import Conductor
from search.differing import Difference, contradiction, differences
from search.errors import ThermotuneError
from search.failures import Failure
from search.folder import versions
from search.history import History, Trial
from search.proposing import Known
from search.recording import Nowhere
from search.study import Study
from search.taking_up import news
from trainables.loss_settings import RecipeWarning

MOST_DIFFERENCES = 20
"""Differences that are shown; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay."""

    study: str
    """Name of the study."""
    rows: int
    """Rows that were walked through."""
    proposals: int
    """Explored trials that were proposed again."""
    decisions: int
    """Verdicts of the stopping rule that were given again, promotions among them."""
    candidates: int
    """Confirm runs that were chosen again."""
    ends: int
    """Pauses and ends of explored and confirm trials that were found again."""
    differences: tuple[Difference, ...]
    """In the order of the rows."""
    hints: tuple[str, ...]
    """With differences: what is not as it was when the study ran, a sentence each."""


def replay(folder: Place) -> Replay:
    """Makes every choice of a study again. Costs about what the choices cost the study, and writes nothing.

    What workers did is taken from the records: epochs, divergence, failures, teachers. A study that is being driven is
    replayed as far as it has come.

    Args:
        folder: Folder of the study.

    Raises:
        ResultsError: There is no study, or its records cannot be read.
        ThermotuneError: A study file is damaged, or what the study knew of an earlier one is gone.
    """
    studies = versions(folder)
    rows = read_rows(folder)
    player = _Player(studies, _known(studies[1], folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecipeWarning)  # said when the study was loaded
        found = tuple(player.walk(rows))
    return Replay(
        study=studies[1].name,
        rows=len(rows),
        proposals=player.counts["proposals"],
        decisions=player.counts["decisions"],
        candidates=player.counts["candidates"],
        ends=player.counts["ends"],
        differences=found,
        hints=tuple(_hints(rows)) if found else (),
    )


def render_replay(found: Replay, form: Format, *, width: int = 100, color: bool = False) -> str:
    """A replay as text.

    Args:
        found: What ``replay`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: A replay is not written in this format.
    """
    if form is Format.JSON:
        return json_text(found)
    shown = found.differences[:MOST_DIFFERENCES]
    table = Table(
        title="Differences",
        caption="Look at the first one: those after it may follow from it."
        + (f" The first {len(shown)} of {len(found.differences)}." if len(shown) < len(found.differences) else ""),
        columns=("row", "trial", "what", "recorded", "replayed"),
        right=(True, False, False, False, False),
        rows=tuple((str(d.seq), d.trial, d.what, d.recorded, d.replayed) for d in shown),
    )
    return render_short([_sentence(found), *found.hints], [table], (), form, width, color)


def _sentence(found: Replay) -> str:
    """Say: ``digits-beta: 96 proposals, 172 decisions, 15 candidates and 111 ends made again ...: all the same``."""
    counts = (
        formats.count(found.proposals, "proposal"),
        formats.count(found.decisions, "decision"),
        formats.count(found.candidates, "candidate"),
    )
    made = f"{', '.join(counts)} and {formats.count(found.ends, 'end')}"
    result = formats.count(len(found.differences), "difference") if found.differences else "all the same"
    return f"{found.study}: {made} made again from the {found.rows:,} rows before each: {result}."


class _Foreseen(Exception):  # no error: how a row is caught before it is taken in
    """The row that the conductor would write."""

    def __init__(self, row: AnyRow) -> None:
        super().__init__(row)
        self.row = row


class _Recorded(History):
    """The history that the recorded rows tell; what the conductor would add to it comes back as ``_Foreseen``."""

    def take(self, row: AnyRow) -> None:
        """Takes a recorded row in."""
        super().apply(row)

    def apply(self, row: AnyRow) -> None:
        raise _Foreseen(row)


class _Player:
    """Walks through the rows of a study."""

    def __init__(self, studies: Mapping[int, Study], known: Known) -> None:
        self.counts: Counter[str] = Counter()
        self._studies = studies
        self._known = known
        self._history = _Recorded()
        self._session = ""

    def walk(self, rows: Sequence[AnyRow]) -> Iterator[Difference]:
        """All that differs, up to a row that contradicts those before it, if there is one."""
        for row in rows:
            if row.session != self._session:
                self._take_up(row)
            if _is_lost(row, self._history):
                yield contradiction(row, "no such trial was proposed before")
                return
            yield from self._compared(row)
            try:
                self._history.take(row)
            except ValueError as error:
                yield contradiction(row, str(error))
                return

    def _take_up(self, row: AnyRow) -> None:
        """A session begins as the driver began it: from the rows so far, with the study file that it went by."""
        number = (row.amendment if isinstance(row, SessionRow) else None) or 1
        if number not in self._studies:
            raise ThermotuneError(
                f"the study files that sessions went by must be there, and study-{number}.yaml of {row.session} is "
                "gone. Restore it from a copy"
            )
        study = self._studies[number]
        self._session = row.session
        self._conductor = Conductor(study, self._history, Nowhere(), session=row.session, known=self._known)
        self._conductor.agenda.trained = dict.fromkeys(
            study.needed_teachers, ""
        )  # else nothing that is on record had begun

    def _compared(self, row: AnyRow) -> Iterator[Difference]:
        match row:
            case TrialRow(stage=Stage.TEACH):
                return  # what is on the shelf of teachers is no matter of the records
            case TrialRow(state=TrialState.PENDING | TrialState.RUNNING) if row.trial in self._history.trials:
                return  # it is begun, or promoted, and a decision said so
            case TrialRow(state=TrialState.PENDING):
                self.counts["proposals" if row.stage == Stage.EXPLORE else "candidates"] += 1
                yield from differences(row, self._next())
            case TrialRow():
                self.counts["ends"] += 1
                yield from differences(row, self._ended(row))
            case DecisionRow():
                self.counts["decisions"] += 1
                waits = self._history.trials[row.trial].state is TrialState.PAUSED
                again = self._next() if waits else self._reported(row.trial, row.rung)
                yield from differences(row, again)
            case EpochRow() if row.epoch not in (epochs := self._history.trials[row.trial].epochs):
                # Had the epoch before been a rung, the verdict there would have come before this row.
                missing = self._reported(row.trial, row.epoch - 1) if row.epoch - 1 in epochs else None
                if missing is not None:
                    yield from differences(row, missing)

    def _next(self) -> AnyRow | None:
        """What the conductor would write when a worker is free."""

        def ask() -> None:
            while self._conductor.next_trial() is not None:
                pass  # what an earlier session left behind was handed out again before, without a row

        return _foreseen(ask)

    def _ended(self, row: TrialRow) -> AnyRow | None:
        """What it would write where the records have a pause or an end."""
        trial = self._history.trials[row.trial]
        match row.state:
            case TrialState.PRUNED if trial.state is TrialState.PAUSED:
                return self._next()
            case TrialState.PRUNED | TrialState.PAUSED:
                return self._reported(row.trial, max(trial.decisions, default=0))
            case TrialState.FAILED | TrialState.DIVERGED if _is_stopped(trial):
                return self._reported(row.trial, trial.last_epoch)  # it ended before anything else could happen to it
            case TrialState.FAILED:
                return _foreseen(lambda: self._conductor.failed(row.trial, _failure(row)))
            case TrialState.DIVERGED:
                divergence = {"epoch": trial.last_epoch, "reason": row.reason}
                return self._reported(row.trial, trial.last_epoch, divergence=divergence)
            case _:
                finished = trial.last_epoch == trial.recipe["epochs"]
                return self._reported(row.trial, trial.last_epoch, finished=finished)

    def _reported(
        self, name: str, epoch: int, *, divergence: Mapping[str, Any] | None = None, finished: bool = False
    ) -> AnyRow | None:
        """What it would write when a worker reports an epoch that is on record, as after a restart."""
        lanes = self._history.trials[name].epochs.get(epoch, {})
        report = {
            "attempt": self._history.trials[name].attempt,
            "attempt_start": epoch,
            "epochs": [{"epoch": epoch, "lane": lane} for lane in lanes],
            "divergence": divergence,
            "finished": finished,
            "memory": None,
            "out_of_memory": None,
        }
        return _foreseen(lambda: self._conductor.report(name, report))


def _foreseen(act: Callable[[], object]) -> AnyRow | None:
    """The first row that an act of the conductor's would write; None if it would write none."""
    try:
        act()
    except _Foreseen as foreseen:
        return foreseen.row
    return None


def _failure(row: TrialRow) -> Failure:
    """What happened to a trial that failed; in older records it had crashed, and a row did not say so."""
    return Failure(setback=Setback(row.setback or Setback.CRASH), reason=row.reason or "", error=row.error)


def _is_stopped(trial: Trial) -> bool:
    """Whether the stopping rule ended a trial after its newest epoch."""
    met = trial.decisions.get(trial.last_epoch)
    return met is not None and met.verdict == Verdict.STOP


def _is_lost(row: AnyRow, history: History) -> bool:
    """Whether a row is about a trial that nobody proposed."""
    if isinstance(row, SessionRow) or (isinstance(row, TrialRow) and row.state == TrialState.PENDING):
        return False
    return row.trial not in history.trials


def _known(study: Study, folder: Place) -> Known:
    """What the study knew of an earlier one."""
    if study.search.warm_start is not None and not (folder / warm_start.FILE).exists():
        raise ThermotuneError(
            f"{folder / warm_start.FILE} must hold what {study.name} knew of {study.search.warm_start}, and is gone. "
            "Restore it from a copy"
        )
    return warm_start.known_for(study, folder)


def _hints(rows: Sequence[AnyRow]) -> Iterator[str]:
    """What may explain differences: code and versions that are not those of the last session."""
    last = next((row for row in reversed(rows) if isinstance(row, SessionRow)), None)
    if last is not None:
        yield from news(rows, json.dumps(collect()), last.amendment or 1)
