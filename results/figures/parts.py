"""What the figures share: axes, colours, ranges, style."""

from __future__ import annotations

import html
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.formats import metric_words, setting
from results.statistics import MeanInterval

INK = "#1f2933"
FADED = "#9aa5b1"
GRID = "#eef1f4"
FRAME = "#cbd2d9"
STOPPED = "#c3ccd5"
WAITING = "#8fb4d9"
TROUBLE = "#e8a33d"
LATE = "#b45309"
FAILURE = "#c81e1e"
APART = "#6b7785"
"""For what has no place on the axis that gives the others their colour."""
ARMS = ("#2563a8", "#a8540e", "#0f766e", "#7a3e9d", "#8a6d00")
REFERENCE = "#111111"
SYMBOLS = ("circle", "square", "pentagon", "cross", "hourglass", "diamond")
"""Markers; triangles are kept for what lies off the scale."""
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


def heat(place: float) -> str:
    """Colour of a place 0..1 between cold and hot."""
    for (low, cold), (high, warm) in itertools.pairwise(HEAT):
        if place <= high:
            share = max(0.0, (place - low) / (high - low))
            mixed = [round(a + (b - a) * share) for a, b in zip(_rgb(cold), _rgb(warm), strict=True)]
            return "#{:02x}{:02x}{:02x}".format(*mixed)
    return HEAT[-1][1]


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def log_ticks(low: float, high: float) -> list[float]:
    """Exponents of the ticks between two exponents: 1, 3, 10, 30 ...; powers of ten only over many decades."""
    steps = (1.0,) if high - low > 4 else (1.0, 3.0)
    places = [e + math.log10(s) for e in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    inside = [p for p in places if low - 1e-9 <= p <= high + 1e-9]
    return inside if len(inside) >= 2 else sorted({low, *inside, high})


def color_bar(figure: go.Figure, axis: Axis, low: float, high: float) -> None:
    """The scale of colours beside a figure, from one position on the axis to another."""
    ticks = log_ticks(low, high) if axis.log else None
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            showlegend=False,
            marker={
                "color": [low],
                "cmin": low,
                "cmax": high,
                "colorscale": [list(step) for step in HEAT],
                "showscale": True,
                "colorbar": {
                    "title": {"text": safe(axis.label), "side": "right"},
                    "thickness": 12,
                    "outlinewidth": 0,
                    "tickvals": ticks,
                    "ticktext": [setting(10**t) for t in ticks] if ticks is not None else None,
                },
            },
        )
    )


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


def within(values: Sequence[float], span: Sequence[float], symbol: str) -> tuple[list[float], list[str]]:
    """Values with those off the scale moved to its edge, and their markers: triangles point to where these are."""
    margin = 0.015 * (span[1] - span[0])
    shown = [min(span[1] - margin, max(span[0] + margin, v)) for v in values]
    return shown, ["triangle-down" if v < span[0] else "triangle-up" if v > span[1] else symbol for v in values]


def axis_title(metric: str) -> str:
    """A metric with the unit it is drawn in."""
    return metric_words(metric) + (" (%)" if metric.endswith("accuracy") else " (nats)")


def safe(text: str) -> str:
    """Text for plotly, which reads some HTML in labels."""
    return html.escape(text, quote=False)


def show_axis(figure: go.Figure, axis: Axis, values: Sequence[float], *, row: int, col: int = 1) -> None:
    """Range and ticks of a searched quantity's x axis; with shared axes the row is the lowest one."""
    if axis.log and values:
        places = [position(v, True) for v in values]
        low, high = min(places), max(places)
        pad = 0.04 * ((high - low) or 1.0)
        figure.update_xaxes(type="log", range=[low - pad, high + pad], dtick=1)
        ticks = log_ticks(low, high)
        figure.update_xaxes(tickmode="array", tickvals=[10**t for t in ticks], ticktext=[setting(10**t) for t in ticks])
    figure.update_xaxes(title_text=safe(axis.label), row=row, col=col)


def show_level(
    figure: go.Figure, level: MeanInterval, *, scale: float, name: str, columns: Sequence[int] = (1,)
) -> None:
    """A confirmed level as a dashed line with its interval, across the top row."""
    line = {"color": REFERENCE, "width": 1.5, "dash": "dash"}
    for col in columns:
        if level.low is not None and level.high is not None:
            figure.add_hrect(
                y0=scale * level.low,
                y1=scale * level.high,
                fillcolor=REFERENCE,
                opacity=0.07,
                line_width=0,
                layer="below",
                row=1,
                col=col,
                exclude_empty_subplots=False,
            )
        figure.add_hline(y=scale * level.mean, line=line, row=1, col=col, exclude_empty_subplots=False)
    label = f"{safe(name)}: mean and 95 % interval over {level.n} seeds"
    figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=label, line=line), row=1, col=1)


def arm_symbols(arms: Sequence[str], *, per_symbol: int = 1) -> Mapping[str, str]:
    """A marker for each arm, so that colour is not all that tells them apart; so many arms share one."""
    return {arm: SYMBOLS[i // per_symbol % len(SYMBOLS)] for i, arm in enumerate(arms)}


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
