"""What the figures share: axes, titles, bars of colours, style."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import FADED, FRAME, GRID, HEAT, INK, REFERENCE, merit_scale
from results.figures.ranges import log_ticks, position, without_tail_ends
from results.formats import metric_words
from results.statistics import MeanInterval

_TITLE = 28  # letters of a line in the title of an axis
_BAR_HEIGHT = 46  # pixels, with title and ticks
_BAR_TITLE = 24  # of these above the bar; plotly sets a title of its own partly on the bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A measured or searched quantity on an axis."""

    label: str
    """What stands at the axis."""
    log: bool
    """Whether the axis is logarithmic."""


def merit_axis(values: Sequence[float], *, metric: str, mode: str, height: int) -> dict[str, object]:
    """Layout of the colour axis of a metric: a few bad values do not take the scale, they have its bad end's colour.

    Args:
        values: As drawn, in percent or nats.
        metric: Name of the metric.
        mode: ``max`` or ``min``.
        height: Of the figure, in pixels.
    """
    low, high = without_tail_ends(values, metric)
    return {
        "colorscale": merit_scale(mode),
        "cmin": low,
        "cmax": high,
        "colorbar": bar(height),
    }


def bar(height: int) -> dict[str, object]:
    """Layout of a bar of colours above a figure of this height, where it leaves a narrow page its width."""
    return {
        "orientation": "h",
        "x": 0.5,
        "yref": "container",  # plotly sets titles of axes askew around a bar that moves with the axes
        "y": 1 - _BAR_TITLE / (height + _BAR_HEIGHT),
        "yanchor": "top",
        "ypad": 0,
        "len": 1.0,
        "xpad": 0,
        "thickness": 10,
        "outlinewidth": 0,
    }


def short(name: str, most: int = 14) -> str:
    """A name cut so that a narrow page has room for more than it."""
    return name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def tick(exponent: float) -> str:
    """What stands at a tick of a log axis, in three digits: 0.03, 1, 1000, 1.03e+08."""
    return f"{float(f'{10**exponent:.3g}'):g}"


def wrapped(text: str) -> str:
    """A long title in lines that fit on a telephone."""
    return "<br>".join(textwrap.wrap(text, _TITLE, break_long_words=False))


def color_bar(figure: go.Figure, axis: Axis, low: float, high: float, *, height: int) -> None:
    """The scale of colours above a figure, from one position on the axis to another."""
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
                    **bar(height),
                    "tickvals": ticks,
                    "ticktext": [tick(t) for t in ticks] if ticks is not None else None,
                },
            },
        )
    )


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
        figure.update_xaxes(tickmode="array", tickvals=[10**t for t in ticks], ticktext=[tick(t) for t in ticks])
    figure.update_xaxes(title_text=wrapped(safe(axis.label)), row=row, col=col)


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


def style(figure: go.Figure, *, height: int, bar_title: str = "") -> None:
    """Gives the figure the house's looks.

    Args:
        figure: The figure.
        height: In pixels, without the room for a bar of colours.
        bar_title: What the colours mean, where there is such a bar.
    """
    above = _BAR_HEIGHT if bar_title else 0
    figure.update_layout(
        template="none",
        height=height + above,
        title={
            "text": safe(bar_title),
            "font": {"size": 14},
            "x": 0.5,
            "xref": "paper",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 5},
        },
        margin={"l": 64, "r": 16, "t": 26 + above, "b": 48},
        font={
            "family": "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif",
            "size": 13,
            "color": INK,
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
        legend={"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom", "tracegroupgap": 0},
        hoverlabel={"bgcolor": "white", "bordercolor": FADED, "font": {"color": INK}},
    )
    figure.update_xaxes(
        showgrid=True,
        gridcolor=GRID,
        zeroline=False,
        linecolor=FRAME,
        ticks="outside",
        tickcolor=FRAME,
        title_standoff=8,
        automargin=True,
    )
    figure.update_yaxes(gridcolor=GRID, zeroline=False, linecolor=FRAME, title_standoff=10, automargin=True)
