"""The losses as a user sees them: parameters, ranges, defaults and sources, read from their settings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from spaces import DEFAULT_SPACES
from trainables.loss_settings import LOSSES


def describe(width: int) -> str:
    """All losses as text.

    Args:
        width: Columns of the terminal.
    """
    console = Console(file=io.StringIO(), width=width)
    for loss in LOSSES:
        name = str(get_args(loss.model_fields["name"].annotation)[0])
        console.print(f"[bold]{name}[/bold]  {(loss.__doc__ or '').strip()}", highlight=False)
        console.print(f"  source: {loss.source}", highlight=False, markup=False)
        searched = ", ".join(
            f"{path} {_range(axis.dimension.spec())}" for path, axis in DEFAULT_SPACES[name].axes.items()
        )
        console.print(f"  searched by default: {searched}", highlight=False, markup=False)
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column("parameter", no_wrap=True)
        table.add_column("range", max_width=16)
        table.add_column("default", no_wrap=True)
        table.add_column("meaning", overflow="fold")
        for field_name, field in loss.model_fields.items():
            if field_name != "name":
                default = "required" if field.is_required() else str(field.default).lower().replace("none", "null")
                table.add_row(f"loss.{field_name}", ", ".join(_limits(field)), default, field.description or "")
        console.print(table)
        console.print()
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def _limits(field: FieldInfo) -> Iterator[str]:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    choices = [field.annotation, *get_args(field.annotation)]
    limits = [*field.metadata, *(part for choice in choices for part in getattr(choice, "__metadata__", ()))]
    for limit in limits:
        for part in limit.metadata if isinstance(limit, FieldInfo) else [limit]:
            yield from (f"{sign} {getattr(part, key):g}" for key, sign in signs.items() if hasattr(part, key))
    for choice in choices:
        if get_origin(choice) is Literal:
            yield " | ".join(str(value) for value in get_args(choice))
    if bool in choices:
        yield "true | false"


def _range(spec: dict[str, list[float | int | bool | str]]) -> str:
    ((kind, values),) = spec.items()
    return f"{kind} [{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)}]"
