"""An answer of SQL as a table for a terminal or Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pyarrow as pa
from rich.cells import cell_len

from results import formats
from results.query import VIEWS, Column
from results.query.writing import cells
from results.report.model import Table
from results.report.output import Format, render_short

_CONTROLS = ("Cc", "Cf", "Cs")


def render_answer(answer: pa.Table, form: Format, *, width: int = 100, color: bool = False) -> str:
    """Some rows as text: side by side where they fit, else one row after another.

    Args:
        answer: The rows; all of them are shown.
        form: ``table`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: Answers are not written in this format.
    """
    names = [_shown(name) for name in answer.column_names]
    rows = [tuple(map(_shown, row)) for batch in answer.to_batches() for row in cells(batch)]
    right = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in answer.schema.types
    ]
    if form is Format.TABLE and rows and _too_wide(names, rows, width):
        tables = [
            Table(title=f"Row {number}", caption="", columns=("column", "value"), right=(False, False),
                  rows=tuple(zip(names, row, strict=True)))
            for number, row in enumerate(rows, 1)
        ]  # fmt: skip
        return render_short([], tables, (), form, width, color)
    title = formats.count(len(rows), "row")
    table = Table(title=title, caption="", columns=tuple(names), right=tuple(right), rows=tuple(rows))
    return render_short([] if rows else ["No rows."], [table], (), form, width, color)


def _too_wide(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> bool:
    columns = zip(names, *rows, strict=True)
    return sum(max(map(cell_len, column)) + 3 for column in columns) - 3 > width


def _shown(value: object) -> str:
    """A cell in one line, without signs that a terminal would obey."""
    if value is None:
        return formats.NONE
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return str(value).lower()
    return "".join(
        " " if sign in "\t\n" else sign if unicodedata.category(sign)[0] != "C" else "?" for sign in str(value)
    )


def render_schema(columns: Sequence[Column], form: Format, *, width: int = 100, color: bool = False) -> str:
    """The views with their columns as text.

    Args:
        columns: What ``results.query.describe`` gave.
        form: ``table`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: The schema is not written in this format.
    """
    tables = [
        Table(
            title=view,
            caption=f"{VIEWS[view].capitalize()}.",
            columns=("column", "type", "meaning"),
            right=(False, False, False),
            rows=tuple((c.name, c.type, c.meaning) for c in columns if c.view == view),
        )
        for view in VIEWS
    ]
    return render_short([], tables, (), form, width, color)
