"""How far all studies of a root are, in a line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from results import formats
from results.errors import StudyUnreadable
from results.places import Place, names_in
from results.query import Database
from results.report.model import Progress, Step, Table
from results.report.output import Format, json_text, render_short
from results.report.wording import teaching
from results.schema import StudyState

_OURS = ("teachers", "mlartifacts", "mlruns")  # beside the studies in a root


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The best configuration of a study so far."""

    trial: str
    """The explored trial."""
    arm: str
    """Its arm."""
    reference: bool
    """Whether that is the reference arm."""
    settings: Mapping[str, object]
    """The values that the study searches."""
    value: float
    """The study's metric, mean over the seeds."""
    seeds: int
    """Seeds that the mean is over."""
    confirmed: bool
    """Whether these are fresh seeds; else they are those of the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLine:
    """Where a study stands, in short."""

    study: str
    """Name of its folder."""
    state: StudyState
    """RUNNING only while a live driver holds it."""
    driver: str | None
    """Who works on it, in words; None if nobody does."""
    metric: str
    """What is searched for."""
    progress: Progress
    """How far it is."""
    best: Leader | None
    """None while no trial was trained to the end."""
    wall_s: float
    """All driver sessions; s."""
    last_row_at: datetime | None
    """When its last record came; UTC."""
    last_row_age_s: float | None
    """How long ago that was; s."""
    last_end: str | None
    """Why the last session ended; None while one runs or if it never said."""
    resumable: bool
    """Whether it would go on."""
    resume: str | None
    """The command that lets it go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedStudy:
    """A study of which nothing can be said."""

    study: str
    """Name of its folder."""
    error: str
    """What is wrong and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFolder:
    """A folder among the studies that is none."""

    folder: str
    """Its name."""


Found = StudyLine | DamagedStudy | ForeignFolder


def statuses(root: Place, *, command: str = "thermotune") -> tuple[Found, ...]:
    """The status of every study of a root, by name; foreign folders come last.

    Args:
        root: Folder of all studies.
        command: What the printed commands begin with.

    Returns:
        A line a study; one that cannot be read does not hide the others.

    Raises:
        RootUnreadable: The root is no folder, or cannot be read.
    """
    database = Database(root)
    broken = {name: str(error) for name, error in database.damaged.items()}
    foreign = []
    for name in names_in(root):
        if name in database.sources or name in broken or name.startswith(".") or name in _OURS:
            continue
        inside = root / name
        if inside.is_dir() and (inside / "records").is_dir():
            broken[name] = str(_without_study_file(inside))
        elif inside.is_dir():
            foreign.append(ForeignFolder(folder=name))
    studies = database.records("from studies")
    leaders = {row["study"]: row for row in database.records("from best where leads")}
    lines: list[StudyLine | DamagedStudy] = [
        _line(database, row, leaders.get(row["study"]), command) for row in studies
    ]
    lines += [DamagedStudy(study=name, error=error) for name, error in broken.items()]
    return (*sorted(lines, key=lambda line: line.study), *foreign)


def render_statuses(found: Sequence[Found], form: Format, *, width: int = 100, color: bool = False) -> str:
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
        return json_text(found)
    lines = [line for line in found if not isinstance(line, ForeignFolder)]
    foreign = [line.folder for line in found if isinstance(line, ForeignFolder)]
    confirming = any(isinstance(line, StudyLine) and line.progress.to_confirm for line in lines)
    columns = ("study", "state", "explored", *["confirmed"] * confirming, "best", "last record")
    table = Table(
        title="Studies",
        caption=f"No studies: {', '.join(foreign)}." if foreign else "",
        columns=columns,
        right=tuple(name in ("explored", "confirmed", "last record") for name in columns),
        rows=tuple(_row(line, confirming) for line in lines),
    )
    steps = [
        Step(purpose=f"go on with {line.study}", command=line.resume)
        for line in lines
        if isinstance(line, StudyLine) and line.resume
    ]
    head = [] if lines else ["No study yet." + (f" No studies: {', '.join(foreign)}." if foreign else "")]
    return render_short(head, [table], steps, form, width, color)


def _line(database: Database, row: Mapping[str, Any], best: Mapping[str, Any] | None, command: str) -> StudyLine:
    state, last = StudyState(row["state"]), row["last_row_at"]
    moment = None if last is None else last.replace(tzinfo=UTC)
    space = database.sources[row["study"]].facts.space
    leader = None
    if best is not None:
        leader = Leader(
            trial=best["trial"],
            arm=best["arm"],
            reference=best["is_reference"],
            settings={path: best[path] for path in space if best.get(path) is not None},
            value=best["value"],
            seeds=best["seeds"],
            confirmed=best["source"] == "confirmed",
        )
    return StudyLine(
        study=row["study"],
        state=state,
        driver=row["driver"],
        metric=row["metric"],
        progress=Progress(
            state=state,
            explored=row["trials_ended"],
            to_explore=row["trials_planned"],
            completed=row["trials_completed"],
            paused=row["trials_paused"],
            confirmed=row["confirm_ended"],
            to_confirm=row["confirm_planned"],
            taught=row["teachers_trained"],
            to_teach=row["teachers_planned"],
            lost_teachers=tuple(row["teachers_lost"]),
        ),
        best=leader,
        wall_s=row["wall_hours"] * 3600,
        last_row_at=moment,
        last_row_age_s=None if moment is None else max(0.0, (datetime.now(UTC) - moment).total_seconds()),
        last_end=row["last_end"],
        resumable=row["resumable"],
        resume=f"{command} resume {row['study']}" if row["resumable"] else None,
    )


def _row(line: StudyLine | DamagedStudy, confirming: bool) -> tuple[str, ...]:
    if isinstance(line, DamagedStudy):
        none = [formats.NONE] * (1 + confirming)
        return line.study, "UNREADABLE", *none, formats.first_line(line.error), formats.NONE
    progress = line.progress
    best = teaching(progress) or formats.NONE
    if line.best:
        best = f"{formats.metric(line.metric, line.best.value)} at {formats.settings(line.best.settings)}"
        best += f" of the reference arm {line.best.arm}" if line.best.reference else ""
        best += "" if line.best.confirmed else " (not confirmed)"
    confirmed = f"{progress.confirmed}/{progress.to_confirm}" if progress.to_confirm else formats.NONE
    return (
        line.study,
        line.state.value,
        f"{progress.explored}/{progress.to_explore}",
        *[confirmed] * confirming,
        best,
        formats.NONE if line.last_row_age_s is None else f"{formats.duration(line.last_row_age_s)} ago",
    )


def _without_study_file(folder: Place) -> StudyUnreadable:
    return StudyUnreadable(
        f"a study's folder must hold study.yaml, but {folder} has only records. Restore the file from a copy"
    )
