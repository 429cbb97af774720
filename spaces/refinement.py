"""A finer dimension around the best value of a grid.

"Softmax Gradient Tampering" (arXiv 2111.12495) goes so from alpha 0.1, 0.2, ..., 0.9 to 0.2, 0.25, ..., 0.4.
"""

from __future__ import annotations

from itertools import pairwise

from spaces.dimensions import Choice, Dimension, Grid
from spaces.ranges import Integer, Uniform
from spaces.scalars import Scalar, decimal, is_number


def refined(dimension: Dimension, best: Scalar) -> Dimension:
    """The values one step to each side of the best at half the step; what has no step is held at the best.

    Of listed numbers the neighbours and the middles between them are taken. Whole numbers stay whole: of their step
    the largest divisor that is at most its half is taken, of listed ones the middle is rounded down.

    Args:
        dimension: The dimension that was searched.
        best: The best of its values.
    """
    match dimension:
        case Uniform(low, high, float() | int() as step):
            place, by = decimal(float(best)), decimal(step)
            return Uniform(
                float(max(place - by, decimal(low))), float(min(place + by, decimal(high))), step=float(by / 2)
            )
        case Integer(low, high, step) if step > 1 and is_number(best):
            finer = next(part for part in range(step // 2, 0, -1) if step % part == 0)
            return Integer(int(max(best - step, low)), int(min(best + step, high)), step=finer)
        case Grid(values) if len(values) > 1 and all(is_number(value) for value in values):
            return Grid(_with_middles(values, values.index(best)))
    return Choice((best,))


def is_refinable(dimension: Dimension) -> bool:
    """Whether :func:`refined` can put new values between its own."""
    match dimension:
        case Uniform(step=float() | int()):
            return True
        case Integer(step=step):
            return step > 1
        case Grid(values):
            return len(values) > 1 and all(is_number(value) for value in values)
    return False


def _with_middles(values: tuple[Scalar, ...], best: int) -> tuple[Scalar, ...]:
    near = values[max(best - 1, 0) : best + 2]
    finer: list[Scalar] = [near[0]]
    for before, after in pairwise(near):
        middle = _middle(before, after)
        finer += [after] if middle in values else [middle, after]
    return tuple(finer)


def _middle(before: Scalar, after: Scalar) -> Scalar:
    if isinstance(before, int) and isinstance(after, int):
        return (before + after) // 2
    return float((decimal(float(before)) + decimal(float(after))) / 2)
