"""Timescales of early learning: as predicted before the first step, against as they came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import ARMS, FADED
from results.figures.parts import safe, style, tick
from results.figures.ranges import log_ticks
from results.formats import setting as setting_text


@dataclass(frozen=True, slots=True, kw_only=True)
class TimescalePoint:
    """A timescale of a trial."""

    trial: str
    scale: str
    """Its name, for instance ``tau_z``."""
    predicted: float
    """Learning time, positive."""
    measured: float
    """Learning time, positive."""
    note: str
    """The settings, for the reader who points at it."""


def timescales_figure(points: Sequence[TimescalePoint]) -> go.Figure:
    """Measured against predicted times, both logarithmic, with the line on which they agree.

    Args:
        points: At least one.

    Returns:
        A figure with a colour and a marker for each timescale.
    """
    figure = go.Figure()
    places = [math.log10(v) for p in points for v in (p.predicted, p.measured)]
    pad = 0.06 * ((max(places) - min(places)) or 1.0)
    low, high = min(places) - pad, max(places) + pad
    figure.add_trace(
        go.Scatter(
            x=[10**low, 10**high],
            y=[10**low, 10**high],
            mode="lines",
            name="measured as predicted",
            line={"color": FADED, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    for i, scale in enumerate(dict.fromkeys(p.scale for p in points)):
        of_scale = [p for p in points if p.scale == scale]
        figure.add_trace(
            go.Scatter(
                x=[p.predicted for p in of_scale],
                y=[p.measured for p in of_scale],
                mode="markers",
                name=safe(scale),
                marker={
                    "color": ARMS[i % len(ARMS)],
                    "symbol": ("circle", "diamond")[i % 2],
                    "size": 9,
                    "opacity": 0.85,
                },
                text=[
                    f"{p.trial}, {safe(p.note)}<br>{safe(scale)}: predicted {setting_text(p.predicted)}, measured "
                    f"{setting_text(p.measured)}"
                    for p in of_scale
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    ticks = log_ticks(low, high)
    for update, title in ((figure.update_xaxes, "predicted"), (figure.update_yaxes, "measured")):
        update(
            type="log",
            range=[low, high],
            title_text=f"{title} learning time (sum of lr)",
            tickmode="array",
            tickvals=[10**t for t in ticks],
            ticktext=[tick(t) for t in ticks],
        )
    style(figure, height=480)
    return figure
