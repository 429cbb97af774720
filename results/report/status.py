"""Short answers about one study: how far it is, and the best configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from results import formats
from results.places import Place
from results.query import Amendment, Spent
from results.report.build import build
from results.report.model import ArmCount, Best, Progress, Report, Step, Table
from results.report.output import Format, json_text, render_short
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


def status(study_dir: Place, *, command: str = "thermotune") -> StudyStatus:
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
        return json_text(found)
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
        return json_text(document)
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
