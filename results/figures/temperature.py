"""Metric against temperature: the answer of a study in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colors import Mark, arm_marks
from results.figures.parts import Axis, axis_title, safe, show_axis, show_level, style
from results.figures.ranges import value_range, within, without_tail
from results.figures.ridge import RidgeLevel
from results.figures.strip import ExploredPoint, show_strip
from results.formats import metric as metric_text
from results.formats import setting as setting_text
from results.statistics import MeanInterval

_KEY_ENTRIES = 10  # with more the key would take the figure's place; then it names the arms only


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedPoint:
    """A confirmed candidate: one value a seed and their mean."""

    trial: str
    arm: str
    x: float
    values: tuple[float, ...]
    mean: MeanInterval


def temperature_figure(
    points: Sequence[ExploredPoint],
    confirmed: Sequence[ConfirmedPoint],
    *,
    arms: Sequence[str],
    axis: Axis,
    metric: str,
    reference: str | None,
    baseline: MeanInterval | None,
    ridges: Mapping[str, Sequence[RidgeLevel]] | None = None,
) -> go.Figure:
    """Metric against temperature: full trials above, those that ended early (if any) in a strip of their own below.

    Args:
        points: Explored trials.
        confirmed: Candidates on fresh seeds.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        axis: The temperature.
        metric: Name of the metric, ``split/name``.
        reference: The reference arm, drawn in black.
        baseline: Its confirmed level, drawn as a line with its interval.
        ridges: The metric at the best learning rate by arm, drawn as a line with its spread; arms may be left out.

    Returns:
        A figure; its y range follows trials trained to the end and confirmed values only.
    """
    rows = 2 if any(p.trouble for p in points) else 1
    heights = [0.8, 0.2] if rows == 2 else None
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=0.04)
    scale = 100 if metric.endswith("accuracy") else 1
    marks = arm_marks(arms, reference)
    color = {arm: mark.color for arm, mark in marks.items()}
    certain = [scale * v for c in confirmed for v in (*c.values, c.mean.mean, c.mean.low, c.mean.high) if v is not None]
    if baseline is not None:
        certain += [scale * v for v in (baseline.mean, baseline.low, baseline.high) if v is not None]
    full = [p for p in points if p.placed]
    explored = [scale * p.y for p in full if p.y is not None]
    span = value_range(without_tail(explored, metric) + certain)
    if baseline is not None:
        show_level(figure, baseline, scale=scale, name=str(reference))
    for arm, levels in (ridges or {}).items():
        _ridge(figure, levels, arm, color[arm], metric, scale)
    for arm in arms:
        of_arm = [p for p in full if p.arm == arm]
        _marks(figure, of_arm, f"{arm}, explored to the end", marks[arm], metric, scale, span)
    in_key = len(arms) + len(confirmed) <= _KEY_ENTRIES
    for candidate in confirmed:
        _confirmed(figure, candidate, color[candidate.arm], metric, scale, in_key)
    if rows == 2:
        show_strip(figure, points, color, metric)
    figure.update_yaxes(title_text=axis_title(metric), range=span, row=1, col=1)
    style(figure, height=560 + (0 if in_key else 11 * len(arms)))
    show_axis(figure, axis, [p.x for p in points] + [c.x for c in confirmed], row=rows)
    return figure


def _marks(
    figure: go.Figure,
    points: Sequence[ExploredPoint],
    name: str,
    mark: Mark,
    metric: str,
    scale: float,
    span: list[float] | None,
) -> None:
    """Trials trained to the end; those outside the range sit at its edge as triangles that point to where they are."""
    if points and span:
        points = sorted(points, key=lambda p: not span[0] <= scale * (p.y or 0.0) <= span[1])  # the key shows the first
        shown, symbols = within([scale * p.y for p in points if p.y is not None], span, mark.symbol)
        figure.add_trace(
            go.Scatter(
                x=[p.x for p in points],
                y=shown,
                mode="markers",
                name=safe(name),
                marker={"color": "white", "symbol": symbols, "size": 8, "line": {"color": mark.color, "width": 1.8}},
                text=[f"{p.trial}: {metric_text(metric, p.y)} at {setting_text(p.x)}" for p in points],
                hovertemplate="%{text}<extra></extra>",
            ),
            row=1,
            col=1,
        )


def _ridge(figure: go.Figure, levels: Sequence[RidgeLevel], arm: str, color: str, metric: str, scale: float) -> None:
    """Medians at the best learning rate, joined, each with its spread."""
    figure.add_trace(
        go.Scatter(
            x=[level.x for level in levels],
            y=[scale * level.median for level in levels],
            error_y={
                "type": "data",
                "array": [scale * (level.high - level.median) for level in levels],
                "arrayminus": [scale * (level.median - level.low) for level in levels],
                "color": color,
                "thickness": 1.2,
                "width": 4,
            },
            mode="lines+markers",
            name=f"{safe(arm)}, median at the best lr",
            line={"color": color, "width": 2.5},
            marker={"color": color, "symbol": "line-ew-open", "size": 9, "line": {"width": 2.5}},
            text=[
                f"{safe(arm)}, around {setting_text(level.x)}: median {metric_text(metric, level.median)} of {level.n} "
                f"trials at the best lr, {metric_text(metric, level.low)} to {metric_text(metric, level.high)}"
                for level in levels
            ],
            hovertemplate="%{text}<extra></extra>",
        ),
        row=1,
        col=1,
    )


def _confirmed(
    figure: go.Figure, candidate: ConfirmedPoint, color: str, metric: str, scale: float, in_key: bool
) -> None:
    mean = candidate.mean
    figure.add_trace(
        go.Scatter(
            x=[candidate.x] * len(candidate.values),
            y=[scale * v for v in candidate.values],
            mode="markers",
            showlegend=False,
            marker={"color": color, "size": 5, "opacity": 0.45},
            text=[f"{candidate.trial}, one confirm seed: {metric_text(metric, v)}" for v in candidate.values],
            hovertemplate="%{text}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    half = scale * (mean.high - mean.mean) if mean.high is not None else 0
    figure.add_trace(
        go.Scatter(
            x=[candidate.x],
            y=[scale * mean.mean],
            error_y={"type": "data", "array": [half], "color": color, "thickness": 2, "width": 6},
            mode="markers",
            name=f"{safe(candidate.arm)}, confirmed: {candidate.trial}",
            showlegend=in_key,
            marker={"color": color, "size": 11, "symbol": "diamond"},
            text=[
                f"{candidate.trial} ({safe(candidate.arm)}), mean of {mean.n} confirm seeds: "
                f"{metric_text(metric, mean.mean)}"
            ],
            hovertemplate="%{text}<extra></extra>",
        ),
        row=1,
        col=1,
    )
