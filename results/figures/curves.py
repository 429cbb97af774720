"""Learning curves coloured by temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import APART, REFERENCE, heat
from results.figures.parts import Axis, axis_title, color_bar, safe, style
from results.figures.ranges import position, value_range, without_tail
from results.formats import setting as setting_text

_CURVE_BINS = 24
_HEIGHT = 430
_POINTS = 60  # of a curve; more can hardly be seen and make the page heavy


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A trial's metric over epochs."""

    trial: str
    arm: str
    x: float | None
    """Value on the temperature axis; None if the trial has none."""
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    full: bool
    """Whether it was trained to the end."""


def curves_figure(
    curves: Sequence[Curve], *, axis: Axis, metric: str, epochs: int, reference: str | None, best_reference: str | None
) -> go.Figure:
    """Learning curves of explored trials, coloured by temperature; the reference's best in black on top.

    Args:
        curves: Explored trials.
        axis: The temperature, for the colour scale.
        metric: Name of the metric.
        epochs: Length of a full trial.
        reference: The reference arm; its other curves are left out.
        best_reference: Its best trial.

    Returns:
        A figure; its range is that of the usual full trials after the first, steep quarter of the epochs.
    """
    scale = 100 if metric.endswith("accuracy") else 1
    figure = go.Figure()
    colored = [c for c in curves if c.arm != reference and c.x is not None]
    places = {c.trial: position(c.x, axis.log) for c in colored if c.x is not None}
    low, high = min(places.values(), default=0.0), max(places.values(), default=1.0)
    width = (high - low) or 1.0
    for full in (False, True):
        for step in range(_CURVE_BINS):
            group = [
                c
                for c in colored
                if c.full is full and min(_CURVE_BINS - 1, int((places[c.trial] - low) / width * _CURVE_BINS)) == step
            ]
            if group:
                figure.add_trace(_curve_bundle(group, heat((step + 0.5) / _CURVE_BINS), full, axis, metric, scale))
    for full in (False, True):
        for arm in dict.fromkeys(c.arm for c in curves if c.arm != reference and c.x is None):
            group = [c for c in curves if c.arm == arm and c.x is None and c.full is full]
            if group:
                trace = _curve_bundle(group, APART, full, axis, metric, scale)
                trace.update(name=safe(arm), legendgroup=arm, showlegend=full)
                figure.add_trace(trace)
    for curve in curves:
        if curve.trial == best_reference:
            trace = _curve_bundle([curve], REFERENCE, True, axis, metric, scale)
            trace.update(name=f"best of the reference {safe(curve.arm)}", showlegend=True, line={"width": 3})
            figure.add_trace(trace)
    if places:
        color_bar(figure, axis, low, high, height=_HEIGHT)
    drawn = [c for c in curves if c.arm != reference or c.trial == best_reference]
    usual = without_tail([c.values[-1] for c in drawn if c.full], metric)
    late = [
        scale * v
        for c in drawn
        if c.full and c.values[-1] in usual
        for e, v in zip(c.epochs, c.values, strict=True)
        if e >= epochs / 4
    ]
    everything = [scale * v for c in drawn for v in c.values]
    figure.update_yaxes(title_text=axis_title(metric), range=value_range(late or everything))
    figure.update_xaxes(title_text="epoch", range=[0.5, epochs + 0.5])
    style(figure, height=_HEIGHT, bar_title=axis.label if places else "")
    return figure


def _curve_bundle(curves: Sequence[Curve], color: str, full: bool, axis: Axis, metric: str, scale: float) -> go.Scatter:
    """Curves of one colour as one trace, with gaps between them: a page draws few traces faster than many."""
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str] = []
    for curve in curves:
        kept = _evenly(len(curve.epochs))
        xs += [*(curve.epochs[i] for i in kept), None]
        ys += [*(round(scale * v, 4) if math.isfinite(v := curve.values[i]) else None for i in kept), None]
        at = "" if curve.x is None else f", {safe(axis.label)} {setting_text(curve.x)}"
        texts += [f"{curve.trial}{at}"] * len(kept) + [""]
    unit = "%{y:.2f} %" if metric.endswith("accuracy") else "%{y:.4f} nats"
    lone = all(len(c.epochs) == 1 for c in curves)
    return go.Scatter(
        x=xs,
        y=ys,
        mode="markers" if lone else "lines",
        line={"color": color, "width": 1.8 if full else 1},
        marker={"color": color, "size": 4},
        opacity=0.95 if full else 0.35,
        text=texts,
        hovertemplate=f"%{{text}}<br>epoch %{{x}}: {unit}<extra></extra>",
        showlegend=False,
    )


def _evenly(n: int) -> list[int]:
    """Which of n epochs are drawn, first and last among them."""
    if n <= _POINTS:
        return list(range(n))
    return [round(i * (n - 1) / (_POINTS - 1)) for i in range(_POINTS)]
