"""Explanation: sentences about a study or a trial, under headings; and the records that they are taken from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from results.errors import ResultsError
from results.places import Place
from results.query import StudyView
from results.report.output import Format, json_text
from results.schema import AnyRow, SessionRow, TrialRow
from results.store import read_rows
from search.conductor import Conductor
from search.folder import versions
from search.history import History
from search.recording import Nowhere
from search.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Sentences under a heading."""

    title: str
    """The question that they answer."""
    lines: tuple[str, ...]
    """A sentence or two each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the records say about a study or a trial, in words."""

    study: str
    """Name of the study."""
    trial: str | None
    """Name of the trial; None where the whole study is explained."""
    headline: str
    """The most important in a sentence."""
    sections: tuple[Section, ...]
    """The rest; none is empty."""


def sections_of(found: Iterable[tuple[str, Iterable[str]]]) -> tuple[Section, ...]:
    """Sections from titles and lines; one without lines is left out."""
    made = (Section(title=title, lines=tuple(lines)) for title, lines in found)
    return tuple(section for section in made if section.lines)


def render_explanation(found: Explanation, form: Format, *, width: int = 100, color: bool = False) -> str:
    """An explanation as text.

    Args:
        found: What is to be said.
        form: ``table`` (plain text), ``json`` or ``markdown``.
        width: Columns of the terminal; only for ``table``.
        color: Whether headings may be set bold; only for ``table``.

    Raises:
        ResultsError: An explanation is not written in this format.
    """
    if form is Format.JSON:
        return json_text(found)
    if form not in (Format.TABLE, Format.MARKDOWN):
        raise ResultsError(f"explanations are written as table, json or markdown, got {form}")
    lines = _markdown(found) if form is Format.MARKDOWN else _terminal(found, width, color)
    return "\n".join(lines) + "\n"


def _markdown(found: Explanation) -> Iterator[str]:
    yield f"**{found.headline}**"
    for section in found.sections:
        yield f"\n## {section.title}\n"
        for line in section.lines:
            yield "- " + line.replace("\n", "\n  ")


def _terminal(found: Explanation, width: int, color: bool) -> Iterator[str]:
    bold, end = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    yield f"{bold}{textwrap.fill(found.headline, width, break_on_hyphens=False)}{end}"
    for section in found.sections:
        yield f"\n{bold}{section.title}{end}"
        for text in section.lines:
            for number, line in enumerate(text.split("\n")):  # lines of a traceback stay lines
                indent = "  " if number == 0 else "      "
                yield textwrap.fill(
                    line,
                    width,
                    initial_indent=indent,
                    subsequent_indent=indent + "  ",
                    break_on_hyphens=False,
                    break_long_words=False,
                )


class Records:
    """All that is on record about a study, as it stands.

    Attributes:
        folder: Of the study.
        view: Its facts and sessions.
        versions: The study by number of the amendment.
        study: The newest version.
        rows: Rows in the order of ``seq``.
        history: Their fold.
        conductor: Says what comes next; nothing is asked of it that would write.
    """

    def __init__(self, folder: Place) -> None:
        """Reads everything.

        Args:
            folder: Of the study.

        Raises:
            ResultsError: There is no study, or its records cannot be read.
            ThermotuneError: A study file is damaged.
        """
        self.folder = folder
        self.view = StudyView(folder)
        self.versions = versions(folder)
        self.study = self.versions[max(self.versions)]
        rows = read_rows(folder)
        # A damaged file may have been moved away, as the store advises: of trials that are gone, nothing is explained.
        known = {row.trial for row in rows if isinstance(row, TrialRow)}
        self.rows: list[AnyRow] = [row for row in rows if isinstance(row, SessionRow) or row.trial in known]
        self.history = History.fold(self.rows)
        self._amendments = {row.session: row.amendment or 1 for row in self.rows if isinstance(row, SessionRow)}
        last = self.view.sessions[-1].session if self.view.sessions else "s0001"
        self.conductor = Conductor(self.study, self.history, Nowhere(), session=last)

    def amendment_in(self, session: str) -> int:
        """The number of the study file that a session went by."""
        return self._amendments.get(session, 1)

    def study_in(self, session: str) -> Study:
        """The study as a session knew it."""
        return self.versions[self.amendment_in(session)]
