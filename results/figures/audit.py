"""What a rung foretold: the value there against the final one, for trials that ran on whatever was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import APART, FAILURE, heat
from results.figures.parts import Axis, axis_title, color_bar, safe, style
from results.figures.ranges import position, value_range, within, without_tail
from results.formats import metric as metric_text
from results.formats import setting as setting_text

_HEIGHT = 430


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPoint:
    """An audited trial, trained to the end."""

    trial: str
    arm: str
    x: float | None
    """Value on the temperature axis; None if the trial has none."""
    first: float
    """The metric at the rung."""
    final: float
    """The metric at its last epoch."""
    stopped_at: int | None
    """Epoch at which the stopping rule would have ended it; None if it would have come through."""
    good: bool
    """Whether it ended among the best."""


def audit_figure(points: Sequence[AuditPoint], *, axis: Axis, metric: str, epoch: int, best: str) -> go.Figure:
    """Final value against that at a rung, coloured by temperature; what the rule would have ended by then is open.

    Args:
        points: Audited trials; at least one.
        axis: The temperature, for the colour scale.
        metric: Name of the metric.
        epoch: Epoch of the rung.
        best: Who counts as good, in words.

    Returns:
        A figure; trials far on the bad side in the end sit at its edge as triangles.
    """
    figure = go.Figure()
    scale = 100 if metric.endswith("accuracy") else 1
    places = {p.trial: position(p.x, axis.log) for p in points if p.x is not None}
    low, high = min(places.values(), default=0.0), max(places.values(), default=1.0)
    span = value_range([scale * v for v in without_tail([p.final for p in points], metric)]) or [0.0, 1.0]
    ended = [p for p in points if p.stopped_at is not None and p.stopped_at <= epoch]
    kinds = (
        ("goes on there", [p for p in points if p not in ended], "circle", False),
        ("would be ended there", [p for p in ended if not p.good], "circle-open", False),
        (f"of these, {best}", [p for p in ended if p.good], "circle", True),
    )
    for name, group, symbol, lost in kinds:
        group.sort(key=lambda p: not span[0] <= scale * p.final <= span[1])  # the key shows the first marker
        colors = [
            APART if p.trial not in places else heat((places[p.trial] - low) / ((high - low) or 1.0)) for p in group
        ]
        shown, symbols = within([scale * p.final for p in group], span, symbol)
        if group:
            figure.add_trace(
                go.Scatter(
                    x=[scale * p.first for p in group],
                    y=shown,
                    mode="markers",
                    name=safe(name),
                    marker={
                        "color": colors,
                        "symbol": symbols,
                        "size": 13 if lost else 10,
                        "line": {"color": FAILURE if lost else colors, "width": 3 if lost else 2},
                    },
                    text=[_hint(p, axis, metric, epoch) for p in group],
                    hovertemplate="%{text}<extra></extra>",
                )
            )
    if places:
        color_bar(figure, axis, low, high, height=_HEIGHT)
    figure.update_xaxes(title_text=f"{axis_title(metric)} at epoch {epoch}")
    figure.update_yaxes(title_text=f"{axis_title(metric)} in the end", range=span)
    style(figure, height=_HEIGHT, bar_title=axis.label if places else "")
    return figure


def _hint(point: AuditPoint, axis: Axis, metric: str, epoch: int) -> str:
    """What stands at a mark when it is pointed at."""
    at = "" if point.x is None else f", {safe(axis.label)} {setting_text(point.x)}"
    fate = "would come through" if point.stopped_at is None else f"would be ended at epoch {point.stopped_at}"
    return (
        f"{point.trial} ({safe(point.arm)}){at}<br>epoch {epoch}: {metric_text(metric, point.first)}, in the end "
        f"{metric_text(metric, point.final)}<br>{fate}"
    )
