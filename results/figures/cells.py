"""A map of trials over two searched quantities: parts of both ranges, and the trials in each cell."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from results.figures.parts import Axis, safe, tick, wrapped
from results.figures.ranges import log_ticks, position
from results.formats import setting
from results.schema import TrialState

_PAD = 0.02  # of the range: room for the marks at its ends


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPoint:
    """A trial of the search that ended, in the plane of two searched quantities."""

    trial: str
    arm: str
    x: float
    y: float
    value: float | None
    """The metric at its last epoch; None if it has no finite one."""
    epochs: int
    state: TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A part of the map."""

    column: int
    row: int
    points: tuple[MapPoint, ...]

    def ended(self, state: TrialState) -> int:
        """How many of its trials ended in a state."""
        return sum(p.state is state for p in self.points)


class Grid:
    """Cells of a map; positions are log10 of the values on a logarithmic axis."""

    def __init__(self, points: Sequence[MapPoint], x: Axis, y: Axis, most: int) -> None:
        """Cuts both ranges into parts.

        Args:
            points: One or more.
            x: The horizontal quantity.
            y: The vertical one.
            most: Parts of a range, 1 or more; no more than there are trials for, and one a value where values are few.
        """
        self.axes = (x, y)
        n = max(2, min(most, round(math.sqrt(len(points)))))
        self.places = tuple((position(p.x, x.log), position(p.y, y.log)) for p in points)
        self.columns = edges([a for a, _ in self.places], n, most)
        self.rows = edges([b for _, b in self.places], n, most)
        found: dict[tuple[int, int], list[MapPoint]] = {}
        for point, (a, b) in zip(points, self.places, strict=True):
            found.setdefault((_part(self.columns, a), _part(self.rows, b)), []).append(point)
        self.cells = tuple(Cell(column=c, row=r, points=tuple(there)) for (c, r), there in sorted(found.items()))

    def middle(self, cell: Cell) -> tuple[float, float]:
        """Where the middle of a cell is."""
        (a, b), (c, d) = self._ends(cell)
        return (a + b) / 2, (c + d) / 2

    def describe(self, cell: Cell) -> str:
        """The two ranges of a cell, for who points at it."""
        parts = zip(self.axes, self._ends(cell), strict=True)
        return "<br>".join(
            f"{safe(axis.label)} {setting(_value(low, axis))} to {setting(_value(high, axis))}"
            for axis, (low, high) in parts
        )

    def matrix(self, values: dict[Cell, float]) -> list[list[float | None]]:
        """Values of some cells as rows from below, with None elsewhere."""
        filled: list[list[float | None]] = [[None] * (len(self.columns) - 1) for _ in self.rows[1:]]
        for cell, value in values.items():
            filled[cell.row][cell.column] = value
        return filled

    def show_axes(self, figure: go.Figure, *, row: int) -> None:
        """Range, ticks and titles of both axes."""
        for update, axis, ends in (
            (figure.update_xaxes, self.axes[0], self.columns),
            (figure.update_yaxes, self.axes[1], self.rows),
        ):
            ticks = [t for t in log_ticks(ends[0], ends[-1]) if ends[0] <= t <= ends[-1]] if axis.log else None
            update(range=[ends[0], ends[-1]], title_text=wrapped(safe(axis.label)), showgrid=False, row=row, col=1)
            if ticks is not None:
                text = [tick(t) for t in ticks]
                update(tickmode="array", tickvals=ticks, ticktext=text, row=row, col=1)

    def _ends(self, cell: Cell) -> tuple[tuple[float, float], tuple[float, float]]:
        columns, rows = self.columns[cell.column : cell.column + 2], self.rows[cell.row : cell.row + 2]
        return (columns[0], columns[1]), (rows[0], rows[1])


def edges(places: Sequence[float], n: int, most: int) -> list[float]:
    """Where the parts of a range begin and end.

    Args:
        places: Positions, one or more.
        n: Equal parts of the range.
        most: With no more different positions than this, as on a grid, each has a part of its own.

    Returns:
        The ends of the parts, rising; at least two.
    """
    different = sorted({round(place, 9) for place in places})
    if len(different) == 1:
        return [different[0] - 0.5, different[0] + 0.5]
    if len(different) <= most and len(different) < len(places):
        inner = [(a + b) / 2 for a, b in itertools.pairwise(different)]
        return [2 * different[0] - inner[0], *inner, 2 * different[-1] - inner[-1]]
    pad = _PAD * (different[-1] - different[0])
    low, high = min(places) - pad, max(places) + pad
    return [*(low + (high - low) * i / n for i in range(n)), high]


def cell_fill(grid: Grid, values: dict[Cell, float], hints: dict[Cell, str], **scale: object) -> go.Heatmap:
    """Coloured cells, each with what stands there when it is pointed at."""
    texts: list[list[str]] = [[""] * (len(grid.columns) - 1) for _ in grid.rows[1:]]
    for cell, hint in hints.items():
        texts[cell.row][cell.column] = hint
    return go.Heatmap(
        x=grid.columns,
        y=grid.rows,
        z=grid.matrix(values),
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
        xgap=1.5,
        ygap=1.5,
        **scale,
    )


def key_entries(entries: Sequence[tuple[str, str]]) -> Iterator[go.Scatter]:
    """Entries of the key for colours of cells."""
    for name, color in entries:
        yield go.Scatter(
            x=[None], y=[None], mode="markers", name=name, marker={"color": color, "symbol": "square", "size": 13}
        )


def _part(ends: Sequence[float], place: float) -> int:
    return min(len(ends) - 2, max(0, bisect_right(ends, place) - 1))


def _value(place: float, axis: Axis) -> float:
    return 10**place if axis.log else place
