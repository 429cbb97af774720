"""Confirmed candidates seed by seed, those of the best and the reference joined in pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import FADED, REFERENCE, arm_marks
from results.figures.parts import axis_title, safe, short, style
from results.figures.ranges import value_range
from results.formats import metric as metric_text
from results.statistics import MeanInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRow:
    """A candidate on its confirm seeds."""

    trial: str
    arm: str
    values: Mapping[int, float]
    """The metric by seed; one or more."""
    mean: MeanInterval
    lost: int
    """Seeds that diverged or failed."""

    @property
    def label(self) -> str:
        """Its name at the axis."""
        return f"{self.trial}<br>{safe(short(self.arm))}"


def seeds_figure(
    rows: Sequence[SeedRow], *, arms: Sequence[str], metric: str, reference: str | None, pair: tuple[str, str] | None
) -> go.Figure:
    """All confirm seeds of every candidate as dots, with mean and interval.

    Args:
        rows: Candidates, best first; one or more.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        metric: Name of the metric.
        reference: The reference arm, drawn in black.
        pair: The best trial and that of the reference, joined seed by seed; the interval of the latter is shaded.

    Returns:
        A figure with a row for each candidate.
    """
    figure = go.Figure()
    scale = 100 if metric.endswith("accuracy") else 1
    marks = arm_marks(arms, reference)
    level = {row.trial: len(rows) - 1 - i for i, row in enumerate(rows)}
    by_trial = {row.trial: row for row in rows}
    height = {(row.trial, seed): level[row.trial] + place for row in rows for seed, place in _spread(row)}
    if pair is not None and {*pair} <= by_trial.keys():
        best, base = (by_trial[trial] for trial in pair)
        if base.mean.low is not None and base.mean.high is not None:
            figure.add_vrect(
                x0=scale * base.mean.low,
                x1=scale * base.mean.high,
                fillcolor=REFERENCE,
                opacity=0.07,
                line_width=0,
                layer="below",
            )
        xs: list[float | None] = []
        ys: list[float | None] = []
        for seed in sorted(best.values.keys() & base.values.keys()):
            xs += [scale * best.values[seed], scale * base.values[seed], None]
            ys += [height[best.trial, seed], height[base.trial, seed], None]
        name = f"same seed of {best.trial} and {base.trial}"
        figure.add_trace(
            go.Scatter(x=xs, y=ys, mode="lines", name=name, line={"color": FADED, "width": 1.2}, hoverinfo="skip")
        )
    for i, row in enumerate(rows):
        color = marks[row.arm].color
        figure.add_trace(
            go.Scatter(
                x=[scale * v for v in row.values.values()],
                y=[height[row.trial, seed] for seed in row.values],
                mode="markers",
                name="one seed",
                legendgroup="seed",
                showlegend=i == 0,
                marker={"color": color, "symbol": f"{marks[row.arm].symbol}-open", "size": 9, "line": {"width": 1.8}},
                text=[f"{row.trial}, seed {seed}: {metric_text(metric, v)}" for seed, v in row.values.items()],
                hovertemplate="%{text}<extra></extra>",
            )
        )
        half = scale * (row.mean.high - row.mean.mean) if row.mean.high is not None else 0
        figure.add_trace(
            go.Scatter(
                x=[scale * row.mean.mean],
                y=[level[row.trial] - 0.26],
                error_x={"type": "data", "array": [half], "color": color, "thickness": 2, "width": 6},
                mode="markers",
                name="mean, 95 % interval",
                legendgroup="mean",
                showlegend=i == 0,
                marker={"color": color, "symbol": "diamond", "size": 11},
                text=[f"{row.trial}, mean of {row.mean.n} seeds: {metric_text(metric, row.mean.mean)}"],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    lost = [row for row in rows if row.lost]
    if lost:
        figure.add_trace(
            go.Scatter(
                x=[scale * row.mean.mean for row in lost],
                y=[level[row.trial] + 0.42 for row in lost],
                mode="text",
                text=[f"{row.lost} of {row.lost + row.mean.n} seeds did not come through" for row in lost],
                hoverinfo="skip",
                showlegend=False,
            )
        )
    ends = [e for row in rows for e in (*row.values.values(), row.mean.low, row.mean.high) if e is not None]
    figure.update_xaxes(title_text=axis_title(metric), range=value_range([scale * e for e in ends]))
    style(figure, height=120 + 62 * len(rows))
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(level.values()),
        ticktext=[row.label for row in rows],
        range=[-0.6, len(rows) - 0.4],
        showgrid=False,
    )
    return figure


def _spread(row: SeedRow) -> list[tuple[int, float]]:
    """Each seed with its height in the row, so that seeds of the same value do not hide each other."""
    seeds = sorted(row.values)
    return [(seed, 0.32 - 0.4 * (i + 0.5) / len(seeds)) for i, seed in enumerate(seeds)]
