"""What the page is made of: sections of escaped HTML, and the figures that are drawn into them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

from results import formats
from results.report.model import Report, Table
from results.report.page.parts import code, details, heading, prose, table_box, tiles
from results.report.panels import Panel, panels
from results.report.tables import facts, tables
from results.statistics import Outcome

_TONES = {
    Outcome.BETTER: "good",
    Outcome.WORSE: "bad",
    Outcome.NOT_SHOWN: "even",
    Outcome.NOT_COMPARED: "open",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading of its own."""

    key: str
    """Identifier in the page, and the address within it."""
    title: str
    """Heading; text, not yet escaped."""
    group: str
    """Under which word the contents list it."""
    body: str
    """HTML below the heading; every text in it is escaped."""
    kind: str = ""
    """Classes for the style sheet."""

    @property
    def html(self) -> str:
        """The section as it stands in the page."""
        return (
            f'<section id="{self.key}" class="card {self.kind}" aria-labelledby="{self.key}-title" tabindex="-1">'
            f'<h2 id="{self.key}-title">{escape(self.title)}</h2>{self.body}</section>'
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page of a report, still in its parts, so that a live page can exchange those that changed."""

    title: str
    """What the browser's tab says."""
    head: str
    """HTML of the page's header."""
    sections: tuple[Section, ...]
    figures: Mapping[str, str]
    """Plotly figures as JSON, by the key of their place ``plot-<key>``."""
    foot: str
    """HTML of the page's footer."""

    @property
    def contents(self) -> str:
        """HTML of the list of contents."""
        groups: dict[str, list[Section]] = {}
        for section in self.sections:
            groups.setdefault(section.group, []).append(section)
        listed = "".join(
            f"<li><span>{escape(group)}</span><ul>"
            + "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in members)
            + "</ul></li>"
            for group, members in groups.items()
        )
        return (
            f'<nav id="contents" aria-label="Contents"><details open><summary>Contents</summary><ul>{listed}</ul>'
            "</details></nav>"
        )


def page_of(report: Report) -> Page:
    """Lays a report out as a page.

    Args:
        report: What ``report.build`` gave.

    Returns:
        The page.
    """
    drawn = panels(report)
    sections = (
        _verdict(report),
        *_best(report),
        *_notes(report),
        *map(_figure, drawn),
        *map(_table, tables(report)),
        _facts(report),
        *_steps(report),
    )
    return Page(
        title=_tab(report),
        head=_head(report),
        sections=sections,
        figures={_slug(panel.key): panel.figure.to_json() for panel in drawn},
        foot=f'<footer id="foot"><p>{escape(report.run_on)}. Written {report.generated_at:%Y-%m-%d %H:%M} UTC by '
        "thermotune from the study's records.</p></footer>",
    )


def _tab(report: Report) -> str:
    return f"{report.study} - {report.state.lower()} - thermotune"


def _head(report: Report) -> str:
    searched = "; ".join(f"{path} ({spec})" for path, spec in report.space.items()) or "nothing"
    follows = "; ".join(f"{path} ({rule})" for path, rule in report.derived.items())
    lines = [f"<p>Searched: {escape(searched)}</p>"]
    lines += [f"<p>Following: {escape(follows)}</p>"] if follows else []
    return (
        f'<header id="head"><h1>{escape(report.study)} <span class="state {report.state.lower()}">'
        f"{escape(report.state)}</span></h1>{''.join(lines)}{_progress(report)}</header>"
    )


def _progress(report: Report) -> str:
    """How far a study is that is not at its end."""
    progress = report.progress
    if progress.confirmed == progress.to_confirm and progress.explored >= progress.to_explore and progress.confirmed:
        return ""
    bars = [("teachers trained", progress.taught, progress.to_teach)]
    bars += [("trials explored", progress.explored, progress.to_explore)]
    bars += [("confirm runs on fresh seeds", progress.confirmed, progress.to_confirm)]
    shown = "".join(
        f'<li><progress id="bar-{i}" value="{done}" max="{total}"></progress> '
        f'<label for="bar-{i}">{done} of {total} {name}</label></li>'
        for i, (name, done, total) in enumerate(bars)
        if total and (done < total or i)
    )
    return f'<ul class="bars">{shown}</ul>'


def _verdict(report: Report) -> Section:
    return Section(
        key="verdict",
        title="Verdict",
        group="Answer",
        body=f'<p class="headline">{prose(report.verdict.headline)}</p>{details(report.verdict.details)}',
        kind=f"verdict {_TONES[report.verdict.outcome]}",
    )


def _best(report: Report) -> Iterator[Section]:
    best = report.best
    if best is None:
        return
    shown = [(path, formats.setting(value), "") for path, value in best.settings.items()]
    shown.append((report.metric, formats.metric(report.metric, best.value), best.source))
    candidate = next((c for c in report.candidates if best.confirmed and c.trial == best.trial), None)
    if candidate is not None and candidate.test is not None:
        ends = formats.interval(report.test_metric, candidate.test, n=False).partition(" [")[2]
        note = f"95 % interval [{ends}" if ends else "one seed"
        shown.append((report.test_metric, formats.metric(report.test_metric, candidate.test.mean), note))
    found_by = f'<p class="note">Found by: {escape(best.origin)}.</p>' if best.origin else ""
    yield Section(
        key="best",
        title=best.title,
        group="Answer",
        body=f"{tiles(shown)}{found_by}{heading('As a study file')}{code(best.study_file, 'study file')}"
        f"{heading('Train it again')}{code(best.retrain, 'command')}",
    )


def _notes(report: Report) -> Iterator[Section]:
    if report.notes:
        yield Section(
            key="notes",
            title="Before you trust these numbers",
            group="Answer",
            body=details(report.notes),
            kind="notes",
        )


def _figure(panel: Panel) -> Section:
    key = _slug(panel.key)
    said = f"{panel.title}. {panel.summary or panel.caption}"
    return Section(
        key=f"figure-{key}",
        title=panel.title,
        group="Figures",
        body=f'<figure><figcaption class="caption">{prose(panel.caption)}</figcaption>'
        f'<div class="plot" id="plot-{key}" role="img" aria-label="{escape(said)}"></div></figure>',
        kind="figure",
    )


def _table(table: Table) -> Section:
    caption = f'<p class="caption">{prose(table.caption)}</p>' if table.caption else ""
    return Section(
        key=f"table-{_slug(table.title)}", title=table.title, group="Tables", body=f"{caption}{table_box(table)}"
    )


def _facts(report: Report) -> Section:
    table = Table(
        title="Time and effort", caption="", columns=("what", "value"), right=(False, False), rows=facts(report)
    )
    return Section(key="effort", title=table.title, group="Study", body=table_box(table, bare=True))


def _steps(report: Report) -> Iterator[Section]:
    if report.steps:
        body = "".join(
            f"{heading(step.purpose[:1].upper() + step.purpose[1:])}{code(step.command, 'command')}"
            for step in report.steps
        )
        yield Section(key="next", title="Next", group="Study", body=body)


def _slug(text: str) -> str:
    """Text as an identifier."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
