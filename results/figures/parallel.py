"""Parallel coordinates: every trial of the search as a line through all its settings to its value.

Drawn as plain lines: plotly's own trace for it needs WebGL, which many a browser on a server lacks, has one style for
all lines, and no place for a trial without a value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import APART, FAILURE, FRAME, MERIT_LINES, merit_scale, mixed
from results.figures.parts import safe, style, tick
from results.figures.ranges import log_ticks, position, without_tail_ends
from results.formats import metric as metric_text
from results.formats import setting
from results.schema import TrialState

_COLORS = 12
_TICKS = 5
_NONE, _STOPPED, _DIVERGED = -0.14, -0.14, -0.28  # below the axes, which reach from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis of settings."""

    label: str
    log: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A trial of the search that ended, other than for a technical reason."""

    trial: str
    arm: str
    settings: tuple[object, ...]
    """A value on each axis; None where the trial has none."""
    value: float | None
    """The metric at its last epoch; None if it has no finite one."""
    state: TrialState


@dataclass(frozen=True, slots=True)
class _Axis:
    """Places 0..1 of the values on an axis, and its ticks."""

    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_figure(lines: Sequence[Line], *, scales: Sequence[Scale], metric: str, mode: str) -> go.Figure:
    """Lines coloured by value where the trial was trained to the end; the others end below the axis of the metric.

    Args:
        lines: Trials; one or more.
        scales: The axes of settings; one or more.
        metric: Name of the metric.
        mode: ``max`` or ``min``.

    Returns:
        A figure; the trial with the best value is thick, and values far on the bad side sit at the end of their axis.
    """
    scale = 100 if metric.endswith("accuracy") else 1
    full = [n for n in lines if n.state is TrialState.COMPLETED and n.value is not None]
    values = {n: scale * n.value for n in full if n.value is not None}
    low, high = without_tail_ends(list(values.values()), metric)
    last = _numbers([min(high, max(low, v)) for v in values.values()], log=False)
    at_end = dict(zip(values, last.places, strict=True))
    axes = [_axis(s, [n.settings[i] for n in lines]) for i, s in enumerate(scales)]
    paths = {n: [axis.places[i] for axis in axes] for i, n in enumerate(lines)}
    figure = go.Figure()
    stopped = [n for n in lines if n.state is not TrialState.DIVERGED and n not in values]
    diverged = [n for n in lines if n.state is TrialState.DIVERGED]
    for group, end, name, line, opacity in (
        (stopped, _STOPPED, "stopped early", {"color": APART, "width": 1}, 0.3),
        (diverged, _DIVERGED, "diverged", {"color": FAILURE, "width": 1.5, "dash": "dot"}, 0.8),
    ):
        if group:
            drawn = [(n, [*paths[n], end]) for n in group]
            figure.add_trace(_bundle(drawn, metric, name=name, line=line, opacity=opacity, showlegend=True))
    colors = merit_scale(mode, MERIT_LINES)
    ranked = sorted(full, key=lambda n: values[n] if mode == "max" else -values[n])
    for step in range(_COLORS):
        group = [n for n in ranked if min(_COLORS - 1, int(at_end[n] * _COLORS)) == step]
        if group:
            drawn = [(n, [*paths[n], at_end[n]]) for n in group]
            color = mixed(colors, (step + 0.5) / _COLORS)
            figure.add_trace(_bundle(drawn, metric, line={"color": color, "width": 1.8}, opacity=0.9))
    if ranked:
        best = ranked[-1]
        drawn = [(best, [*paths[best], at_end[best]])]
        extreme = "highest" if mode == "max" else "lowest"  # fresh seeds may prefer another one
        name = f"{extreme} in the search: {best.trial} of {safe(best.arm)}"
        figure.add_trace(
            _bundle(drawn, metric, name=name, line={"color": MERIT_LINES[-1][1], "width": 4.5}, showlegend=True)
        )
    ends = [(_STOPPED, "stopped")] * bool(stopped) + [(_DIVERGED, "diverged")] * bool(diverged)
    _show_axes(figure, [*axes, _Axis((), (*last.ticks, *ends))])
    style(figure, height=470)
    names = [safe(s.label) for s in scales] + ["accuracy (%)" if scale == 100 else "loss (nats)"]
    figure.update_layout(margin={"t": 60, "l": 24, "r": 60, "b": 24})
    figure.update_xaxes(
        side="top",
        tickvals=list(range(len(names))),
        ticktext=[f"<b>{name}</b>" for name in names],
        range=[-0.12, len(names) - 0.92],
        showgrid=False,
        showline=False,
        ticks="",
    )
    figure.update_yaxes(range=[_DIVERGED - 0.06 if diverged else _STOPPED - 0.06, 1.06], visible=False)
    return figure


def _bundle(lines: Sequence[tuple[Line, Sequence[float]]], metric: str, **looks: object) -> go.Scatter:
    """Lines of one look as one trace, with gaps between them."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    for line, places in lines:
        xs += [*range(len(places)), None]
        ys += [*(round(place, 4) for place in places), None]
        said = f"{line.trial} ({safe(line.arm)}): {metric_text(metric, line.value)}"
        texts += [*(f"{said}, {safe(setting(value))}" for value in line.settings), said, ""]
    return go.Scatter(
        x=xs, y=ys, mode="lines", text=texts, hovertemplate="%{text}<extra></extra>", **{"showlegend": False, **looks}
    )


def _show_axes(figure: go.Figure, axes: Sequence[_Axis]) -> None:
    for i, axis in enumerate(axes):
        figure.add_shape(type="line", x0=i, x1=i, y0=0, y1=1, line={"color": FRAME, "width": 1.5}, layer="below")
        for place, text in axis.ticks:
            figure.add_annotation(
                x=i,
                y=place,
                text=text,
                showarrow=False,
                xanchor="left",
                xshift=3,
                font={"size": 11},
                bgcolor="white",
                opacity=0.85,
                borderpad=1,
            )


def _axis(scale: Scale, values: Sequence[object]) -> _Axis:
    numbers = [_number(value) for value in values]
    if all(n is not None or value is None for n, value in zip(numbers, values, strict=True)):
        return _numbers(numbers, log=scale.log)
    words = list(dict.fromkeys(setting(value) for value in values if value is not None))
    place = {word: (i + 0.5) / len(words) for i, word in enumerate(words)}
    return _with_none(
        [None if value is None else place[setting(value)] for value in values],
        [(place[word], safe(word)) for word in words],
    )


def _numbers(values: Sequence[float | None], *, log: bool) -> _Axis:
    known = [position(v, log) for v in values if v is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    width = (high - low) or 1.0
    ticks = log_ticks(low, high) if log else [low + width * i / (_TICKS - 1) for i in range(_TICKS)]
    digits = max(0, 1 - math.floor(math.log10(width)))  # two of them differ from one tick to the next
    texts = [tick(t) if log else f"{t:.{digits}f}" for t in ticks]
    return _with_none(
        [None if v is None else (position(v, log) - low) / width for v in values],
        [((t - low) / width, text) for t, text in zip(ticks, texts, strict=True)],
    )


def _with_none(places: Sequence[float | None], ticks: Sequence[tuple[float, str]]) -> _Axis:
    missing = [(_NONE, "none")] if None in places else []
    return _Axis(tuple(_NONE if place is None else place for place in places), (*ticks, *missing))


def _number(value: object) -> float | None:
    """The value if it is a number, else None."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
