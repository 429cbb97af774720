"""The report as a document: terminal, JSON, Markdown, a page; and the files in the study's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Any

from results.errors import ResultsError
from results.places import Place, write_whole
from results.report.build import build
from results.report.model import Report, Step, Table


class Format(StrEnum):
    """How a report is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


def to_json(report: Report) -> str:
    """The report as a JSON document.

    Its keys are the fields of ``Report`` but for ``view``, and below them those of the classes in
    ``results.report.model`` and ``results.statistics``, where each stands with its unit and range. Numbers are not
    rounded, and the ends of an interval are as computed: with two seeds that of an accuracy may lie outside of 0..1,
    which texts cut off. NaN and infinity are null. ``schema`` is raised when a key goes or changes its meaning; new
    keys may come.
    """
    document = {name: getattr(report, name) for name in Report.__dataclass_fields__ if name != "view"}
    return json_text({"schema": 1, **document})


def render(report: Report, form: Format, *, width: int = 100, color: bool = False) -> str:
    """The report as text.

    Args:
        report: What ``build`` gave.
        form: Format to write.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Returns:
        The text, with a line end.
    """
    if form is Format.JSON:
        return to_json(report)
    if form is Format.HTML:
        from results.report.page import html  # plotly takes most of a second to import

        return html(report)
    from results.report import text

    return text.markdown(report) if form is Format.MARKDOWN else text.table(report, width, color)


def render_summary(report: Report, *, width: int = 100, color: bool = False) -> str:
    """The verdict, the candidates, what it took and what comes next, for a terminal; arguments as of ``render``."""
    from results.report import text

    return text.summary(report, width, color)


def render_short(
    head: Sequence[str],
    tables: Sequence[Table],
    steps: Sequence[Step],
    form: Format,
    width: int = 100,
    color: bool = False,
) -> str:
    """A few sentences, tables and commands as text; tables without rows are left out.

    Args:
        head: Sentences, the first of them the most important.
        tables: Tables.
        steps: Commands.
        form: ``table`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether terminal colours may be used; only for ``table``.

    Raises:
        ResultsError: Short answers are not written in this format.
    """
    from results.report import text

    shown = [table for table in tables if table.rows]
    if form is Format.TABLE:
        return text.short_table(head, shown, steps, width, color)
    if form is Format.MARKDOWN:
        return text.short_markdown(head, shown, steps)
    raise ResultsError(f"short answers are written as table, json or markdown, got {form}. Use `report` for a page")


def write_files(study_dir: Place, *, command: str = "thermotune") -> tuple[Report, Place]:
    """Writes ``report.json`` and ``report.html`` into the study, each in one step.

    Args:
        study_dir: Folder of the study.
        command: What the printed commands begin with.

    Returns:
        The report, and where its page is.

    Raises:
        ResultsError: As ``build``.
        OSError: The disk is full or not writable; older reports stay as they were.
    """
    report = build(study_dir, command=command)
    for form in (Format.JSON, Format.HTML):
        write_whole(study_dir / f"report.{form}", render(report, form))
    return report, study_dir / f"report.{Format.HTML}"


def json_text(value: Any) -> str:  # Any: any part of a report
    """The value as an indented JSON document with a line end."""
    return json.dumps(plain(value), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:  # Any: any part of a report
    """The value in what JSON knows: dataclasses as mappings, times as ISO text, NaN and infinity as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return plain(asdict(value))
    return value
