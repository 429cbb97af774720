"""Ranges of numbers: all of them, those of a step, whole ones; evenly spread or evenly in the logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from spaces.errors import SpaceError
from spaces.scalars import TOLERANCE, Scalar, decimal, is_finite, is_number, written

MOST_STEPS = 1_000_000
"""A range with more steps is meant to be continuous."""


def _check_ends(kind: str, low: float, high: float) -> None:
    if not (is_finite(low) and is_finite(high)):
        raise SpaceError(f"the ends of a {kind} range must be finite, got {written([low, high])}")
    if not low < high:
        raise SpaceError(f"a {kind} range must have low < high, got [{low:g}, {high:g}]")
    if not is_finite(high - low):
        raise SpaceError(f"a {kind} range must have a finite width, got [{low:g}, {high:g}]")


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every value of [low, high] is as likely as any other; with a step, only low, low + step, ..., high.

    Raises:
        SpaceError: Not ``low < high``, an end is not finite, or steps from ``low`` do not meet ``high``.
    """

    low: float
    high: float
    step: float | None = None

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_ends("uniform", self.low, self.high)
        if self.step is None:
            return
        if not 0 < self.step <= (self.high - self.low) * (1 + TOLERANCE):
            raise SpaceError(
                f"a step must be > 0 and at most high - low = {self.high - self.low:g}, got {self.step:g}; "
                "a tenth of the range is usual"
            )
        if (self.high - self.low) / self.step > MOST_STEPS:
            raise SpaceError(
                f"a range must have at most {MOST_STEPS:,} steps, got [{self.low:g}, {self.high:g}] by {self.step:g}; "
                "leave the step out"
            )
        steps = round((self.high - self.low) / self.step)
        nearest = float(decimal(self.low) + steps * decimal(self.step))
        if abs(nearest - self.high) > TOLERANCE * max(abs(self.low), abs(self.high)):
            raise SpaceError(
                f"steps of {self.step:g} from {self.low:g} must meet the high end, got {self.high:g}; "
                f"the nearest that they meet is {nearest!r}"
            )

    @property
    def count(self) -> int | None:
        """How many values there are; None without a step."""
        return None if self.step is None else round((self.high - self.low) / self.step) + 1

    @property
    def values(self) -> tuple[float, ...] | None:
        """All values, rising; None without a step."""
        return None if self.count is None else tuple(self._at(index) for index in range(self.count))

    def encode(self, value: Scalar) -> float:
        """The share of the range below ``value``; with a step the middle of its share of the unit interval."""
        if self.count is None:
            return (float(value) - self.low) / (self.high - self.low)
        return (self._index(float(value)) + 0.5) / self.count

    def decode(self, unit: float) -> float:
        """The value at that share of the range."""
        if self.count is None:
            return min(max(self.low + unit * (self.high - self.low), self.low), self.high)
        return self._at(min(int(unit * self.count), self.count - 1))

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is a number in [low, high], and one of the steps where there are some."""
        inside = is_number(value) and self.low <= value <= self.high
        return inside and (self.step is None or value == self._at(self._index(float(value))))

    def snap(self, value: Scalar) -> float | None:
        """The possible value that ``value`` is but for rounding; None if it is none."""
        if not is_number(value) or not is_finite(value):
            return None
        if self.step is None:
            nearest = float(min(max(value, self.low), self.high))
            return nearest if abs(nearest - value) <= TOLERANCE * (self.high - self.low) else None
        nearest = self._at(self._index(float(value)))
        return nearest if abs(nearest - value) <= TOLERANCE * max(abs(nearest), self.step) else None

    def extremes(self) -> tuple[float, float]:
        """Both ends."""
        return (self.low, self.high)

    def spec(self) -> dict[str, Any]:  # Any: a list of ends beside a number
        """``{uniform: [low, high]}``, with ``step`` where there is one."""
        return {"uniform": [self.low, self.high], **({} if self.step is None else {"step": self.step})}

    def _at(self, index: int) -> float:
        assert self.step is not None
        if index == round((self.high - self.low) / self.step):
            return float(self.high)
        return float(decimal(self.low) + index * decimal(self.step))

    def _index(self, value: float) -> int:
        assert self.step is not None
        return round((min(max(value, self.low), self.high) - self.low) / self.step)


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Every factor is as likely as any other: the logarithm is uniform on [log low, log high].

    Raises:
        SpaceError: Not ``0 < low < high``, or an end is not finite.
    """

    low: float
    high: float

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_ends("log", self.low, self.high)
        if self.low <= 0:
            raise SpaceError(
                f"a log range must have low > 0, got [{self.low:g}, {self.high:g}]; 0.01 is a usual low end"
            )
        if not is_finite(self.high / self.low):
            raise SpaceError(f"a log range must have a finite high / low, got [{self.low:g}, {self.high:g}]")

    @property
    def count(self) -> None:
        """None: there is no end to them."""

    @property
    def values(self) -> None:
        """None: there is no end to them."""

    def encode(self, value: Scalar) -> float:
        """The share of the range's logarithm below ``value``."""
        return math.log(float(value) / self.low) / math.log(self.high / self.low)

    def decode(self, unit: float) -> float:
        """The value with that share of the range's logarithm below it."""
        return min(max(self.low * math.pow(self.high / self.low, unit), self.low), self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is a number in [low, high]."""
        return is_number(value) and self.low <= value <= self.high

    def snap(self, value: Scalar) -> float | None:
        """The possible value that ``value`` is but for rounding; None if it is none."""
        if not is_number(value) or not is_finite(value):
            return None
        nearest = float(min(max(value, self.low), self.high))
        return nearest if abs(nearest - value) <= TOLERANCE * nearest else None

    def extremes(self) -> tuple[float, float]:
        """Both ends."""
        return (self.low, self.high)

    def spec(self) -> dict[str, list[Scalar]]:
        """``{log: [low, high]}``."""
        return {"log": [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class Integer:
    """The whole numbers low, low + step, ..., high, as likely as each other or evenly spread in the logarithm.

    Raises:
        SpaceError: Not ``low < high``, steps from ``low`` do not meet ``high``, or with ``log`` not ``low >= 1`` or a
            step other than 1.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        kind = "log_int" if self.log else "int"
        _check_ends(kind, self.low, self.high)
        if self.log and (self.low < 1 or self.step != 1):
            raise SpaceError(
                f"a log_int range must have low >= 1 and no step, got [{self.low}, {self.high}] by {self.step}; "
                "list what you want as a grid"
            )
        if self.step < 1:
            raise SpaceError(f"the step of an int range must be >= 1, got {self.step}")
        if (self.high - self.low) % self.step:
            steps = max(round((self.high - self.low) / self.step), 1)
            raise SpaceError(
                f"steps of {self.step} from {self.low} must meet the high end, got {self.high}; "
                f"the nearest that they meet is {self.low + steps * self.step}"
            )

    @property
    def count(self) -> int:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    @property
    def values(self) -> tuple[int, ...]:
        """All values, rising."""
        return tuple(range(self.low, self.high + 1, self.step))

    def encode(self, value: Scalar) -> float:
        """The middle of the value's share of the unit interval; of the logarithm of it with ``log``."""
        if self.log:
            return math.log(float(value) / (self.low - 0.5)) / self._log_width
        return ((float(value) - self.low) / self.step + 0.5) / self.count

    def decode(self, unit: float) -> int:
        """The value whose share of the unit interval holds ``unit``."""
        if self.log:
            return min(max(round((self.low - 0.5) * math.exp(unit * self._log_width)), self.low), self.high)
        return self.low + self.step * min(int(unit * self.count), self.count - 1)

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is one of the whole numbers, be it written as 3.0."""
        return is_number(value) and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def snap(self, value: Scalar) -> int | None:
        """The possible value that ``value`` is but for rounding; None if it is none."""
        if not is_number(value) or not is_finite(value):
            return None
        nearest = round(value)
        return nearest if self.contains(nearest) and abs(nearest - value) <= TOLERANCE * max(abs(nearest), 1) else None

    def extremes(self) -> tuple[int, int]:
        """Both ends."""
        return (self.low, self.high)

    def spec(self) -> dict[str, Any]:  # Any: a list of ends beside a number
        """``{int: [low, high]}``, with ``step`` where it is not 1, or ``{log_int: [low, high]}``."""
        kind = "log_int" if self.log else "int"
        return {kind: [self.low, self.high], **({} if self.step == 1 else {"step": self.step})}

    @property
    def _log_width(self) -> float:
        # half a number beyond both ends, so that each has its share as wide as its neighbours'
        return math.log((self.high + 0.5) / (self.low - 0.5))
