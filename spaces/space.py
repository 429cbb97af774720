"""SearchSpace: which values of a recipe vary, over what, under which conditions, and in which coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spaces import points
from spaces.axis import Axis
from spaces.dimensions import Choice
from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.narrowing import widenings
from spaces.refinement import refined
from spaces.scalars import Scalar, is_number, is_same, written

Coordinates = Mapping[str, Scalar]
"""What a sampler chooses: a value for every active axis, by dotted recipe path."""

MOST_VALUES_OF_A_PARENT = 1_000
"""Values of what conditions are on: points are counted for each of them."""

MOST_COMBINATIONS_OF_PARENTS = 10_000
"""Combinations of such values, for the same reason."""


@dataclass(frozen=True)
class SearchSpace:
    """The values of a recipe that a study searches, and those that follow them.

    A coordinate may be rescaled: with ``times: "loss.beta ** -1"`` the sampler moves in ``lr * beta``, in which
    the best learning rate hardly depends on beta (methods.md A.5), and the recipe gets ``lr = coordinate / beta``.

    A derived value has no coordinate: with ``equals: "0.0005 * loss.beta"`` the recipe gets that. Samplers and
    coordinates do not know it.

    An axis may be conditional: with ``when: {loss.name: tampered}`` it is active, and has a coordinate, only where the
    recipe value ``loss.name``, its parent, is that; :meth:`given` settles conditions on values that do not vary.

    Attributes:
        entries: Everything, by dotted path.
        require: What must hold of the recipe's values, wherever they exist.

    Raises:
        SpaceError: A formula names its own path or one that is rescaled or derived; a condition names such a path, one
            without a short list of values, or in a circle itself; a requirement is not true or false.
    """

    entries: Mapping[str, Axis]
    require: Sequence[Expression] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "require", tuple(self.require))
        for path, axis in self.entries.items():
            for name in sorted(axis.names):
                if name == path or (name in self.entries and self.entries[name].formula is not None):
                    key = "equals" if axis.follows else "times"
                    raise SpaceError(f"{key} must name a value that is not rescaled itself, got {name} for {path}")
            for parent in axis.when:
                if parent in self.entries:
                    self._check_parent(path, parent)
        assert self.parents_first is not None  # finds circles
        self._check_combinations()
        for condition in self.require:
            if not condition.is_condition:
                raise SpaceError(f"require must be a condition such as 'tau1 > tau2', got {condition.text!r}")

    def _check_parent(self, path: str, parent: str) -> None:
        axis = self.entries[parent]
        if axis.formula is not None:
            raise SpaceError(f"when must name a value that is not rescaled itself, got {parent} for {path}")
        if axis.dimension.count is None or axis.dimension.count > MOST_VALUES_OF_A_PARENT:
            raise SpaceError(
                f"when must name a value with at most {MOST_VALUES_OF_A_PARENT:,} choices, got {parent}: "
                f"{written(axis.dimension.spec())} for {path}; make it a choice or a grid"
            )

    def _check_combinations(self) -> None:
        parents = sorted({parent for axis in self.entries.values() for parent in axis.when if parent in self.entries})
        combinations = math.prod(self.entries[parent].dimension.count or 1 for parent in parents)
        if combinations > MOST_COMBINATIONS_OF_PARENTS:
            raise SpaceError(
                f"conditions must be on at most {MOST_COMBINATIONS_OF_PARENTS:,} combinations of values, got "
                f"{combinations:,} of {', '.join(parents)}; name fewer values there"
            )

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """What may vary, conditional axes among them."""
        return {path: axis for path, axis in self.entries.items() if not axis.follows}

    @cached_property
    def derived(self) -> dict[str, Axis]:
        """What follows other values and does not vary by itself."""
        return {path: axis for path, axis in self.entries.items() if axis.follows}

    @cached_property
    def parents_first(self) -> tuple[str, ...]:
        """All paths, each after those that its condition names."""
        order: dict[str, None] = {}

        def add(path: str, above: tuple[str, ...]) -> None:
            if path in above:
                circle = " -> ".join((*above[above.index(path) :], path))
                raise SpaceError(f"conditions must not form a circle, got {circle}; leave one when out")
            if path in order:
                return
            for parent in self.entries[path].when:
                if parent in self.entries:
                    add(parent, (*above, path))
            order[path] = None

        for path in self.entries:
            add(path, ())
        return tuple(order)

    # Conditions

    def given(self, fixed: Mapping[str, Scalar]) -> SearchSpace:
        """The space in which all conditions are on what varies in it; the others are settled.

        Args:
            fixed: Values of the recipe that do not vary, by dotted path.
        """
        kept: dict[str, Axis] = {}
        for path in self.parents_first:
            when = self.entries[path].when
            settled = {parent: values for parent, values in when.items() if parent not in self.entries}
            rest = {parent: values for parent, values in when.items() if parent in self.entries}
            holds = all(_is_among(fixed.get(parent), values) for parent, values in settled.items())
            if holds and rest.keys() <= kept.keys():
                kept[path] = replace(self.entries[path], when=rest)
        lost = {path for path in self.entries if path not in kept and fixed.get(path) is None}
        for path, axis in list(kept.items()):
            if axis.names & lost and axis.follows:
                del kept[path]
            elif axis.names & lost:
                kept[path] = replace(axis, times=None)
        return SearchSpace({path: kept[path] for path in self.entries if path in kept}, self.require)

    def active(self, coordinates: Coordinates) -> dict[str, Axis]:
        """The axes whose conditions hold at these coordinates, in order: those that coordinates must have."""
        return {path: axis for path, axis in self.axes.items() if self.is_active(path, coordinates)}

    def only_active(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The coordinates among values for all axes: without those whose conditions do not hold.

        Args:
            values: A value for every axis, by dotted path.
        """
        return {path: values[path] for path in self.active(values)}

    def is_active(self, path: str, coordinates: Coordinates) -> bool:
        """Whether the condition of a path holds at these coordinates, and that of its parents.

        Raises:
            SpaceError: It is on a value that does not vary here.
        """
        for parent, values in self.entries[path].when.items():
            if parent not in self.axes:
                raise SpaceError(f"when of {path} must name a value that varies, got {parent}; settle it with given()")
            if not _is_among(coordinates.get(parent), values) or not self.is_active(parent, coordinates):
                return False
        return True

    def can_hold(self, when: Mapping[str, Sequence[Scalar]]) -> bool:
        """Whether a condition can hold, as far as it is on what varies here."""
        return all(
            any(self.axes[parent].dimension.contains(value) for value in values)
            for parent, values in when.items()
            if parent in self.axes
        )

    def contains(self, coordinates: Coordinates) -> bool:
        """Whether the coordinates have exactly the active paths, each with a possible value."""
        active = self.active(coordinates)
        return coordinates.keys() == active.keys() and all(
            axis.dimension.contains(coordinates[path]) for path, axis in active.items()
        )

    # Recipe values

    def resolve(self, coordinates: Coordinates, fixed: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The recipe's values at these coordinates.

        Where a formula names a value that is not there for a condition, or because the coordinates choose a variant
        (``loss.name``) without it, its axis is not rescaled, and a derived value is left as the recipe has it.

        Args:
            coordinates: A value for every active axis.
            fixed: Values of the recipe that do not vary, by dotted path.

        Returns:
            A value for every path that is active, derived ones included.

        Raises:
            SpaceError: A formula names a path without a value, or gives no value, or a factor is not > 0.
        """
        plain = {path: value for path, value in coordinates.items() if self.entries[path].formula is None}
        known = {**fixed, **plain}
        values: dict[str, Scalar] = {}
        for path, axis in self.entries.items():
            if not self.is_active(path, coordinates):
                continue
            if axis.formula is None or self._lacks(path, known):
                if not axis.follows:
                    values[path] = coordinates[path]
            elif axis.equals is not None:
                values[path] = axis.equals.evaluate(known)
            else:
                values[path] = float(coordinates[path]) * _factor(path, axis, known)
        return values

    def _lacks(self, path: str, known: Mapping[str, Scalar]) -> bool:
        """Whether a value that the formula of a path names is rightly missing.

        Raises:
            SpaceError: It is missing, and should not be.
        """
        missing = [name for name in sorted(self.entries[path].names) if known.get(name) is None]
        for name in missing:
            variant = f"{name.rpartition('.')[0]}.name"
            if name not in self.entries and variant not in self.axes:
                key = "equals" if self.entries[path].follows else "times"
                raise SpaceError(f"{key} of {path} must name values of the recipe, got {name}, which has none")
        return bool(missing)

    def coordinates_of(self, values: Mapping[str, Scalar], fixed: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """The coordinates at which the recipe has these values: the inverse of :meth:`resolve`.

        Args:
            values: Values of the recipe by dotted path. Those that do not vary here, be it for a condition, count for
                nothing; what is missing is missing in the coordinates, too, and so is what is rescaled by it.
            fixed: Values of the recipe that do not vary, by dotted path.

        Returns:
            Coordinates with possible values, or None if a value is not possible.
        """
        found: dict[str, Scalar] = {}
        for path in self.parents_first:
            axis = self.entries[path]
            if path not in values or axis.formula is not None or not self.is_active(path, found):
                continue
            nearest = axis.dimension.snap(values[path])
            if nearest is None:
                return None
            found[path] = nearest
        active = self.active(found)
        known = {path: value for path, value in fixed.items() if path not in active} | found
        for path, axis in active.items():
            if axis.times is None or path not in values or any(n in active and n not in found for n in axis.names):
                continue
            value = values[path]
            if not is_number(value):
                return None
            factor = 1.0 if self._lacks(path, known) else _factor(path, axis, known)
            nearest = axis.dimension.snap(value / factor)
            if nearest is None:
                return None
            found[path] = nearest
        return {path: found[path] for path in active if path in found}

    def feasible(self, coordinates: Coordinates, fixed: Mapping[str, Scalar]) -> bool:
        """Whether all requirements hold; one that names a value that is not there, or not active, does.

        Args:
            coordinates: A value for every active axis.
            fixed: Values of the recipe that do not vary, by dotted path.

        Raises:
            SpaceError: As for :meth:`resolve`, or a requirement cannot be computed.
        """
        if not self.require:
            return True
        values = self.resolve(coordinates, fixed)
        known = {path: value for path, value in fixed.items() if path not in self.entries} | values
        return all(
            condition.evaluate(known) is True
            for condition in self.require
            if all(known.get(name) is not None for name in condition.names)
        )

    def allows(self, coordinates: Coordinates, fixed: Mapping[str, Scalar]) -> bool:
        """Whether a feasible point has these coordinates: with all others given, or drawn.

        Args:
            coordinates: Possible values of some active axes, or of all.
            fixed: Values of the recipe that do not vary, by dotted path.

        Raises:
            SpaceError: As for :meth:`feasible`.
        """
        if coordinates.keys() == self.active(coordinates).keys():
            return self.feasible(coordinates, fixed)
        try:
            self.pinned(coordinates).sample(np.random.default_rng(0), fixed)
        except SpaceError:
            return False
        return True

    # Points

    def sample(self, rng: np.random.Generator, fixed: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Coordinates drawn evenly from the feasible ones; see :func:`spaces.points.sample`."""
        return points.sample(self, rng, fixed)

    @property
    def size(self) -> int | None:
        """How many points there are, feasible or not; None if a dimension has no end of values."""
        return points.size(self)

    def grid(self, fixed: Mapping[str, Scalar]) -> list[dict[str, Scalar]]:
        """All feasible points, the last value varying fastest; see :func:`spaces.points.grid`."""
        return points.grid(self, fixed)

    # Other spaces

    def pinned(self, coordinates: Coordinates) -> SearchSpace:
        """The space in which some coordinates are held at one value each.

        Args:
            coordinates: These values, all possible; what a condition on them keeps out has none.
        """
        entries = {
            path: replace(axis, dimension=Choice((coordinates[path],))) if path in coordinates else axis
            for path, axis in self.entries.items()
        }
        return SearchSpace(entries, self.require)

    def refined(self, best: Coordinates) -> SearchSpace:
        """The finer grid around the best point of this one: one step to each side, within the range, at half the step.

        What has no step is held at the best. After k rounds, each on the space of the last one, a step is 1/2^k of what
        it was at first: from alpha 0.1, 0.2, ..., 0.9 with the best at 0.3 to 0.2, 0.25, ..., 0.4 as the paper did.

        Args:
            best: Coordinates of the best point.
        """
        entries = {
            path: replace(axis, dimension=refined(axis.dimension, best[path])) if path in best else axis
            for path, axis in self.entries.items()
        }
        return SearchSpace(entries, self.require)

    def narrower_than(self, other: SearchSpace) -> list[str]:
        """How this space reaches beyond another one, in words; nothing if it is part of it."""
        return widenings(self, other)


def _is_among(value: Scalar | None, values: Sequence[Scalar]) -> bool:
    return any(is_same(value, item) for item in values)


def _factor(path: str, axis: Axis, known: Mapping[str, Scalar]) -> float:
    assert axis.times is not None
    factor = axis.times.evaluate(known)
    if not is_number(factor) or factor <= 0:
        at = ", ".join(f"{name} = {written(known[name])}" for name in sorted(axis.names))
        raise SpaceError(f"times of {path} must be > 0, got {axis.times.text!r} = {written(factor)} at {at}")
    return float(factor)
