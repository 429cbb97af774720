"""Short answers: how far a study is, how far all of them are, and the best configuration alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from results import formats
from results.errors import ResultsError
from results.facts import study_dirs
from results.query import Amendment, Spent
from results.report.build import build
from results.report.model import ArmCount, Best, Progress, Report, Step, Table
from results.report.output import Format, plain, render_short
from results.report.tables import arm_counts
from results.report.wording import teaching
from results.schema import StudyState, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial at work."""

    trial: str
    arm: str
    stage: str
    epoch: int
    """Epochs trained so far."""
    epochs: int
    """Epochs that it is to be trained."""
    value: float | None
    """The study's metric at the last of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """Where a study stands."""

    study: str
    state: StudyState
    driver: str | None
    """Who works on it, in words; None if nobody does."""
    metric: str
    epochs: int
    """Length of a full trial."""
    progress: Progress
    counts: tuple[ArmCount, ...]
    running: tuple[RunningTrial, ...]
    best: Best | None
    wall_s: float
    """All driver sessions; s."""
    last_end: str | None
    """Why the last session ended; None while one runs or if it never said."""
    spent: tuple[Spent, ...]
    """What it used of its budget."""
    amendments: tuple[Amendment, ...]
    """What was changed after it began."""
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedStudy:
    """A study of which nothing can be said."""

    study: str
    """Name of its folder."""
    error: str
    """What is wrong and what to do about it."""


def status(study_dir: Path, *, command: str = "thermotune") -> StudyStatus:
    """Says how far a study is.

    Args:
        study_dir: Folder of the study.
        command: What the printed commands begin with.

    Returns:
        Its status.

    Raises:
        ResultsError: As ``build``.
    """
    return _status(build(study_dir, command=command))


def statuses(root: Path, *, command: str = "thermotune") -> tuple[StudyStatus | DamagedStudy, ...]:
    """The status of every study of a root, by name.

    Args:
        root: Folder of all studies.
        command: What the printed commands begin with.

    Returns:
        A status a study; one that cannot be read does not hide the others.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
    """
    return tuple(_status_or_error(folder, command) for folder in study_dirs(root))


def _status_or_error(folder: Path, command: str) -> StudyStatus | DamagedStudy:
    try:
        return status(folder, command=command)
    except (ResultsError, OSError) as error:
        return DamagedStudy(study=folder.name, error=str(error))


def render_status(found: StudyStatus, form: Format, *, width: int = 100, color: bool = False) -> str:
    """The status of one study as text.

    Args:
        found: What ``status`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: The status is not written in this format.
    """
    if form is Format.JSON:
        return json.dumps(plain(found), indent=2, allow_nan=False) + "\n"
    head = [f"{found.study}: {_progress(found)}"]
    head += [f"Driver: {found.driver}"] if found.driver else []
    head += [f"Last session ended: {found.last_end}"] if found.last_end else []
    head += [f"Budget: {', '.join(map(str, found.spent))}"] if found.spent else []
    head += [_amended(amendment) for amendment in found.amendments]
    if found.best:
        head.append(
            f"{found.best.title}, {formats.settings(found.best.settings)}, {found.metric} "
            f"{formats.metric(found.metric, found.best.value)} ({found.best.source})"
        )
    return render_short(head, [arm_counts(found.counts), _running(found)], found.steps, form, width, color)


def render_statuses(
    found: Sequence[StudyStatus | DamagedStudy], form: Format, *, width: int = 100, color: bool = False
) -> str:
    """The status of many studies as text, a line each; of a damaged one the error in short.

    Args:
        found: What ``statuses`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: The status is not written in this format.
    """
    if form is Format.JSON:
        return json.dumps(plain(found), indent=2, allow_nan=False) + "\n"
    table = Table(
        title="Studies",
        caption="",
        columns=("study", "state", "explored", "confirmed", "best so far", "wall time"),
        right=(False, False, True, True, False, True),
        rows=tuple(map(_line, found)),
    )
    return render_short([] if found else ["No study yet."], [table], (), form, width, color)


def render_best(report: Report, form: Format, *, width: int = 100, color: bool = False) -> str:
    """The best configuration alone, with the verdict.

    Args:
        report: What ``build`` gave.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: The short form is not written in this format.
    """
    if form is Format.JSON:
        document: Mapping[str, object] = {
            "study": report.study,
            "state": report.state,
            "metric": report.metric,
            "best": report.best,
            "verdict": report.verdict,
        }
        return json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
    if report.best is None:
        return render_short([report.verdict.headline, *report.verdict.details], [], (), form, width, color)
    table = Table(
        title=report.best.title,
        caption="",
        columns=("what", "value"),
        right=(False, False),
        rows=(
            *((path, formats.setting(value)) for path, value in report.best.settings.items()),
            (report.metric, f"{formats.metric(report.metric, report.best.value)} ({report.best.source})"),
        ),
    )
    step = Step(purpose="train it again", command=report.best.retrain)
    return render_short([report.verdict.headline], [table], [step], form, width, color)


def _status(report: Report) -> StudyStatus:
    view = report.view
    last = view.sessions[-1] if view.sessions else None
    return StudyStatus(
        study=report.study,
        state=report.state,
        driver=str(view.holder) if view.holder else None,
        metric=report.metric,
        epochs=view.facts.epochs,
        progress=report.progress,
        counts=report.counts,
        running=tuple(
            RunningTrial(
                trial=t.trial,
                arm=t.arm,
                stage=t.stage.value,
                epoch=t.epochs,
                epochs=view.length_of(t),
                value=t.last_value,
            )
            for t in view.trials
            if t.state is TrialState.RUNNING
        ),
        best=report.best,
        wall_s=report.time.wall_s,
        last_end=last.reason if last and not view.holder else None,
        spent=view.spent,
        amendments=view.amendments,
        steps=report.steps,
    )


def _line(found: StudyStatus | DamagedStudy) -> tuple[str, ...]:
    if isinstance(found, DamagedStudy):
        short = formats.first_line(found.error)
        return found.study, "UNREADABLE", formats.NONE, formats.NONE, short, formats.NONE
    progress = found.progress
    best = teaching(progress) or formats.NONE
    if found.best:
        best = f"{formats.metric(found.metric, found.best.value)} at {formats.settings(found.best.settings)}"
        best += f" of the reference arm {found.best.arm}" if found.best.reference else ""
        best += "" if found.best.confirmed else " (not confirmed)"
    return (
        found.study,
        found.state.value,
        f"{progress.explored}/{progress.to_explore}",
        f"{progress.confirmed}/{progress.to_confirm}" if progress.to_confirm else formats.NONE,
        best,
        formats.duration(found.wall_s),
    )


def _progress(found: StudyStatus) -> str:
    p = found.progress
    words = f"{found.state}, {teaching(p)}, " if teaching(p) else f"{found.state}, "
    words += f"{p.explored} of {p.to_explore} trials explored"
    words += f", {p.confirmed} of {p.to_confirm} confirm runs" if p.to_confirm else ""
    return f"{words}, {formats.duration(found.wall_s)}"


def _amended(amendment: Amendment) -> str:
    since = f" since session {amendment.session}" if amendment.session else ""
    return f"Amendment {amendment.number}{since}: {', '.join(map(str, amendment.changes)) or 'nothing changed'}"


def _running(found: StudyStatus) -> Table:
    return Table(
        title="Running" if found.state is StudyState.RUNNING else "Was running when the driver stopped",
        caption="",
        columns=("trial", "arm", "stage", "epoch", found.metric),
        right=(False, False, False, True, True),
        rows=tuple(
            (t.trial, t.arm, t.stage, f"{t.epoch}/{t.epochs}", formats.metric(found.metric, t.value))
            for t in found.running
        ),
    )
