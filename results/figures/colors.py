"""Colours and markers of the figures: told apart by the colour-blind, and in grey."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INK = "#1f2933"
FADED = "#9aa5b1"
GRID = "#eef1f4"
FRAME = "#cbd2d9"
STOPPED = "#c3ccd5"
WAITING = "#8fb4d9"
TROUBLE = "#e8a33d"
LATE = "#b45309"
FAILURE = "#c81e1e"
APART = "#6b7785"
"""For what has no place on the axis that gives the others their colour."""
ARMS = ("#2563a8", "#a8540e", "#0f766e", "#7a3e9d", "#8a6d00")
REFERENCE = "#111111"
SYMBOLS = ("circle", "square", "pentagon", "cross", "hourglass", "star")
"""Markers; triangles are kept for what lies off the scale, diamonds for means over seeds."""
HEAT = ((0.0, "#2b3a9b"), (0.25, "#1a78b8"), (0.5, "#15876a"), (0.75, "#cf7a12"), (1.0, "#b3152d"))
"""Cold to hot, every step dark enough for a white page; the middle is no paler than the ends."""
MERIT = ((0.0, "#e3c35c"), (0.5, "#86b89a"), (1.0, "#4a95c4"))
"""Bad to good: darker is better, also in grey; light enough for the marks in the cells, and the bad end stands out more
than cells without a value, on white as on dark paper."""
MERIT_LINES = ((0.0, "#a8842a"), (0.5, "#2b8577"), (1.0, "#173f7a"))
"""The same for lines, which a white page would swallow."""
RISK = ((0.0, "#f7efdf"), (0.5, "#f0ab6a"), (1.0, "#e2685c"))
"""Safe to unstable, light enough for the counts in the cells."""
TRIED = "#d5dbe1"
"""Cells whose trials all were stopped early."""
LOST = "#eda79d"
"""Cells in which none came through and some diverged."""


def heat(place: float) -> str:
    """Colour of a place 0..1 between cold and hot."""
    return mixed(HEAT, place)


def mixed(steps: Sequence[tuple[float, str]], place: float) -> str:
    """Colour of a place 0..1 on a scale."""
    for (low, cold), (high, warm) in itertools.pairwise(steps):
        if place <= high:
            share = max(0.0, (place - low) / (high - low))
            channels = [round(a + (b - a) * share) for a, b in zip(_rgb(cold), _rgb(warm), strict=True)]
            return "#{:02x}{:02x}{:02x}".format(*channels)
    return steps[-1][1]


def _rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def merit_scale(mode: str, steps: Sequence[tuple[float, str]] = MERIT) -> list[tuple[float, str]]:
    """The scale from bad to good for plotly, turned round where low values are good."""
    ordered = steps if mode == "max" else [(1 - place, color) for place, color in reversed(steps)]
    return list(ordered)


@dataclass(frozen=True, slots=True)
class Mark:
    """How an arm looks in every figure."""

    color: str
    symbol: str


def arm_marks(arms: Sequence[str], reference: str | None) -> Mapping[str, Mark]:
    """A colour and a marker for each arm: colour is not all that tells them apart, and 30 arms share no pair.

    Args:
        arms: All arms of the study, in the order that all its figures use.
        reference: The reference arm, which is black.
    """
    ordered = [arm for arm in arms if arm != reference]
    marks = {arm: Mark(ARMS[i % len(ARMS)], SYMBOLS[i % len(SYMBOLS)]) for i, arm in enumerate(ordered)}
    if reference is not None:
        marks[reference] = Mark(REFERENCE, SYMBOLS[len(ordered) % len(SYMBOLS)])
    return marks
