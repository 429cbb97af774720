"""The display of a running study: a rich view on a terminal, plain lines elsewhere. Writes to stderr."""

from __future__ import annotations

import time

import typer
from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results import formats
from results.schema import Stage, TrialState
from search.progress.snapshot import SHOWN, Snapshot

LINE_EVERY_S = 5.0
"""Without a terminal, at most one line in so many seconds, besides those that mark an event."""
VIEW_EVERY_S = 0.25


class Display:
    """Shows a study that runs here or elsewhere; use it as a context manager.

    Args:
        console: Where to write; rich decides whether it is a terminal.

    Attributes:
        every_s: A snapshot is wanted once in so many seconds.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._snapshot: Snapshot | None = None
        self._phase = "starting"
        self._began = time.monotonic()
        self.every_s = VIEW_EVERY_S if console.is_terminal else LINE_EVERY_S

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """A new part of the work begins."""
        if text != self._phase:
            self._phase = text
            if self._live is None:
                self.note(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Shows where the study stands now."""
        self._snapshot = snapshot
        if self._live is None:
            self.note(snapshot.line)

    def result(self, text: str) -> None:
        """What was asked for: goes to stdout."""
        typer.echo(text, nl=False)

    def _render(self) -> ConsoleRenderable:
        shot = self._snapshot
        if shot is None:
            return Text(f"{self._phase} ... {time.monotonic() - self._began:.0f} s", style="dim")
        passed_s = max(0.0, time.time() - shot.at)
        head = f"{shot.study}: {self._phase}, {shot.done} of {shot.total} trials, {shot.elapsed_s + passed_s:.0f} s"
        if not shot.groups:
            return Text(head, style="bold")
        left = "" if shot.left_s is None else f", about {max(0.0, shot.left_s - passed_s):.0f} s left"
        return Group(Text(head + left, style="bold"), _table(shot))


def _table(shot: Snapshot) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("arm", no_wrap=True)
    shown = [state for state in SHOWN if state is not TrialState.PAUSED or shot.pauses]
    for heading in (*(state.lower() for state in shown), *(f"epoch {epoch}" for epoch in shot.epochs)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("best", no_wrap=True)
    for group in shot.groups:
        explore = group.stage == Stage.EXPLORE
        best = shot.best.get(group.arm) if explore else None
        table.add_row(
            group.arm if explore else f"{group.arm}, {group.stage}",
            *(str(group.states.get(state) or "") for state in shown),
            *(map(str, shot.reached[group.arm]) if explore else [""] * len(shot.epochs)),
            f"{formats.metric(shot.metric, best.value)} ({best.trial})" if best else "",
        )
    return table
