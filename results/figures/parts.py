"""What the figures share: axes, colours, ranges, style."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.formats import metric_words

INK = "#1f2933"
FADED = "#9aa5b1"
GRID = "#eef1f4"
FRAME = "#cbd2d9"
STOPPED = "#c3ccd5"
FAILURE = "#c81e1e"
ARMS = ("#2563a8", "#a8540e", "#0f766e", "#7a3e9d", "#8a6d00")
REFERENCE = "#111111"
HEAT = ((0.0, "#2b3a9b"), (0.25, "#1a78b8"), (0.5, "#15876a"), (0.75, "#cf7a12"), (1.0, "#b3152d"))
"""Cold to hot, every step dark enough for a white page; the middle is no paler than the ends."""

_TAIL = 6.0  # values further below the median than so many times the best lies above it are drawn at the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A measured or searched quantity on an axis."""

    label: str
    """What stands at the axis."""
    log: bool
    """Whether the axis is logarithmic."""


def position(value: float, log: bool) -> float:
    """Where a value stands on a linear or logarithmic axis."""
    return math.log10(value) if log else value


def log_ticks(low: float, high: float) -> list[float]:
    """Exponents of the ticks between two exponents: 1, 3, 10, 30 ...; powers of ten only over many decades."""
    steps = (1.0,) if high - low > 4 else (1.0, 3.0)
    places = [e + math.log10(s) for e in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    inside = [p for p in places if low - 1e-9 <= p <= high + 1e-9]
    return inside if len(inside) >= 2 else sorted({low, *inside, high})


def without_tail(values: Sequence[float], metric: str) -> list[float]:
    """The values without those far on the bad side of their median, which would squash the rest."""
    if len(values) < 3:
        return list(values)
    middle = statistics.median(values)
    sign = -1 if metric.endswith("loss") else 1
    spread = max(sign * (v - middle) for v in values)
    return [v for v in values if sign * (middle - v) <= _TAIL * spread]


def value_range(values: Sequence[float]) -> list[float] | None:
    """Axis range around the finite values, with some room; None without any."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    pad = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    return [low - pad, high + pad]


def axis_title(metric: str) -> str:
    """A metric with the unit it is drawn in."""
    return metric_words(metric) + (" (%)" if metric.endswith("accuracy") else " (nats)")


def safe(text: str) -> str:
    """Text for plotly, which reads some HTML in labels."""
    return html.escape(text, quote=False)


def style(figure: go.Figure, *, height: int) -> None:
    """Gives the figure the house's looks; height in pixels."""
    figure.update_layout(
        height=height,
        margin={"l": 64, "r": 16, "t": 26, "b": 48},
        font={
            "family": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif",
            "size": 13,
            "color": INK,
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend={"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"},
        hoverlabel={"bgcolor": "white", "bordercolor": FADED, "font": {"color": INK}},
    )
    figure.update_xaxes(
        showgrid=True, gridcolor="#eef1f4", zeroline=False, linecolor="#cbd2d9", ticks="outside", tickcolor="#cbd2d9"
    )
    figure.update_yaxes(gridcolor="#eef1f4", zeroline=False, linecolor="#cbd2d9", automargin=True)


def arm_colors(arms: Sequence[str], reference: str | None) -> Mapping[str, str]:
    """A colour for each arm; black for the reference."""
    others = [arm for arm in arms if arm != reference]
    colors = {arm: ARMS[i % len(ARMS)] for i, arm in enumerate(others)}
    return {**colors, reference: REFERENCE} if reference is not None else colors
