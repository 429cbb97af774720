"""Maps over temperature and learning rate: how good trials were in each part, and how often they diverged."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.cells import Cell, Grid, MapPoint, cell_fill, key_entries
from results.figures.colors import INK, LOST, RISK, TRIED
from results.figures.parts import Axis, axis_title, bar, merit_axis, safe, style, wrapped
from results.formats import count, percent
from results.formats import metric as metric_text
from results.schema import TrialState
from results.statistics import wilson_interval

_MARKS: Mapping[TrialState, tuple[str, str]] = {
    TrialState.COMPLETED: ("circle-open", "trained to the end"),
    TrialState.PRUNED: ("line-ew-open", "stopped early"),
    TrialState.DIVERGED: ("x-thin-open", "diverged"),
    TrialState.FAILED: ("square-open", "failed"),
}
_COUNTS_HEIGHT = 390
_MOST = 9  # parts of a range in the map of values
_MOST_COUNTED = 6  # in the map of counts: a number must fit into a cell on a telephone


def value_map_figure(
    views: Sequence[Sequence[MapPoint]], *, x: Axis, ys: Sequence[Axis], metric: str, mode: str
) -> go.Figure:
    """The metric over temperature and learning rate, one map above the other for each way to give the latter.

    Args:
        views: The same trials for each map; one or more.
        x: The temperature.
        ys: The vertical axis of each map.
        metric: Name of the metric.
        mode: ``max`` or ``min``.

    Returns:
        A figure. A cell has the colour of the median of its trials trained to the end; cells without any say why. A few
        bad cells do not take the scale: they have the colour of its bad end.
    """
    figure = make_subplots(rows=len(views), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    scale = 100 if metric.endswith("accuracy") else 1
    grids = [Grid(points, x, y, _MOST) for points, y in zip(views, ys, strict=True)]
    medians = [{cell: v for cell in grid.cells if (v := median_of(cell)) is not None} for grid in grids]
    shown: set[TrialState] = set()
    states = {cell_state(cell) for grid in grids for cell in grid.cells} - {TrialState.COMPLETED}
    for row, (grid, points, known) in enumerate(zip(grids, views, medians, strict=True), 1):
        hints = {cell: _hint(grid, cell, metric) for cell in grid.cells}
        for state, color in ((TrialState.PRUNED, TRIED), (TrialState.DIVERGED, LOST)):
            plain = {cell: 0.0 for cell in grid.cells if cell_state(cell) is state}
            if plain:
                flat = {"colorscale": [[0, color], [1, color]], "showscale": False}
                figure.add_trace(cell_fill(grid, plain, hints, **flat), row=row, col=1)
        valued = {cell: scale * v for cell, v in known.items()}
        if valued:
            figure.add_trace(cell_fill(grid, valued, hints, coloraxis="coloraxis"), row=row, col=1)
        for state, (symbol, name) in _MARKS.items():
            ended = [(p, place) for p, place in zip(points, grid.places, strict=True) if p.state is state]
            if ended:
                figure.add_trace(_marks(ended, symbol, name, state not in shown, metric), row=row, col=1)
                shown.add(state)
        grid.show_axes(figure, row=row)
    figure.update_xaxes(title_text="")
    figure.update_xaxes(title_text=wrapped(safe(x.label)), row=len(views), col=1)
    words = ((TrialState.PRUNED, "only stopped trials", TRIED), (TrialState.DIVERGED, "none came through", LOST))
    for entry in key_entries([(name, color) for state, name, color in words if state in states]):
        figure.add_trace(entry, row=1, col=1)
    height = 120 + 330 * len(views)
    style(figure, height=height, bar_title=axis_title(metric))
    values = [scale * v for known in medians for v in known.values()]
    figure.update_layout(coloraxis=merit_axis(values, metric=metric, mode=mode, height=height))
    return figure


def median_of(cell: Cell) -> float | None:
    """Median of a cell's trials trained to the end; None without any."""
    values = [p.value for p in cell.points if p.state is TrialState.COMPLETED and p.value is not None]
    return statistics.median(values) if values else None


def cell_state(cell: Cell) -> TrialState:
    """What a cell shows: COMPLETED for a value, DIVERGED if none came through and one diverged, else PRUNED."""
    if median_of(cell) is not None:
        return TrialState.COMPLETED
    return TrialState.DIVERGED if cell.ended(TrialState.DIVERGED) else TrialState.PRUNED


def _hint(grid: Grid, cell: Cell, metric: str) -> str:
    counts = [f"{n} {name}" for state, (_, name) in _MARKS.items() if (n := cell.ended(state))]
    median = median_of(cell)
    said = "" if median is None else f"<br>median {metric_text(metric, median)}"
    return f"{grid.describe(cell)}<br>{count(len(cell.points), 'trial')}: {', '.join(counts)}{said}"


def _marks(
    ended: Sequence[tuple[MapPoint, tuple[float, float]]], symbol: str, name: str, in_key: bool, metric: str
) -> go.Scatter:
    return go.Scatter(
        x=[place[0] for _, place in ended],
        y=[place[1] for _, place in ended],
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=in_key,
        marker={"color": INK, "symbol": symbol, "size": 6, "opacity": 0.75, "line": {"width": 1.2}},
        text=[
            f"{p.trial} ({safe(p.arm)}), {name} at epoch {p.epochs}: {metric_text(metric, p.value)}" for p, _ in ended
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def instability_figure(points: Sequence[MapPoint], *, x: Axis, y: Axis) -> go.Figure:
    """How many of the trials in each part of temperature and learning rate diverged.

    Args:
        points: Trials that ended, those that failed for a technical reason left out; one or more.
        x: The temperature.
        y: The learning rate.

    Returns:
        A figure; a cell says ``diverged/trials``, and its 95 % Wilson interval when it is pointed at.
    """
    figure = make_subplots(rows=1, cols=1)
    grid = Grid(points, x, y, _MOST_COUNTED)
    shares = {cell: 100 * cell.ended(TrialState.DIVERGED) / len(cell.points) for cell in grid.cells}
    hints = {cell: _share_hint(grid, cell) for cell in grid.cells}
    figure.add_trace(
        cell_fill(
            grid,
            shares,
            hints,
            zmin=0,
            zmax=100,
            colorscale=[list(step) for step in RISK],
            colorbar=bar(_COUNTS_HEIGHT),
        ),
        row=1,
        col=1,
    )
    middles = [grid.middle(cell) for cell in grid.cells]
    lost = [cell.ended(TrialState.DIVERGED) for cell in grid.cells]
    figure.add_trace(
        go.Scatter(
            x=[a for a, _ in middles],
            y=[b for _, b in middles],
            mode="text",
            text=[
                f"<b>{n}/{len(cell.points)}</b>" if n else f"0/{len(cell.points)}"
                for n, cell in zip(lost, grid.cells, strict=True)
            ],
            textfont={"color": INK, "size": 12},
            hoverinfo="skip",
            showlegend=False,
        ),
        row=1,
        col=1,
    )
    grid.show_axes(figure, row=1)
    style(figure, height=_COUNTS_HEIGHT, bar_title="share diverged (%)")
    return figure


def _share_hint(grid: Grid, cell: Cell) -> str:
    lost, n = cell.ended(TrialState.DIVERGED), len(cell.points)
    low, high = wilson_interval(lost, n)
    return (
        f"{grid.describe(cell)}<br>{lost} of {n} diverged: {percent(lost / n)}<br>"
        f"95 % interval {percent(low)} to {percent(high)}"
    )
