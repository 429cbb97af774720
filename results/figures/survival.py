"""What became of the trials at every rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.colors import ARMS, FAILURE, INK, STOPPED, TROUBLE, WAITING
from results.figures.parts import safe, short, style

_COLUMNS = 4  # arms side by side
_LONG, _COLUMNS_LONG = 11, 3  # letters of a name for which four columns are too narrow on a telephone
_TITLE_SIZE = 12
_LABELLED = 0.06  # share of the tallest bar that a part needs to have room for its number


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of an arm's trials between one rung and the next."""

    arm: str
    epoch: int
    """Epoch of the rung; 0 for the start."""
    went_on: int
    """Trials that went on to the next rung, or are still on their way there."""
    stopped: int
    """Trials stopped at this rung."""
    diverged: int
    """Trials that diverged after this rung and before the next one."""
    failed: int
    """Trials that failed there."""
    waiting: int = 0
    """Trials that wait at this rung to be promoted."""

    @property
    def reached(self) -> int:
        """Trials that came to this rung."""
        return self.went_on + self.stopped + self.diverged + self.failed + self.waiting


def survival_figure(fates: Sequence[Fate], *, epochs: int) -> go.Figure:
    """What became of the trials at every rung, one panel an arm.

    Args:
        fates: Rungs of all arms, the start and the last epoch included.
        epochs: Length of a full trial.

    Returns:
        A figure of stacked bars: the whole bar is what reached the rung; panels of the same scale.
    """
    arms = list(dict.fromkeys(f.arm for f in fates))
    in_a_row = _COLUMNS_LONG if any(len(arm) > _LONG for arm in arms) else _COLUMNS
    rows = max(1, math.ceil(len(arms) / in_a_row))
    height = 380 if rows == 1 else 60 + 260 * rows
    figure = make_subplots(
        rows=rows,
        cols=max(1, min(in_a_row, len(arms))),
        shared_yaxes="all",
        subplot_titles=[safe(short(a)) for a in arms],
        horizontal_spacing=0.04,
        vertical_spacing=90 / height if rows > 1 else None,
    )
    parts: tuple[tuple[str, str, Callable[[Fate], int]], ...] = (
        ("went on", ARMS[0], lambda f: f.went_on),
        ("wait here", WAITING, lambda f: f.waiting),
        ("stopped here", STOPPED, lambda f: f.stopped),
        ("diverged before the next", FAILURE, lambda f: f.diverged),
        ("failed", TROUBLE, lambda f: f.failed),
    )
    tallest = max((f.reached for f in fates), default=1)
    for place, arm in enumerate(arms):
        row, column = place // in_a_row + 1, place % in_a_row + 1
        rungs = [f for f in fates if f.arm == arm]
        names = ["start" if f.epoch == 0 else "end" if f.epoch >= epochs else f"epoch {f.epoch}" for f in rungs]
        for name, fill, count in parts:
            heights = [count(f) for f in rungs]
            if any(heights):
                figure.add_trace(
                    go.Bar(
                        x=names,
                        y=heights,
                        name=name,
                        legendgroup=name,
                        showlegend=place == 0 or not any(t.name == name and t.showlegend for t in figure.data),
                        marker={"color": fill, "line": {"width": 0}},
                        text=[str(h) if h >= _LABELLED * tallest else "" for h in heights],
                        textposition="inside",
                        insidetextanchor="middle",
                        insidetextfont={"color": "white" if fill in (ARMS[0], FAILURE) else INK},
                        textangle=0,
                        hovertemplate=f"%{{x}}: %{{y}} {name}<extra>{safe(arm)}</extra>",
                    ),
                    row=row,
                    col=column,
                )
        figure.add_trace(
            go.Scatter(
                x=names,
                y=[f.reached for f in rungs],
                text=[f"<b>{f.reached}</b>" for f in rungs],
                textfont={"size": 11},
                mode="text",
                textposition="top center",
                showlegend=False,
                hoverinfo="skip",
            ),
            row=row,
            col=column,
        )
        figure.update_xaxes(
            tickmode="array",
            tickvals=names,
            ticktext=[name.removeprefix("epoch ").replace("start", "0") for name in names],  # for a narrow page
            row=row,
            col=column,
        )
    figure.update_annotations(font_size=_TITLE_SIZE)
    figure.update_layout(barmode="stack", bargap=0.25, uniformtext={"minsize": 11, "mode": "show"})
    figure.update_xaxes(title_text="epoch", row=rows)
    figure.update_yaxes(range=[0, 1.12 * tallest])
    figure.update_yaxes(title_text="trials", col=1)
    style(figure, height=height)
    return figure
