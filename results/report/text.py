"""The report as text: tables for a terminal, and Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from results import formats
from results.report.model import Report, Step, Table
from results.report.tables import facts, main_tables, tables
from results.statistics import Outcome

_TONES = {Outcome.BETTER: "green", Outcome.WORSE: "red", Outcome.NOT_SHOWN: "yellow", Outcome.NOT_COMPARED: "cyan"}


_AS_FILE = "The best configuration as a study file, to copy"
_WHOLE = re.compile(r"\[[^\]]*\]|[^\s\[]\S*(?: %)?")  # words, numbers with their unit, intervals
_WORD = re.compile(r"\S+(?: %)?")
_LONGEST = 20  # a word beyond that is a name without blanks, which may be broken


def table(report: Report, width: int, color: bool) -> str:
    """The report for a terminal.

    Args:
        report: What ``report.build`` gave.
        width: Columns of the terminal.
        color: Whether escape codes for colours may be used.

    Returns:
        Lines no longer than the width, except commands, which are never broken. A table that would have to break words
        is written row by row, a line a cell.
    """
    parts = [*_answer(report), *_blocks(tables(report), width), *_effort(report)]
    if report.best is not None:
        parts += [Text(), Text(_AS_FILE, style="bold"), *report.best.study_file.splitlines()]
    return _paint([*parts, *_commands(report.steps)], width, color)


def summary(report: Report, width: int, color: bool) -> str:
    """What of the report fits a screen or two, for the end of a run; arguments and lines as of ``table``."""
    parts = [*_answer(report), *_blocks(main_tables(report), width), *_effort(report), *_commands(report.steps)]
    return _paint(parts, width, color)


def short_table(head: Sequence[str], blocks: Sequence[Table], steps: Sequence[Step], width: int, color: bool) -> str:
    """A few sentences, tables and commands for a terminal."""
    parts: list[RenderableType] = [Text(line, style="bold" if i == 0 else "") for i, line in enumerate(head)]
    return _paint([*parts, *_blocks(blocks, width), *_commands(steps)], width, color)


def short_markdown(head: Sequence[str], blocks: Sequence[Table], steps: Sequence[Step]) -> str:
    """The same as Markdown."""
    lines = [f"**{_md(line)}**" if i == 0 else f"- {_md(line)}" for i, line in enumerate(head)]
    for block in blocks:
        lines += ["", *_md_table(block)]
    return "\n".join([*lines, *_md_commands(steps)]) + "\n"


def _answer(report: Report) -> list[RenderableType]:
    """The verdict, the best configuration, and what to know before trusting them."""
    return [
        Text.assemble((report.study, "bold"), f"  {report.state}"),
        Text(),
        Text(report.verdict.headline, style=f"bold {_TONES[report.verdict.outcome]}"),
        *(Text(f"- {detail}") for detail in report.verdict.details),
        *([Text(), *_best_lines(report)] if report.best is not None else []),
        *(Text(f"! {note}", style="yellow") for note in report.notes),
    ]


def _blocks(blocks: Sequence[Table], width: int) -> list[RenderableType]:
    """Tables, each with its title and caption."""
    parts: list[RenderableType] = []
    for block in blocks:
        parts += [Text(), Text(block.title, style="bold"), *([Text(block.caption, style="dim")] * bool(block.caption))]
        parts += _grid(block, width)
    return parts


def _effort(report: Report) -> list[RenderableType]:
    """What it took, and what it ran on."""
    effort = RichTable.grid(padding=(0, 2))
    for name, value in (*facts(report), ("run on", report.run_on)):
        effort.add_row(Text(name, style="dim"), Text(value))
    return [Text("Time and effort", style="bold"), Padding(effort, (0, 0, 0, 1))]


def _best_lines(report: Report) -> list[RenderableType]:
    """The best configuration, a line for each searched value."""
    best = report.best
    assert best is not None
    lines = RichTable.grid(padding=(0, 2))
    for path, value in best.settings.items():
        lines.add_row(Text(path, style="dim"), Text(formats.setting(value), style="bold"))
    lines.add_row(
        Text(report.metric, style="dim"), Text(f"{formats.metric(report.metric, best.value)}  ({best.source})")
    )
    if best.origin:
        lines.add_row(Text("found by", style="dim"), Text(best.origin))
    return [
        Text(best.title, style="bold"),
        Padding(lines, (0, 0, 0, 1)),
        f" {best.retrain}",
    ]


def _grid(block: Table, width: int) -> list[RenderableType]:
    """A table for a terminal: side by side, or where that breaks words row by row, each begun by its first cell."""
    widths = _widths(block, width)
    if widths is None:
        return [part for row in block.rows for part in _stacked(block.columns, row)]
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    for name, right, wide in zip(block.columns, block.right, widths, strict=True):
        drawn.add_column(name, justify="right" if right else "left", overflow="fold", width=wide)
    for row in block.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return [drawn]


def _stacked(columns: Sequence[str], row: Sequence[str]) -> list[RenderableType]:
    cells = RichTable.grid(padding=(0, 2))
    for name, cell in zip(columns[1:], row[1:], strict=True):
        cells.add_row(Text(name, style="dim"), Text(cell))
    return [Text(f" {row[0]}"), Padding(cells, (0, 0, 0, 3))]


def _widths(block: Table, width: int) -> list[int | None] | None:
    """Widths that break cells between words only, and no interval; rich decides on those that are None.

    Where there is too little room, intervals are broken; no widths at all where that would not help either.
    """
    columns = list(zip(block.columns, *block.rows, strict=True))
    room = width - 1 - 3 * (len(columns) - 1)
    wanted = [max(map(cell_len, column)) for column in columns]
    if sum(wanted) <= room:
        return [None] * len(columns)
    for atom in (_WHOLE, _WORD):
        atoms = [[part for cell in column for part in atom.findall(cell)] for column in columns]
        widths = [min(_LONGEST, max(map(cell_len, parts), default=0)) for parts in atoms]
        if sum(widths) <= room:
            break
    else:
        return None
    for left, place in enumerate(sorted(range(len(columns)), key=lambda i: wanted[i] - widths[i])):
        widths[place] += min(wanted[place] - widths[place], (room - sum(widths)) // (len(columns) - left))
    return list(widths)


def _commands(steps: Sequence[Step]) -> list[RenderableType]:
    lines: list[RenderableType] = [Text(), Text("Next", style="bold")] if steps else []
    for step in steps:
        lines += [Text(f" {step.purpose}:", style="dim"), f"   {step.command}"]
    return lines


def _paint(parts: list[RenderableType], width: int, color: bool) -> str:
    """What rich would print, as text without trailing blanks; plain strings are never broken, for copying."""
    out = StringIO()
    console = Console(
        file=out,
        width=width + 1,  # the right edge of a table is a blank, stripped below
        force_terminal=color,
        no_color=not color,
        highlight=False,
        markup=False,
        legacy_windows=False,
    )
    for part in parts:
        if isinstance(part, str):
            out.write(f"{part}\n")
        else:
            console.print(part, width=width + isinstance(part, RichTable))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def markdown(report: Report) -> str:
    """The report as Markdown."""
    lines = [f"# {_md(report.study)} ({report.state})", "", f"**{_md(report.verdict.headline)}**", ""]
    lines += [f"- {_md(detail)}" for detail in report.verdict.details]
    if report.best is not None:
        best = report.best
        lines += ["", f"## {_md(best.title)}", ""]
        lines += [f"- {_md(path)}: {_md(formats.setting(value))}" for path, value in best.settings.items()]
        lines += [f"- {_md(report.metric)}: {formats.metric(report.metric, best.value)} ({_md(best.source)})"]
        lines += [f"- found by: {_md(best.origin)}"] if best.origin else []
        lines += ["", *_code(best.retrain), "", f"{_AS_FILE}:", "", *_code(best.study_file.rstrip(), "yaml")]
    if report.notes:
        lines += ["", "## Before you trust these numbers", "", *(f"- {_md(note)}" for note in report.notes)]
    for block in tables(report):
        lines += ["", *_md_table(block)]
    lines += ["", "## Time and effort", "", *(f"- {name}: {_md(value)}" for name, value in facts(report))]
    lines += [*_md_commands(report.steps), "", f"Run on: {_md(report.run_on)}."]
    return "\n".join(lines) + "\n"


def _md_table(block: Table) -> list[str]:
    return [
        f"## {_md(block.title)}",
        "",
        *([_md(block.caption), ""] * bool(block.caption)),
        "| " + " | ".join(map(_md, block.columns)) + " |",
        "| " + " | ".join("---:" if right else "---" for right in block.right) + " |",
        *("| " + " | ".join(map(_md, row)) + " |" for row in block.rows),
    ]


def _md_commands(steps: Sequence[Step]) -> list[str]:
    lines = ["", "## Next"] if steps else []
    for step in steps:
        lines += ["", f"{_md(step.purpose[:1].upper() + step.purpose[1:])}:", "", *_code(step.command)]
    return lines


def _code(text: str, language: str = "") -> list[str]:
    """A block that shows text as it is, whatever signs are in it."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return [f"{fence}{language}", text, fence]


def _md(text: str) -> str:
    """Text that Markdown shows as it is, in a table cell too."""
    for sign in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
