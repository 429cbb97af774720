"""How well students do against what their teacher told them (after Fig. 3 of the paper on asymmetric temperatures)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colors import arm_marks
from results.figures.parts import axis_title, safe, show_level, style
from results.figures.ranges import value_range, within, without_tail
from results.formats import metric as metric_text
from results.formats import setting as setting_text
from results.statistics import MeanInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentPoint:
    """A student trained to the end."""

    trial: str
    arm: str
    value: float
    """The metric at its last epoch."""
    derived_average: float
    """DA of its targets."""
    derived_std: float
    """Root of DV of its targets."""


def students_figure(
    points: Sequence[StudentPoint],
    *,
    arms: Sequence[str],
    metric: str,
    reference: str | None,
    level: MeanInterval | None,
) -> go.Figure:
    """The metric against DA and against DV, side by side, an arm a colour.

    Args:
        points: Students.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        metric: Name of the metric.
        reference: The reference arm, drawn in black.
        level: Its confirmed level, drawn as a line with its interval; None if it is not known.

    Returns:
        A figure of two panels that share the metric; students far on the bad side sit at its edge as triangles.
    """
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    scale = 100 if metric.endswith("accuracy") else 1
    marks_of = arm_marks(arms, reference)
    if level is not None:
        show_level(figure, level, scale=scale, name=str(reference), columns=(1, 2))
    certain = [v for v in (level.mean, level.low, level.high) if v is not None] if level else []
    span = value_range([scale * v for v in (*without_tail([p.value for p in points], metric), *certain)]) or [0.0, 1.0]
    for arm in [arm for arm in arms if any(p.arm == arm for p in points)]:
        of_arm = [p for p in points if p.arm == arm]
        of_arm.sort(key=lambda p: not span[0] <= scale * p.value <= span[1])  # the key shows the first marker
        texts = [
            f"{p.trial} ({safe(arm)}): {metric_text(metric, p.value)} at DA {setting_text(p.derived_average)}, "
            f"DV (std) {setting_text(p.derived_std)}"
            for p in of_arm
        ]
        shown, marks = within([scale * p.value for p in of_arm], span, marks_of[arm].symbol)
        for col, places in ((1, [p.derived_average for p in of_arm]), (2, [p.derived_std for p in of_arm])):
            figure.add_trace(
                go.Scatter(
                    x=places,
                    y=shown,
                    mode="markers",
                    name=safe(arm),
                    legendgroup=arm,
                    showlegend=col == 1,
                    marker={"color": marks_of[arm].color, "symbol": marks, "size": 9, "opacity": 0.8},
                    text=texts,
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=1,
                col=col,
            )
    figure.update_yaxes(range=span)
    figure.update_yaxes(title_text=axis_title(metric), row=1, col=1)
    figure.update_xaxes(title_text="DA (mean)", row=1, col=1)
    figure.update_xaxes(title_text="DV (standard<br>deviation)", row=1, col=2)
    style(figure, height=440)
    return figure
