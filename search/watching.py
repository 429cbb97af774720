"""Looking on while a study runs: on a terminal a status that stays up to date, elsewhere a line for every change."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from results import formats
from results.places import Place
from results.report import Format, StudyStatus, render_status, status
from results.report.latest import Latest
from results.schema import StudyState

LOOK_EVERY_S = 1.0
"""Seconds between two looks."""


def watch(study_dir: Place, console: Console, *, command: str) -> StudyStatus:
    """Shows where a study stands until it ends; only reads.

    Args:
        study_dir: Folder of the study.
        console: Where to show it; rich decides whether it is a terminal.
        command: What the printed commands begin with.

    Returns:
        The status at the end: completed, or interrupted. A study that nobody has begun yet is waited for.

    Raises:
        ResultsError: The study cannot be read.
    """
    latest = Latest(study_dir, lambda: status(study_dir, command=command), look_every_s=LOOK_EVERY_S)
    found = _watch_live(latest, console) if console.is_terminal else _watch_lines(latest, console)
    _show(console, _text(found, console))
    return found


def _watch_live(latest: Latest[StudyStatus], console: Console) -> StudyStatus:
    hint = Text("Ctrl-C stops looking on; the study goes on.", style="dim")
    found = latest.get().answer
    with Live(Group(_text(found, console), hint), console=console, transient=True, refresh_per_second=2) as live:
        while not _is_over(found):
            time.sleep(LOOK_EVERY_S)
            found = latest.get().answer
            live.update(Group(_text(found, console), hint))
    return found


def _watch_lines(latest: Latest[StudyStatus], console: Console) -> StudyStatus:
    said = ""
    while not _is_over(found := latest.get().answer):
        if (line := _line(found)) != said:
            _show(console, Text(line))
            said = line
        time.sleep(LOOK_EVERY_S)
    return found


def _is_over(found: StudyStatus) -> bool:
    return found.state in (StudyState.COMPLETED, StudyState.INTERRUPTED)


def _text(found: StudyStatus, console: Console) -> Text:
    color = console.is_terminal and not console.no_color
    return Text.from_ansi(render_status(found, Format.TABLE, width=console.width, color=color).rstrip("\n"))


def _line(found: StudyStatus) -> str:
    """The status in a line."""
    progress = found.progress
    parts = [f"{progress.taught}/{progress.to_teach} teachers trained"] if progress.taught < progress.to_teach else []
    parts += [f"{progress.explored}/{progress.to_explore} trials explored"]
    parts += [f"{progress.confirmed}/{progress.to_confirm} confirm runs"] if progress.to_confirm else []
    parts += [f"{len(found.running)} running"] if found.running else []
    line = f"{found.study} {found.state}: {', '.join(parts)}"
    if found.best is None:
        return line
    value = formats.metric(found.metric, found.best.value)
    unsure = "" if found.best.confirmed else ", not confirmed"
    return f"{line}; best {value} at {formats.settings(found.best.settings)}{unsure}"


def _show(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)
    console.file.flush()
