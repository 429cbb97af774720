"""The checks as text: a table for people, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO

from results.formats import count
from search.doctor.check import CLIENT, Check, State

_STYLE = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "bold red"}
_DRIVER = "driver"
_NAMED = 3
_EDGE = 2


def write(checks: Sequence[Check], form: str, *, width: int = 100, color: bool = False) -> str:
    """The checks as text that ends with a line break.

    Args:
        checks: In the order in which they were made.
        form: ``table``, ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.
    """
    if form == "json":
        return json.dumps([asdict(check) for check in checks], indent=2) + "\n"
    shown = sorted(together(checks), key=lambda check: list(State).index(check.state))  # what went wrong stands last
    if form == "markdown":
        return "\n".join([*_markdown(shown), "", summary(checks), ""])
    return _table(shown, width, color) + f"\n{summary(checks)}\n"


def together(checks: Sequence[Check]) -> list[Check]:
    """The checks of nodes in few lines: one for all that is well under a name, and one for every different problem."""
    nodes = {check.node for check in checks} - {"", CLIENT}
    groups: dict[tuple[object, ...], list[Check]] = {}
    for check in checks:
        alike = () if check.state is State.OK and check.node in nodes else (check.found, check.remedy)
        groups.setdefault((check.name, check.state, check.node in nodes, alike), []).append(check)
    return [
        replace(
            those[0],
            found=_shortened(list(dict.fromkeys(check.found for check in those))),
            node=named(list(dict.fromkeys(check.node for check in those)), len(nodes)),
        )
        for those in groups.values()
    ]


def summary(checks: Sequence[Check]) -> str:
    """How many checks ended how, in a line."""
    counts = {state: sum(check.state is state for check in checks) for state in reversed(State)}
    plural = {State.WARNING: "s"}
    parts = ", ".join(f"{n} {state}{plural.get(state, '') if n > 1 else ''}" for state, n in counts.items() if n)
    return f"{count(len(checks), 'check')}: {parts}."


def _shortened(found: Sequence[str]) -> str:
    more = len(found) - _NAMED
    return "; ".join(found[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def named(nodes: Sequence[str], of: int) -> str:
    """Which nodes, in a few words.

    Args:
        nodes: Their names.
        of: How many there are.
    """
    if len(nodes) == of > 1:
        return f"all {of} nodes"
    more = len(nodes) - _NAMED
    return ", ".join(nodes[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _table(checks: Sequence[Check], width: int, color: bool) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _EDGE, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    if several := any(check.node for check in checks):
        table.add_column(max_width=24)
    table.add_column()
    for check in checks:
        found = Text(check.found, overflow="fold")
        if check.remedy:
            found.append(f"\n-> {check.remedy}", style="bold")
        where = [check.node or _DRIVER] if several else []
        table.add_row(Text(check.state, style=_STYLE[check.state]), check.name, *where, found)
    stream = StringIO()
    console = Console(file=stream, width=width, force_terminal=color, no_color=not color, highlight=False, markup=False)
    console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _markdown(checks: Sequence[Check]) -> list[str]:
    rows = [(c.state, c.name, c.node or _DRIVER, c.found, c.remedy) for c in checks]
    lines = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    return ["| state | check | machine | found | what to do |", "|---|---|---|---|---|", *lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
