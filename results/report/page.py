"""The report as one HTML page that needs nothing from outside: plotly is inside, all text is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from plotly.offline import get_plotlyjs

from results import formats
from results.report.model import Report, Table
from results.report.panels import panels
from results.report.tables import facts, tables
from results.statistics import Outcome

_TONES = {
    Outcome.BETTER: "good",
    Outcome.WORSE: "bad",
    Outcome.NOT_SHOWN: "even",
    Outcome.NOT_COMPARED: "open",
}

_STYLE = """
:root { --ink: #1f2933; --soft: #52606d; --line: #e4e7eb; --page: #f5f7fa; --accent: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 28px 20px 56px; }
header p { margin: 0; color: var(--soft); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
p, li { overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 10px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin-top: 18px; }
.state { display: inline-block; font-size: .78rem; font-weight: 600; letter-spacing: .04em; padding: 2px 9px;
  border-radius: 99px; background: #e4e7eb; color: var(--soft); vertical-align: middle; margin-left: 8px; }
.verdict { border-left: 6px solid #7b8794; }
.verdict.good { border-left-color: #15876a; }
.verdict.bad { border-left-color: #b3152d; }
.verdict.even { border-left-color: #cf7a12; }
.verdict .headline { font-size: 1.25rem; line-height: 1.4; font-weight: 600; margin: 0 0 8px; overflow-wrap: anywhere; }
.verdict ul { margin: 0; padding-left: 1.15em; color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px 22px;
  margin: 0 0 14px; }
.tiles dt { color: var(--soft); font-size: .84rem; overflow-wrap: anywhere; }
.tiles dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere; }
.tiles dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--soft); }
pre { background: var(--page); border: 1px solid var(--line); border-radius: 6px; padding: 9px 12px; margin: 4px 0 10px;
  overflow-x: auto; font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); }
th, td { padding: 6px 18px 6px 0; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
th.right, td.right { text-align: right; }
td { border-bottom: 1px solid var(--line); max-width: 30em; overflow-wrap: break-word; }
th, td.right, td:first-child { white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.wide { min-width: 15em; }
.caption, .note { color: var(--soft); font-size: .9rem; margin: 0 0 8px; }
.plot { min-height: 300px; }
footer { color: var(--soft); font-size: .84rem; margin-top: 22px; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 16px 10px 32px; } section { padding: 16px 14px; } h1 { font-size: 1.35rem; }
  .verdict .headline { font-size: 1.08rem; } }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def html(report: Report) -> str:
    """The page.

    Args:
        report: What ``report.build`` gave.

    Returns:
        A whole HTML document of about 5 MB, nearly all of it plotly.
    """
    drawn = panels(report)
    body = [
        _header(report),
        _verdict(report),
        _best(report),
        *(_notes(report.notes)),
        *(
            f'<section><h2>{escape(p.title)}</h2><p class="caption">{escape(p.caption)}</p>'
            f"{_plot(p.key, p.figure.to_json())}</section>"
            for p in drawn
        ),
        *(_table(table) for table in tables(report)),
        _facts(report),
        _steps(report),
        f"<footer>{escape(report.run_on)}. Written {report.generated_at:%Y-%m-%d %H:%M} UTC by thermotune from the "
        "study's records.</footer>",
    ]
    script = f"<script>{get_plotlyjs()}</script>" if drawn else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(report.study)} - thermotune</title>'
        f"<style>{_STYLE}</style>{script}</head>\n<body><main>\n" + "\n".join(body) + "\n</main></body></html>\n"
    )


def _header(report: Report) -> str:
    space = "; ".join(f"{path} ({spec})" for path, spec in report.space.items())
    follows = "; ".join(f"{path} ({rule})" for path, rule in report.derived.items())
    return (
        f'<header><h1>{escape(report.study)} <span class="state">{escape(report.state)}</span></h1>'
        f"<p>Searched: {escape(space) or 'nothing'}</p>"
        + (f"<p>Following: {escape(follows)}</p>" if follows else "")
        + "</header>"
    )


def _verdict(report: Report) -> str:
    details = "".join(f"<li>{_prose(detail)}</li>" for detail in report.verdict.details)
    return (
        f'<section class="verdict {_TONES[report.verdict.outcome]}">'
        f'<p class="headline">{_prose(report.verdict.headline)}</p><ul>{details}</ul></section>'
    )


def _best(report: Report) -> str:
    best = report.best
    if best is None:
        return ""
    tiles = [(path, formats.setting(value), "") for path, value in best.settings.items()]
    tiles.append((report.metric, formats.metric(report.metric, best.value), best.source))
    candidate = next((c for c in report.candidates if best.confirmed and c.trial == best.trial), None)
    if candidate is not None and candidate.test is not None:
        spread = formats.interval(report.test_metric, candidate.test).partition(" [")[2]
        tiles.append(
            (
                report.test_metric,
                formats.metric(report.test_metric, candidate.test.mean),
                f"95 % interval [{spread}" if spread else "one seed",
            )
        )
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{_prose(small)}</small></dd></div>"
        for name, value, small in tiles
    )
    found_by = f'<p class="note">Found by: {escape(best.origin)}.</p>' if best.origin else ""
    return (
        f'<section><h2>{escape(best.title)}</h2><dl class="tiles">{items}</dl>'
        f'{found_by}<p class="note">Train it again:</p><pre>{escape(best.retrain)}</pre></section>'
    )


def _notes(notes: Sequence[str]) -> Iterable[str]:
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        yield f"<section><h2>Before you trust these numbers</h2><ul>{items}</ul></section>"


def _plot(key: str, figure: str) -> str:
    safe = figure.replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")
    return (
        f'<div class="plot" id="plot-{key}"></div><script>(function () {{ var f = {safe};'
        f'Plotly.newPlot("plot-{key}", f.data, f.layout, {{responsive: true, displayModeBar: false}});'
        "})();</script>"
    )


def _prose(text: str) -> str:
    """Text that does not break between a number and its sign or unit."""
    joined = re.sub(r"(?<=\d) (?=%)", "&nbsp;", escape(text))
    return re.sub(r"(?<=[np]) (=|&lt;) (?=\S)", r"&nbsp;\1&nbsp;", joined)


def _table(table: Table) -> str:
    side = [
        'class="right"' if right else 'class="wide"' if name == "settings" else ""
        for name, right in zip(table.columns, table.right, strict=True)
    ]
    head = "".join(f"<th {s}>{escape(name)}</th>" for s, name in zip(side, table.columns, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td {s}>{escape(cell)}</td>" for s, cell in zip(side, row, strict=True)) + "</tr>"
        for row in table.rows
    )
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<section><h2>{escape(table.title)}</h2>{caption}<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _facts(report: Report) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts(report))
    return f'<section><h2>Time and effort</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div></section>'


def _steps(report: Report) -> str:
    items = "".join(
        f'<p class="note">{escape(step.purpose[:1].upper() + step.purpose[1:])}:</p><pre>{escape(step.command)}</pre>'
        for step in report.steps
    )
    return f"<section><h2>Next</h2>{items}</section>"
