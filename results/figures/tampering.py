"""What tampering does: to the probabilities in the gradient (an example), and to trained logits (a study's trials).

The two figures follow Fig. 1 and Fig. 3 of "Softmax Gradient Tampering".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from results.figures.colors import APART, REFERENCE, SYMBOLS, arm_marks, heat
from results.figures.parts import Axis, safe, show_axis, style
from results.figures.ranges import value_range, within, without_tail
from results.formats import setting as setting_text

EXAMPLE = (0.4, 0.22, 0.13, 0.08, 0.06, 0.04, 0.03, 0.02, 0.012, 0.008)
"""Probabilities of ten classes, the most probable first: a sample of which a network is fairly sure."""
EXPONENTS = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)
"""Values of alpha at which the example is drawn."""

_NEAR_ONE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperedPoint:
    """A trial trained to the end."""

    trial: str
    arm: str
    alpha: float
    logit_norm: float
    """Mean norm of a validation sample's logits after the last epoch."""
    loss: float
    """Cross-entropy on the validation split after the last epoch; nats."""


def tampered_probabilities(probabilities: Sequence[float], alpha: float) -> NDArray[np.float64]:
    """The probabilities that tampering puts in the place of the softmax's: ``softmax(alpha * ln p)``.

    Args:
        probabilities: (C,) positive, adding up to 1.
        alpha: Exponent, 0 or more.

    Returns:
        (C,) p', adding up to 1; uniform for 0.

    Example:
        >>> tampered_probabilities([0.8, 0.2], 0.5).round(3).tolist()
        [0.667, 0.333]
    """
    scaled = alpha * np.log(np.asarray(probabilities, dtype=np.float64))
    raised = np.exp(scaled - scaled.max())
    return np.asarray(raised / raised.sum())


def stationary_threshold(probabilities: Sequence[float], alpha: float) -> float:
    """The probability that tampering leaves as it is: smaller ones rise, larger ones fall (for alpha below 1).

    Args:
        probabilities: (C,) positive, adding up to 1.
        alpha: Exponent, 0 or more.

    Returns:
        ``(sum p^alpha)^(1 / (alpha - 1))``: 1 / C for 0, exp(-entropy) for 1 (methods.md B.6).

    Example:
        >>> round(stationary_threshold([0.8, 0.2], 0.0), 3), round(stationary_threshold([0.5, 0.5], 1.0), 3)
        (0.5, 0.5)
    """
    logs = np.log(np.asarray(probabilities, dtype=np.float64))
    if abs(alpha - 1) < _NEAR_ONE:
        return float(np.exp((np.exp(logs) * logs).sum()))
    return float(np.exp(np.log(np.exp(alpha * logs).sum()) / (alpha - 1)))


def example_figure(best: float | None) -> go.Figure:
    """What alpha makes of one distribution over ten classes, and the stationary threshold over alpha.

    Args:
        best: The study's best alpha, marked if known.

    Returns:
        A figure: left p' by rank for each of ``EXPONENTS``, right the threshold.
    """
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.6, 0.4],
        horizontal_spacing=0.18,
    )
    ranks = list(range(1, len(EXAMPLE) + 1))
    for i, alpha in enumerate(EXPONENTS):
        figure.add_trace(
            _ranked(ranks, alpha, f"alpha {setting_text(alpha)}", heat(alpha), SYMBOLS[i % len(SYMBOLS)]), row=1, col=1
        )
    curve = np.linspace(0.0, max(1.0, best or 0.0), 121)
    figure.add_trace(
        go.Scatter(
            x=curve,
            y=[100 * stationary_threshold(EXAMPLE, float(alpha)) for alpha in curve],
            mode="lines",
            line={"color": APART, "width": 1.5},
            hovertemplate="alpha %{x:.2f}: %{y:.2f} %<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=2,
    )
    figure.add_trace(
        go.Scatter(
            x=list(EXPONENTS),
            y=[100 * stationary_threshold(EXAMPLE, alpha) for alpha in EXPONENTS],
            mode="markers",
            marker={
                "color": [heat(alpha) for alpha in EXPONENTS],
                "symbol": [SYMBOLS[i % len(SYMBOLS)] for i in range(len(EXPONENTS))],
                "size": 9,
            },
            hovertemplate="alpha %{x}: %{y:.2f} %<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=2,
    )
    if best is not None:
        _mark_best(figure, ranks, best)
    figure.update_xaxes(title_text="rank of the class", dtick=3, tick0=1, row=1, col=1)
    figure.update_yaxes(title_text="probability in the gradient (%)", rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title_text="alpha", row=1, col=2)
    figure.update_yaxes(title_text="stationary threshold (%)", row=1, col=2)
    style(figure, height=440)
    return figure


def _ranked(ranks: Sequence[int], alpha: float, name: str, color: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=list(ranks),
        y=(100 * tampered_probabilities(EXAMPLE, alpha)).tolist(),
        mode="lines+markers",
        name=safe(name),
        line={"color": color, "width": 2},
        marker={"color": color, "symbol": symbol, "size": 7},
        hovertemplate=f"{safe(name)}, rank %{{x}}: %{{y:.2f}} %<extra></extra>",
    )


def _mark_best(figure: go.Figure, ranks: Sequence[int], best: float) -> None:
    name = f"best of the study: alpha {setting_text(best)}"
    trace = _ranked(ranks, best, name, REFERENCE, "star")
    trace.update(line={"color": REFERENCE, "width": 2, "dash": "dot"})
    figure.add_trace(trace, row=1, col=1)
    threshold = 100 * stationary_threshold(EXAMPLE, best)
    figure.add_trace(
        go.Scatter(
            x=[best],
            y=[threshold],
            mode="markers",
            marker={"color": REFERENCE, "symbol": "star", "size": 13},
            hovertemplate=f"{name}: %{{y:.2f}} %<extra></extra>",
            showlegend=False,
        ),
        row=1,
        col=2,
    )


def logits_figure(
    points: Sequence[TamperedPoint], *, arms: Sequence[str], axis: Axis, reference: str | None
) -> go.Figure:
    """Logit norm and final cross-entropy against alpha.

    Args:
        points: Trials trained to the end.
        arms: All arms, in an order that gives each the colour that it has in other figures.
        axis: The exponent.
        reference: The reference arm, drawn in black.

    Returns:
        A figure of two panels above each other that share the exponent; losses far above the others sit at the edge.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    marks_of = arm_marks(arms, reference)
    span = value_range(without_tail([p.loss for p in points], "val/loss")) or [0.0, 1.0]
    for arm in [arm for arm in arms if any(p.arm == arm for p in points)]:
        of_arm = [p for p in points if p.arm == arm]
        of_arm.sort(key=lambda p: not span[0] <= p.loss <= span[1])  # the key shows the first marker
        norms = [p.logit_norm for p in of_arm], [marks_of[arm].symbol] * len(of_arm)
        losses = within([p.loss for p in of_arm], span, marks_of[arm].symbol)
        for row, (values, marks) in ((1, norms), (2, losses)):
            figure.add_trace(
                go.Scatter(
                    x=[p.alpha for p in of_arm],
                    y=values,
                    mode="markers",
                    name=safe(arm),
                    legendgroup=arm,
                    showlegend=row == 1,
                    marker={"color": marks_of[arm].color, "symbol": marks, "size": 9, "opacity": 0.8},
                    text=[
                        f"{p.trial} ({safe(arm)}) at {setting_text(p.alpha)}: logit norm {p.logit_norm:.3g}, "
                        f"cross-entropy {p.loss:.4f} nats"
                        for p in of_arm
                    ],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=row,
                col=1,
            )
    figure.update_yaxes(title_text="logit norm", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="cross-entropy (nats)", range=span, row=2, col=1)
    style(figure, height=520)
    show_axis(figure, axis, [p.alpha for p in points], row=2)
    return figure
