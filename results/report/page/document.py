"""The HTML document around the sections: style, scripts, and a policy that lets nothing else run or load."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from results.report.model import Report
from results.report.page.dark import dark_colors
from results.report.page.sections import Page, page_of

_HERE = Path(__file__).parent


def html(report: Report) -> str:
    """The page of a report.

    Args:
        report: What ``report.build`` gave.

    Returns:
        A whole HTML document of about 5 MB, nearly all of it plotly.
    """
    return document(page_of(report))


def document(page: Page, *, live: bool = False) -> str:
    """The document of a page.

    Args:
        page: What ``page_of`` gave.
        live: Whether the page asks ``page.json`` beside it for what changed since, as ``results.live`` serves it.

    Returns:
        The document. All it needs is inside; its Content-Security-Policy allows the scripts in it by their hashes and
        nothing else, so that text which slipped through unescaped could not run.
    """
    scripts = [_plotly()] if page.figures or live else []
    scripts += [_file(name) for name in (("page.js", "live.js") if live else ("page.js",))]
    status = '<p id="live"><span class="dot"></span><span id="live-text">Live</span></p>' * live
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts, live=live)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(page.title)}</title><style>{_file('page.css')}</style></head>\n<body>"
        f'<a class="skip" href="#verdict">Skip to the verdict</a>\n<div class="top">{page.head}{status}</div>\n'
        f'{page.contents}\n<main id="report">\n'
        + "\n".join(section.html for section in page.sections)
        + f'\n</main>\n{page.foot}\n<p id="said" class="unseen" role="status"></p>\n'
        f'<script type="application/json" id="figures">{_inert(drawings(page))}</script>'
        + "".join(f"<script>{script}</script>" for script in scripts)
        + "</body></html>\n"
    )


def drawings(page: Page) -> str:
    """The figures and the colours that take the place of theirs on the dark page, as JSON."""
    figures = ", ".join(f"{json.dumps(key)}: {figure}" for key, figure in page.figures.items())
    return f'{{"figures": {{{figures}}}, "dark": {json.dumps(dark_colors(page.figures.values()))}}}'


def parts(page: Page) -> str:
    """What a live page asks for, as JSON: HTML of every part, and the figures."""
    names = {"title": page.title, "head": page.head, "contents": page.contents, "foot": page.foot}
    sections = [{"id": section.key, "html": section.html} for section in page.sections]
    return json.dumps({**names, "sections": sections})[:-1] + f', "drawings": {drawings(page)}}}'


def policy(scripts: list[str], *, live: bool) -> str:
    """The Content-Security-Policy of a page with these scripts.

    Plotly writes styles as it draws, and makes pictures of its own for some traces. What it draws with WebGL it would
    have to compile, which is not allowed: such traces stay empty, and paper would not show them well anyway.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{digest}'" for digest in hashes),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{what} {sources}" for what, sources in allowed.items())


def _inert(text: str) -> str:
    """JSON that cannot end its script element, nor open a comment or another one."""
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _plotly() -> str:
    script: str = get_plotlyjs()
    return script.replace("\r\n", "\n")  # as the browser reads it, for the hash


@cache
def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
