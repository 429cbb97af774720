"""Whether one search space is part of another: an amendment of a study may only narrow what it searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaces.dimensions import Choice, Dimension, Grid
from spaces.ranges import Integer, LogUniform, Uniform
from spaces.scalars import written

if TYPE_CHECKING:
    from spaces.space import SearchSpace


def widenings(space: SearchSpace, former: SearchSpace) -> list[str]:
    """How a space reaches beyond a former one, in words; nothing if it is part of it.

    A path may be gone where its condition cannot hold any more.
    """
    found = [
        f"{path} must stay in the space, got none; narrow its range instead"
        for path, axis in former.entries.items()
        if path not in space.entries and space.can_hold(axis.when)
    ]
    for path, axis in space.entries.items():
        before = former.entries.get(path)
        if before is None:
            found.append(f"{path} must be a path of the former space ({', '.join(former.entries)}), got a new one")
        elif (axis.times, axis.equals, axis.when) != (before.times, before.equals, before.when):
            found.append(
                f"times, when and equals of {path} must stay as they were, {written(before.spec())}, "
                f"got {written(axis.spec())}"
            )
        elif not axis.follows and not is_within(axis.dimension, before.dimension):
            found.append(
                f"{path} must lie inside {written(before.dimension.spec())}, got {written(axis.dimension.spec())}"
            )
    for condition in former.require:
        if condition not in space.require:
            kept = ", ".join(other.text for other in space.require) or "none"
            found.append(f"require must keep {condition.text!r}, got {kept}")
    return found


def is_within(dimension: Dimension, former: Dimension) -> bool:
    """Whether every value of a dimension is one of a former dimension of the same kind."""
    if isinstance(dimension, LogUniform) and isinstance(former, LogUniform):
        return former.low <= dimension.low and dimension.high <= former.high
    if isinstance(dimension, Uniform) and isinstance(former, Uniform):
        return _meets_steps(dimension, former)
    if isinstance(dimension, Integer) and isinstance(former, Integer):
        return dimension.log == former.log and _meets_steps(dimension, former)
    if isinstance(dimension, Choice) and isinstance(former, Choice):
        return all(former.contains(value) for value in dimension.values)
    if isinstance(dimension, Grid) and isinstance(former, Grid):
        return tuple(value for value in former.values if dimension.contains(value)) == dimension.values
    return False


def _meets_steps(dimension: Uniform | Integer, former: Uniform | Integer) -> bool:
    """Whether both ends and the step of a range are those of a former one: the first two values and the last tell."""
    if former.step is not None and dimension.step is None:
        return False
    second = dimension.low + (dimension.step or 0)
    return all(former.snap(value) is not None for value in (dimension.low, second, dimension.high))
