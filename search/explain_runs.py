"""Explain how a trial ran: every start of it, and what broke off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from results import formats
from results.schema import Setback, TrialRow, TrialState
from search.explanation import Records
from search.history import Trial

LAST_LINES = 6
"""Lines of a traceback that are shown, from its end."""


def rows_of(records: Records, trial: Trial) -> list[TrialRow]:
    """The changes of a trial's state, in order."""
    return [row for row in records.rows if isinstance(row, TrialRow) and row.trial == trial.name]


def end_of(traceback: str) -> str:
    """The last lines of a traceback, or of what Ray said of a process, under a line that says so."""
    heading = "The end of the traceback:" if 'File "' in traceback or "Traceback" in traceback else "What Ray says:"
    return "\n".join([heading, *traceback.strip().splitlines()[-LAST_LINES:]])


def runs(records: Records, trial: Trial) -> Iterator[str]:
    """Its starts, what ended them before its end, and what was trained again."""
    before: TrialRow | None = None
    shown: str | None = None
    for row in rows_of(records, trial):
        if before is not None and row.state == TrialState.RUNNING:
            yield f"Attempt {row.attempt}{_began(records, before, row)}."
        elif before is not None and row.state == TrialState.PENDING and row.setback is not None:
            yield _broke_off(before, row)
            if row.error and end_of(row.error) != shown:
                yield (shown := end_of(row.error))
        before = row
    for repeat in records.history.repeats:
        if repeat.trial == trial.name:
            to = f" to {repeat.last_epoch}" if repeat.last_epoch > repeat.first_epoch else ""
            span = f"epoch {repeat.first_epoch}{to}"
            yield f"Trained again in session {repeat.session}, since they came after its last checkpoint: {span}."


def _began(records: Records, before: TrialRow, row: TrialRow) -> str:
    """What a start follows, as the rest of a sentence."""
    if before.setback is not None:
        return f": it went on, in session {row.session}" if row.attempt > 1 else f": begun in session {row.session}"
    if before.state == TrialState.RUNNING and before.session != row.session:
        return f": session {row.session} took it over from {before.session}"
    if before.state == TrialState.RUNNING:  # in records of before setbacks
        return ": its worker was lost, and it was started again"
    if row.attempt > 1:
        return f": it went on after its pause, in session {row.session}"
    return f": begun in session {row.session}{_by_file(records, row.session)}"


def _broke_off(before: TrialRow, row: TrialRow) -> str:
    ran = before.state == TrialState.RUNNING and before.session == row.session
    when = f"after epoch {row.epochs}" if ran and row.epochs else "in its first epoch" if ran else "before it began"
    match row.setback:
        case Setback.MOVE:
            return f"Moved {when}: {row.reason}."
        case Setback.MEMORY:
            return f"Ended {when} for lack of memory with {row.gpu_share:.3g} GPU, to go on with more: {row.reason}."
    return f"Crashed {when}: {row.reason}."


def _by_file(records: Records, session: str) -> str:
    number = records.amendment_in(session)
    return f", which went by study-{number}.yaml" if number > 1 else ""


def failed(rows: Sequence[TrialRow], allowed: int) -> Iterator[str]:
    """Why a trial failed.

    Args:
        rows: Of the trial.
        allowed: How often a trial may crash and go on.
    """
    end = rows[-1]
    if end.setback == Setback.MEMORY:
        yield f"Failed: {end.reason}. Another start would end in the same way."
        return
    crashes = sum(row.setback == Setback.CRASH for row in rows)
    again = f" {formats.count(crashes, 'time')} (allowed: {allowed})" if crashes else " more often than allowed"
    yield f"Its worker crashed{again}: {end.reason}."
    if end.error:
        yield end_of(end.error)
