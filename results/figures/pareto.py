"""Accuracy against calibrated likelihood, with the trials that no other beats in everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import arm_marks
from results.figures.parts import axis_title, safe, style
from results.figures.ranges import value_range, within, without_tail
from results.formats import percent


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeOff:
    """A trial of the search, trained to the end."""

    trial: str
    arm: str
    accuracy: float
    """Validation accuracy, 0..1."""
    loss: float
    """Negative log-likelihood after the temperature was refitted; nats."""
    efficient: bool
    """Whether it is in the Pareto set."""
    note: str
    """The settings, for the reader who points at it."""


def pareto_figure(points: Sequence[TradeOff], *, arms: Sequence[str], reference: str | None) -> go.Figure:
    """Accuracy against likelihood; the Pareto set is filled, the rest open.

    Args:
        points: Trials; at least one.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        reference: The reference arm, drawn in black.

    Returns:
        A figure; trials far on the bad side of one of the two sit at its edge as triangles.
    """
    figure = go.Figure()
    marks_of = arm_marks(arms, reference)
    across = value_range(without_tail([p.loss for p in points], "val/loss")) or [0.0, 1.0]
    up = value_range([100 * v for v in without_tail([p.accuracy for p in points], "val/accuracy")]) or [0.0, 100.0]
    for arm in [arm for arm in arms if any(p.arm == arm for p in points)]:
        for efficient in (False, True):
            group = [p for p in points if p.arm == arm and p.efficient is efficient]
            group.sort(key=lambda p: p.loss > across[1] or 100 * p.accuracy < up[0])  # the key shows the first marker
            xs, beside = within([p.loss for p in group], across, marks_of[arm].symbol)
            ys, marks = within([100 * p.accuracy for p in group], up, marks_of[arm].symbol)
            marks = ["triangle-right" if side == "triangle-up" else m for side, m in zip(beside, marks, strict=True)]
            if group:
                figure.add_trace(
                    go.Scatter(
                        x=xs,
                        y=ys,
                        mode="markers",
                        name=f"{safe(arm)}, Pareto set" if efficient else safe(arm),
                        marker={
                            "color": marks_of[arm].color if efficient else "white",
                            "symbol": marks,
                            "size": 12 if efficient else 7,
                            "opacity": 1 if efficient else 0.55,
                            "line": {"color": marks_of[arm].color, "width": 1.5},
                        },
                        text=[
                            f"{p.trial} ({safe(p.arm)}), {safe(p.note)}<br>accuracy {percent(p.accuracy)}, NLL "
                            f"refitted {p.loss:.4f} nats"
                            for p in group
                        ],
                        hovertemplate="%{text}<extra></extra>",
                    )
                )
    figure.update_xaxes(title_text="NLL, temperature refitted (nats)", range=across)
    figure.update_yaxes(title_text=axis_title("val/accuracy"), range=up)
    style(figure, height=460)
    return figure
