"""The metric over the teacher's two temperatures: of the true class's logit, and of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import APART, FADED, FAILURE, INK, MERIT, arm_marks
from results.figures.parts import axis_title, merit_axis, safe, style
from results.figures.ranges import value_range
from results.formats import metric as metric_text
from results.formats import setting
from results.schema import TrialState

_HEIGHT, _KEY_LINE = 400, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherPoint:
    """A student of the search that ended."""

    trial: str
    arm: str
    tau1: float
    """Temperature of the teacher's logit of the true class."""
    tau2: float
    """Temperature of its other logits."""
    value: float | None
    """The metric at its last epoch; None if it has no finite one."""
    epochs: int
    state: TrialState


_ENDED: Mapping[TrialState, tuple[str, str, str]] = {
    TrialState.PRUNED: ("line-ew-open", APART, "stopped early"),
    TrialState.DIVERGED: ("x-thin-open", FAILURE, "diverged"),
    TrialState.FAILED: ("square-open", FAILURE, "failed"),
}


def teacher_temperatures_figure(
    points: Sequence[TeacherPoint], *, arms: Sequence[str], reference: str | None, metric: str, mode: str
) -> go.Figure:
    """The metric of students over tau1 and tau2, with the line on which these are equal.

    Args:
        points: Students; one or more.
        arms: All arms, in an order that gives each the marker that it has in other figures.
        reference: The reference arm.
        metric: Name of the metric.
        mode: ``max`` or ``min``.

    Returns:
        A figure; trials trained to the end are coloured, a marker for each arm.
    """
    figure = go.Figure()
    scale = 100 if metric.endswith("accuracy") else 1
    marks = arm_marks(arms, reference)
    span = value_range([v for p in points for v in (p.tau1, p.tau2)]) or [0.0, 1.0]
    figure.add_trace(
        go.Scatter(
            x=span,
            y=span,
            mode="lines",
            name="tau1 = tau2",
            line={"color": FADED, "width": 1.5, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    for state, (symbol, color, name) in _ENDED.items():
        ended = [p for p in points if p.state is state]
        if ended:
            figure.add_trace(_marks(ended, name, metric, {"color": color, "symbol": symbol, "size": 8}))
    full = [p for p in points if p.state is TrialState.COMPLETED and p.value is not None]
    for arm in [arm for arm in arms if any(p.arm == arm for p in full)]:
        of_arm = [p for p in full if p.arm == arm]
        marker = {
            "color": [scale * p.value for p in of_arm if p.value is not None],
            "coloraxis": "coloraxis",
            "symbol": marks[arm].symbol,
            "size": 12,
            "line": {"color": INK, "width": 1.2},
        }
        trace = _marks(of_arm, f"{arm}, trained to the end", metric, marker)
        # plotly cannot draw a number's colour in the key, so that has an entry of its own
        key = {**marker, "color": MERIT[1][1], "coloraxis": None}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=trace.name, marker=key))
        figure.add_trace(trace.update(showlegend=False))
    figure.update_xaxes(title_text="tau1: temperature of the true class", range=value_range([p.tau1 for p in points]))
    figure.update_yaxes(title_text="tau2: of the other classes", range=value_range([p.tau2 for p in points]))
    in_key = sum(t.showlegend is not False for t in figure.data)
    height = _HEIGHT + _KEY_LINE * in_key  # on a narrow page each has a line of its own
    style(figure, height=height, bar_title=axis_title(metric))
    values = [scale * p.value for p in full if p.value is not None]
    figure.update_layout(coloraxis=merit_axis(values, metric=metric, mode=mode, height=height))
    return figure


def _marks(points: Sequence[TeacherPoint], name: str, metric: str, marker: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        x=[p.tau1 for p in points],
        y=[p.tau2 for p in points],
        mode="markers",
        name=safe(name),
        marker=marker,
        text=[
            f"{p.trial} ({safe(p.arm)}): tau1 {setting(p.tau1)}, tau2 {setting(p.tau2)}<br>"
            f"{metric_text(metric, p.value)} at epoch {p.epochs}"
            for p in points
        ],
        hovertemplate="%{text}<extra></extra>",
    )
