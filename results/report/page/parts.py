"""Small pieces of HTML that sections share; each escapes the text that it is given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from results.report.model import Table

_SHORT = 20  # characters


def prose(text: str) -> str:
    """Text that does not break between a number and its sign or unit, nor within an interval."""
    joined = re.sub(r"(?<=\d) (?=%)", "&nbsp;", escape(text))
    joined = re.sub(r"\[[^\[\]<]{1,30}\]", lambda found: found[0].replace(" ", "&nbsp;"), joined)
    return re.sub(r"(?<=[np]) (=|&lt;) (?=\S)", r"&nbsp;\1&nbsp;", joined)


def details(sentences: Sequence[str]) -> str:
    """Sentences as a list."""
    return f"<ul>{''.join(f'<li>{prose(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def code(text: str, what: str) -> str:
    """Something to be copied; the button is shown by the page's script, without which it could do nothing."""
    return (
        f'<div class="code"><pre tabindex="0">{escape(text)}</pre>'
        f'<button type="button" class="copy" aria-label="Copy the {escape(what)}" hidden>Copy</button></div>'
    )


def tiles(shown: Iterable[tuple[str, str, str]]) -> str:
    """Names, values and what there is to say of each, side by side."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{f'<small>{prose(note)}</small>' if note else ''}</dd></div>"
        for name, value, note in shown
    )
    return f'<dl class="tiles">{items}</dl>'


def table_box(table: Table, *, bare: bool = False) -> str:
    """A table in a box that scrolls by itself where it is too wide; the keyboard can do it too.

    Args:
        table: The table; its first column names the row.
        bare: Whether the names of the columns say nothing and are left to screen readers.
    """
    side = [
        ' class="right"' if right else ' class="wide"' if name == "settings" else _broken(column)
        for name, right, *column in zip(table.columns, table.right, *table.rows, strict=True)
    ]
    head = "".join(f'<th scope="col"{s}>{escape(name)}</th>' for s, name in zip(side, table.columns, strict=True))
    rows = "".join(
        f'<tr><th scope="row"{side[0]}>{prose(row[0])}</th>'
        + "".join(f"<td{s}>{prose(cell)}</td>" for s, cell in zip(side[1:], row[1:], strict=True))
        + "</tr>"
        for row in table.rows
    )
    name = escape(table.title)
    return (
        f'<div class="scroll" role="region" aria-label="Table: {name}" tabindex="0"><table>'
        f'<caption class="unseen">{name}</caption><thead{" class=unseen" if bare else ""}><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _broken(column: Sequence[str]) -> str:
    """Whether the cells of a column may be broken: short ones stay whole."""
    return "" if any(len(cell) > _SHORT for cell in column) else ' class="whole"'
