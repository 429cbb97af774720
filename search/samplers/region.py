"""Region: where proposals may lie, which is a search space together with the recipe that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from spaces import MOST_GRID_POINTS, Axis, Coordinates, Scalar, SearchSpace

Place = frozenset[tuple[str, Scalar]]
"""Coordinates as something that can be compared and looked up; 1 and 1.0 are the same."""


def place(coordinates: Coordinates) -> Place:
    """The coordinates, whatever their order."""
    return frozenset(coordinates.items())


@dataclass(frozen=True)
class Region:
    """A search space and the values of the recipe that its conditions and requirements name.

    Regions are compared by their text, so that what is derived from one can be kept between proposals: a cache with a
    region as its key is a function of the space alone. Get one from :func:`region_of`.

    Attributes:
        text: The space and the fixed values, written out.
        space: What may vary; conditions on fixed values are settled.
        fixed: Values of the recipe that do not vary, by dotted path.
    """

    text: str
    space: SearchSpace = field(compare=False, repr=False)
    fixed: Mapping[str, Scalar] = field(compare=False, repr=False)

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """All that may vary, conditional axes too."""
        return self.space.axes

    @cached_property
    def size(self) -> int | None:
        """Number of points, those that break a requirement counted; None where a range is continuous."""
        return self.space.size

    @cached_property
    def points(self) -> tuple[dict[str, Scalar], ...]:
        """All feasible points of a finite region, in order; none are listed where there are too many to list."""
        can_be_listed = self.size is not None and self.size <= MOST_GRID_POINTS
        return tuple(self.space.grid(self.fixed)) if can_be_listed else ()

    @cached_property
    def has_conditions(self) -> bool:
        """Whether some axes only count where another value is right."""
        return any(axis.when for axis in self.axes.values())

    @property
    def can_repeat(self) -> bool:
        """Whether blind draws may meet a point twice; where a range that always counts is continuous, they do not."""
        return self.size is not None or self.has_conditions

    def at(self, units: np.ndarray) -> dict[str, Scalar]:
        """The coordinates at a point of the unit cube, an entry for every axis in order."""
        values = {
            path: axis.dimension.decode(float(unit))
            for (path, axis), unit in zip(self.axes.items(), units, strict=True)
        }
        return self.space.only_active(values) if self.has_conditions else values

    def holds(self, coordinates: Coordinates) -> bool:
        """Whether the coordinates lie in the space; of requirements nothing."""
        return _holds(self, tuple(coordinates.items()))

    def allows(self, coordinates: Coordinates) -> bool:
        """Whether the coordinates lie in the space and meet its requirements."""
        return self.space.contains(coordinates) and self.space.feasible(coordinates, self.fixed)

    def draw(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """A feasible point drawn evenly.

        Raises:
            SpaceError: The requirements leave next to nothing of the space.
        """
        return self.space.sample(rng, self.fixed)


def region_of(space: SearchSpace, fixed: Mapping[str, Scalar]) -> Region:
    """The region of a space in a recipe; the same object for equal ones, as long as they are in use."""
    written = (
        {path: axis.spec() for path, axis in space.entries.items()},
        [requirement.text for requirement in space.require],
        fixed,
    )
    return _kept(Region(json.dumps(written, default=str), space, fixed))


@lru_cache(maxsize=64)
def _kept(region: Region) -> Region:
    return Region(region.text, region.space.given(region.fixed), dict(region.fixed))


@lru_cache(maxsize=2**15)
def _holds(region: Region, items: tuple[tuple[str, Scalar], ...]) -> bool:
    return region.space.contains(dict(items))  # kept: a model asks this of all trials, every time
