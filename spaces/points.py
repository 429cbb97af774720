"""Points of a search space: drawn, counted, and one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from spaces import dimensions
from spaces.errors import SpaceError
from spaces.scalars import Scalar

if TYPE_CHECKING:
    from spaces.space import Coordinates, SearchSpace

MOST_DRAWS = 10_000
"""Draws without a feasible point after which there is held to be none."""

MOST_GRID_POINTS = 100_000
"""Points of the largest grid that is listed."""


def sample(space: SearchSpace, rng: np.random.Generator, fixed: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Coordinates drawn evenly from the feasible ones, each dimension in its own scale.

    Args:
        space: What may vary.
        rng: Where the randomness comes from.
        fixed: Values of the recipe that do not vary, by dotted path.

    Raises:
        SpaceError: In :data:`MOST_DRAWS` draws no point was feasible.
    """
    for _ in range(MOST_DRAWS if space.axes else 1):
        drawn: dict[str, Scalar] = {}
        for path in space.parents_first:
            if path in space.axes and space.is_active(path, drawn):
                drawn[path] = dimensions.sample(space.axes[path].dimension, rng)
        if space.feasible(drawn, fixed):
            return _in_order(space, drawn)
    conditions = " and ".join(repr(condition.text) for condition in space.require)
    if not space.axes:
        raise SpaceError(f"the only configuration there is must meet require, and does not: {conditions}")
    raise SpaceError(
        f"some point of the space must meet require, got none in {MOST_DRAWS:,} draws that meets {conditions}; "
        "widen the ranges or loosen a requirement"
    )


def size(space: SearchSpace) -> int | None:
    """How many points a space has, feasible or not; None if a dimension has no end of values."""
    counts = {path: axis.dimension.count for path, axis in space.axes.items()}
    finite = {path: count for path, count in counts.items() if count is not None}
    if len(finite) < len(counts):
        return None
    parents = {parent for axis in space.axes.values() for parent in axis.when}
    return sum(
        math.prod(finite[path] for path in space.active(chosen) if path not in parents)
        for chosen in _combinations(space, [path for path in space.parents_first if path in parents], {})
    )


def grid(space: SearchSpace, fixed: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
    """All feasible points of a space, the last value varying fastest.

    Args:
        space: What may vary.
        fixed: Values of the recipe that do not vary, by dotted path.

    Raises:
        SpaceError: There is no end to them, or there are more than :data:`MOST_GRID_POINTS`.
    """
    there = size(space)
    if there is None:
        endless = ", ".join(path for path, axis in space.axes.items() if axis.dimension.count is None)
        raise SpaceError(f"a grid must have listed values or a step everywhere, got a continuous range at {endless}")
    if there > MOST_GRID_POINTS:
        raise SpaceError(f"a grid must have at most {MOST_GRID_POINTS:,} points, got {there:,}; use larger steps")
    points = _combinations(space, [path for path in space.parents_first if path in space.axes], {})
    return [_in_order(space, point) for point in points if space.feasible(point, fixed)]


def _combinations(space: SearchSpace, paths: Sequence[str], chosen: Coordinates) -> Iterator[dict[str, Scalar]]:
    """The chosen values with every combination of values of more paths, parents first, where they are active."""
    if not paths:
        yield dict(chosen)
        return
    path, *rest = paths
    if not space.is_active(path, chosen):
        yield from _combinations(space, rest, chosen)
        return
    for value in space.axes[path].dimension.values or ():
        yield from _combinations(space, rest, {**chosen, path: value})


def _in_order(space: SearchSpace, coordinates: Coordinates) -> dict[str, Scalar]:
    return {path: coordinates[path] for path in space.axes if path in coordinates}
