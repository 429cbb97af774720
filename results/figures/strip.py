"""Trials that ended early or learned nothing: a strip below the figure, where only their place on the axis counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.colors import FAILURE, LATE
from results.figures.parts import safe
from results.formats import metric as metric_text
from results.formats import setting as setting_text
from results.schema import TrialState

_UNTRAINED = "failed to train"
_STRIP = {TrialState.PRUNED: "stopped early", TrialState.DIVERGED: "diverged", TrialState.FAILED: "failed"}
_ROWS: Mapping[str, str] = {
    "stopped early": "line-ns-open",
    _UNTRAINED: "circle-x-open",
    "diverged": "x",
    "failed": "square",
}
"""Rows of the strip from above, each with its marker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredPoint:
    """An explored trial in the plane of temperature and metric."""

    trial: str
    arm: str
    x: float
    """Value on the temperature axis."""
    y: float | None
    """The metric at its last epoch; None if it has none."""
    epochs: int
    state: TrialState
    trained: bool = True
    """Whether it learned anything: was right more often than by chance in some epoch."""

    @property
    def trouble(self) -> str | None:
        """Why it has no place among the trials trained to the end; None if it has."""
        stayed = self.state in (TrialState.COMPLETED, TrialState.PRUNED) and not self.trained
        return _UNTRAINED if stayed else _STRIP.get(self.state)

    @property
    def placed(self) -> bool:
        """Whether it has a place above the strip: it was trained to the end, learned, and has a finite value."""
        ended_well = self.state is TrialState.COMPLETED and self.trouble is None
        return ended_well and self.y is not None and math.isfinite(self.y)


def show_strip(figure: go.Figure, points: Sequence[ExploredPoint], color: Mapping[str, str], metric: str) -> None:
    """The lower panel: where trials ended early or learned nothing, whatever their value."""
    rows = [label for label in _ROWS if any(p.trouble == label for p in points)]
    for label in rows:
        ended = [p for p in points if p.trouble == label]
        if ended:
            red, amber = label == "diverged", label == _UNTRAINED
            figure.add_trace(
                go.Scatter(
                    x=[p.x for p in ended],
                    y=[label] * len(ended),
                    mode="markers",
                    showlegend=False,
                    marker={
                        "color": FAILURE if red else LATE if amber else [color[p.arm] for p in ended],
                        "symbol": _ROWS[label],
                        "size": 9 if red or amber else 12,
                        "opacity": 0.9 if red or amber else 0.55,
                        "line": {"width": 0 if red else 1.5},
                    },
                    text=[
                        f"{p.trial} ({safe(p.arm)}) {label} at epoch {p.epochs}, last {metric_text(metric, p.y)}, "
                        f"at {setting_text(p.x)}"
                        for p in ended
                    ],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=2,
                col=1,
            )
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=rows[::-1],
        range=[-0.6, max(0, len(rows) - 1) + 0.6],
        showgrid=False,
        row=2,
        col=1,
    )
