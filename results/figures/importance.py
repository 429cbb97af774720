"""Shares of importance of the searched values, by two methods and over two sets of trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colors import ARMS
from results.figures.parts import safe, short, style
from results.importance import Importance


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportanceRow:
    """What matters in one arm over one set of trials."""

    arm: str
    survivors: bool
    """Whether only trials trained to the end were looked at, or all that ended."""
    shares: Importance
    total: int
    """Trials in that set; importance takes no more than some of them."""

    @property
    def trials(self) -> str:
        """The trials that it rests on, in words."""
        kind = "trained to the end" if self.survivors else "trials"
        if self.shares.n < self.total:
            return f"{self.shares.n} of {self.total} {kind}"
        return f"{self.total} {kind}" if self.survivors else f"all {self.total} {kind}"


def importance_figure(rows: Sequence[ImportanceRow]) -> go.Figure:
    """Bars of fANOVA and PED-ANOVA side by side.

    Args:
        rows: One or more, each a panel.

    Returns:
        A figure of panels below each other; shares in percent.
    """
    titles = [f"{safe(short(row.arm))}: {row.trials}" for row in rows]
    bars = sum(len(row.shares.fanova) for row in rows)
    height = 110 + 70 * len(rows) + 46 * bars
    figure = make_subplots(
        rows=len(rows),
        cols=1,
        shared_xaxes=True,
        subplot_titles=titles,
        row_heights=[len(row.shares.fanova) for row in rows],
        vertical_spacing=min(46 / height, 1 / len(rows)),
    )
    for place, row in enumerate(rows, 1):
        methods = ((row.shares.ped_anova, "PED-ANOVA", ARMS[1], "/"), (row.shares.fanova, "fANOVA", ARMS[0], ""))
        for shares, name, color, pattern in methods:
            ordered = sorted(shares, key=lambda path: row.shares.fanova[path])
            figure.add_trace(
                go.Bar(
                    x=[100 * shares[path] for path in ordered],
                    y=[safe(path.rpartition(".")[2]) for path in ordered],
                    orientation="h",
                    name=name,
                    legendgroup=name,
                    showlegend=place == 1,
                    marker={
                        "color": color,
                        "pattern": {"shape": pattern, "fillmode": "overlay", "fgcolor": "white", "size": 6},
                    },
                    text=[f"{100 * shares[path]:.0f} %" for path in ordered],
                    textposition="outside",
                    cliponaxis=False,
                    hovertemplate=f"%{{y}}: %{{x:.0f}} % by {name}<extra></extra>",
                ),
                row=place,
                col=1,
            )
    figure.update_layout(barmode="group", bargap=0.3)
    figure.update_xaxes(range=[0, 112], tickvals=[0, 25, 50, 75, 100])
    figure.update_xaxes(title_text="share of importance (%)", row=len(rows), col=1)
    style(figure, height=height)
    figure.update_layout(legend={"traceorder": "reversed"}, margin={"t": 44})
    figure.update_yaxes(showgrid=False)
    return figure
