"""The tables of a report as text cells, shared by the terminal, Markdown and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results import formats
from results.report.model import ArmCount, Candidate, Report
from results.schema import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text."""

    title: str
    caption: str
    """A sentence, or empty."""
    columns: tuple[str, ...]
    right: tuple[bool, ...]
    """Which columns are numbers, set flush right."""
    rows: tuple[tuple[str, ...], ...]


def tables(report: Report) -> tuple[Table, ...]:
    """The tables that a report has rows for."""
    made = (_candidates(report), _top(report), arm_counts(report.counts))
    return tuple(table for table in made if table.rows)


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Time and effort, as pairs of name and value."""
    time = report.time
    pace = "epochs not trained x the trial's own mean epoch time"
    rows = [
        (
            "time in training",
            f"{formats.duration(time.training_s)} over {formats.count(time.epochs, 'epoch')}",
        ),
        ("wall time", f"{formats.duration(time.wall_s)} over {formats.count(time.sessions, 'session')}"),
        (
            "saved by early stopping",
            f"{formats.duration(time.stopped_saved_s)} ({formats.count(time.stopped_saved_epochs, 'epoch')}; {pace})",
        ),
        (
            "spared by divergence",
            f"{formats.duration(time.diverged_saved_s)} ({formats.count(time.diverged_saved_epochs, 'epoch')})",
        ),
        (
            "restarts",
            f"{time.restarts} in {formats.count(time.restarted_trials, 'trial')}" if time.restarts else "none",
        ),
        ("test split opened", "not yet" if not report.test_openings else _times(report.test_openings)),
    ]
    return tuple(rows)


def arm_counts(counts: Sequence[ArmCount]) -> Table:
    """Trials by stage, arm and state."""
    states = [state for state in TrialState if any(c.states.get(state) for c in counts)]
    return Table(
        title="Trials",
        caption="",
        columns=("stage", "arm", "planned", *(state.value.lower() for state in states)),
        right=(False, False, *([True] * (len(states) + 1))),
        rows=tuple(
            (c.stage.value, c.arm, str(c.planned), *(str(c.states.get(state, 0)) for state in states)) for c in counts
        ),
    )


def _candidates(report: Report) -> Table:
    study = report.view.facts
    caption = (
        "Chosen by the mean on the validation split; the test split is only read off. Means with 95 % t intervals "
        "over seeds only, on one fixed test set: they do not cover what another test set would change."
    )
    if study.reference is not None and len(study.arms) > 1:
        caption += f" The reference arm sends its best trial to the confirmation, every other arm {study.confirm_top}."
    return Table(
        title="Candidates on fresh seeds",
        caption=caption,
        columns=("trial", "arm", "settings", "in the search", report.metric, report.test_metric, "seeds"),
        right=(False, False, False, True, True, True, True),
        rows=tuple(
            (
                c.trial,
                c.arm + (" (ref.)" if c.arm == report.reference_arm else ""),
                formats.settings(c.settings),
                formats.metric(report.metric, c.explored),
                formats.interval(report.metric, c.validation, n=False),
                formats.interval(report.test_metric, c.test, n=False),
                _seeds(c) + (", earlier round" if c in report.earlier else ""),
            )
            for c in (*report.candidates, *report.earlier)
        ),
    )


def _top(report: Report) -> Table:
    full = report.view.facts.epochs
    return Table(
        title="Top ten of the search",
        caption=f"By {report.metric} at the last epoch, one line a trial. Trials trained to the end ({full} epochs) "
        "come first; the value of a stopped trial belongs to an earlier epoch and does not compare.",
        columns=("trial", "arm", "settings", report.metric, "epochs", "state"),
        right=(False, False, False, True, True, False),
        rows=tuple(
            (
                t.trial,
                t.arm,
                formats.settings(t.settings),
                formats.metric(report.metric, t.value),
                str(t.epochs),
                t.state.value,
            )
            for t in report.top
        ),
    )


def _seeds(candidate: Candidate) -> str:
    parts = [f"{candidate.ended} of {candidate.seeds}"]
    parts += [f"{candidate.diverged} diverged"] if candidate.diverged else []
    parts += [f"{candidate.failed} failed"] if candidate.failed else []
    return ", ".join(parts)


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")
