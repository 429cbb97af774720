"""Calibration of confirmed candidates before and after one temperature was fitted, seed by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colors import FADED, arm_marks
from results.figures.parts import safe, short, style
from results.figures.ranges import value_range
from results.formats import metric as metric_text
from results.formats import percent, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPoint:
    """A candidate on one confirm seed."""

    trial: str
    arm: str
    seed: int
    ece: float | None
    """Expected calibration error as trained; 0..1."""
    ece_refit: float | None
    """The same at the fitted temperature; 0..1."""
    loss: float
    """Negative log-likelihood as trained; nats."""
    loss_refit: float
    """The same at that temperature; nats."""
    temperature: float | None
    """That temperature."""


def calibration_figure(points: Sequence[CalibrationPoint], *, arms: Sequence[str], reference: str | None) -> go.Figure:
    """Likelihood and calibration error of every seed, from open (as trained) to filled (refitted).

    Args:
        points: Seeds of candidates, in the order of these; one or more.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        reference: The reference arm, drawn in black.

    Returns:
        A figure of panels below each other: NLL, ECE where it was measured, and the fitted temperature.
    """
    trials = list(dict.fromkeys(p.trial for p in points))
    with_ece = [p for p in points if p.ece is not None and p.ece_refit is not None]
    fitted = [p for p in points if p.temperature is not None]
    titles = [
        "NLL (nats)",
        *(["ECE (%)"] if with_ece else []),
        *(["fitted temperature (1: as trained)"] if fitted else []),
    ]
    height = 110 + len(titles) * (76 + 46 * len(trials))
    figure = make_subplots(rows=len(titles), cols=1, vertical_spacing=84 / height)
    marks = arm_marks(arms, reference)
    heights = _heights(points, trials)
    losses = [(p, p.loss, p.loss_refit) for p in points]
    errors = [(p, 100 * (p.ece or 0.0), 100 * (p.ece_refit or 0.0)) for p in with_ece]
    for row, pairs in enumerate([losses, errors] if with_ece else [losses], 1):
        xs: list[float | None] = []
        ys: list[float | None] = []
        for point, before, after in pairs:
            xs += [before, after, None]
            ys += [heights[point], heights[point], None]
        line = {"color": FADED, "width": 1.5}
        figure.add_trace(go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False), row, 1)
        for place, name in ((1, "as trained"), (2, "temperature refitted")):
            figure.add_trace(
                go.Scatter(
                    x=[pair[place] for pair in pairs],
                    y=[heights[p] for p, _, _ in pairs],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=row == 1,
                    marker={
                        "color": ["white" if place == 1 else marks[p.arm].color for p, _, _ in pairs],
                        "symbol": [marks[p.arm].symbol for p, _, _ in pairs],
                        "size": 8,
                        "line": {"color": [marks[p.arm].color for p, _, _ in pairs], "width": 1.8},
                    },
                    text=[_hint(p) for p, _, _ in pairs],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=row,
                col=1,
            )
    if fitted:
        figure.add_trace(
            go.Scatter(
                x=[p.temperature for p in fitted],
                y=[heights[p] for p in fitted],
                mode="markers",
                showlegend=False,
                marker={
                    "color": [marks[p.arm].color for p in fitted],
                    "symbol": [marks[p.arm].symbol for p in fitted],
                    "size": 8,
                },
                text=[_hint(p) for p in fitted],
                hovertemplate="%{text}<extra></extra>",
            ),
            row=len(titles),
            col=1,
        )
        figure.add_vline(x=1, line={"color": FADED, "width": 1.5, "dash": "dash"}, row=len(titles), col=1)
        figure.update_xaxes(
            range=value_range([1.0, *(p.temperature for p in fitted if p.temperature is not None)]),
            row=len(titles),
            col=1,
        )
    style(figure, height=height)
    arm_of = {p.trial: p.arm for p in points}
    figure.update_yaxes(
        tickmode="array",
        tickvals=[len(trials) - 1 - i for i in range(len(trials))],
        ticktext=[f"{trial}<br>{safe(short(arm_of[trial]))}" for trial in trials],
        range=[-0.6, len(trials) - 0.4],
        showgrid=False,
    )
    for row, title in enumerate(titles, 1):
        figure.update_xaxes(title_text=title, row=row, col=1)
    return figure


def _heights(points: Sequence[CalibrationPoint], trials: Sequence[str]) -> dict[CalibrationPoint, float]:
    """Where each seed stands: spread over the row of its candidate."""
    placed = {}
    for i, trial in enumerate(trials):
        own = [p for p in points if p.trial == trial]
        for j, point in enumerate(own):
            placed[point] = len(trials) - 1 - i + 0.6 * ((j + 0.5) / len(own) - 0.5)
    return placed


def _hint(point: CalibrationPoint) -> str:
    loss, refit = (metric_text("test/loss", v) for v in (point.loss, point.loss_refit))
    temperature = "" if point.temperature is None else f"<br>at temperature {setting(point.temperature)}"
    return (
        f"{point.trial}, seed {point.seed}<br>NLL {loss}, refitted {refit}<br>"
        f"ECE {percent(point.ece)}, refitted {percent(point.ece_refit)}{temperature}"
    )
