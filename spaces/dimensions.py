"""One dimension of a search space: its range, its checks, and its map to the unit interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from spaces.errors import SpaceError

Scalar = float | int | bool | str
"""A value of a recipe that a study may search or set."""


class Dimension(Protocol):
    """What every dimension can do."""

    def encode(self, value: Scalar) -> float:
        """The place of ``value`` in the unit interval."""

    def decode(self, unit: float) -> Scalar:
        """The value at ``unit`` in [0, 1]; the inverse of ``encode``."""

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` may be proposed."""

    def extremes(self) -> Sequence[Scalar]:
        """Values that are legal if every value of the dimension is: both ends, or all choices."""

    def spec(self) -> dict[str, Any]:  # Any: a list, or the one number of what is fixed
        """The dimension as a study file writes it."""


def sample(dimension: Dimension, rng: np.random.Generator) -> Scalar:
    """A value drawn evenly from the dimension, in its own scale."""
    return dimension.decode(float(rng.random()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_ends(kind: str, low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"the ends of a {kind} range must be finite, got [{low:g}, {high:g}]")
    if not low < high:
        raise SpaceError(f"a {kind} range must have low < high, got [{low:g}, {high:g}]")


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every value of [low, high] is as likely as any other.

    Raises:
        SpaceError: Not ``low < high``, or an end is not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends("uniform", self.low, self.high)

    def encode(self, value: Scalar) -> float:
        """The share of the range below ``value``."""
        return (float(value) - self.low) / (self.high - self.low)

    def decode(self, unit: float) -> float:
        """The value with that share of the range below it."""
        return min(max(self.low + unit * (self.high - self.low), self.low), self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is a number in [low, high]."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def extremes(self) -> tuple[float, float]:
        """Both ends."""
        return (self.low, self.high)

    def spec(self) -> dict[str, list[Scalar]]:
        """``{uniform: [low, high]}``."""
        return {"uniform": [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class LogUniform:
    """Every factor is as likely as any other: the logarithm is uniform on [log low, log high].

    Raises:
        SpaceError: Not ``0 < low < high``, or an end is not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_ends("log", self.low, self.high)
        if self.low <= 0:
            raise SpaceError(
                f"a log range must have low > 0, got [{self.low:g}, {self.high:g}]; 0.01 is a usual low end"
            )

    def encode(self, value: Scalar) -> float:
        """The share of the range's logarithm below ``value``."""
        return math.log(float(value) / self.low) / math.log(self.high / self.low)

    def decode(self, unit: float) -> float:
        """The value with that share of the range's logarithm below it."""
        return min(max(self.low * math.pow(self.high / self.low, unit), self.low), self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is a number in [low, high]."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def extremes(self) -> tuple[float, float]:
        """Both ends."""
        return (self.low, self.high)

    def spec(self) -> dict[str, list[Scalar]]:
        """``{log: [low, high]}``."""
        return {"log": [self.low, self.high]}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values, without an order.

    Raises:
        SpaceError: No value, or one twice.
    """

    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError("a choice must name at least one value, got []")
        if len(set(self.values)) < len(self.values):
            raise SpaceError(f"a choice must name every value once, got {list(self.values)}")

    def encode(self, value: Scalar) -> float:
        """The middle of the value's share of the unit interval."""
        return (self.values.index(value) + 0.5) / len(self.values)

    def decode(self, unit: float) -> Scalar:
        """The value whose share of the unit interval holds ``unit``."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is one of the values."""
        return value in self.values

    def extremes(self) -> tuple[Scalar, ...]:
        """All values."""
        return self.values

    def spec(self) -> dict[str, list[Scalar]]:
        """``{choice: [...]}``."""
        return {"choice": list(self.values)}


@dataclass(frozen=True, slots=True)
class Fixed:
    """One number that no sampler sees: it follows another value of the recipe by the factor of its axis.

    Raises:
        SpaceError: It is not a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        if not _is_number(self.value) or not math.isfinite(self.value):
            hint = "; YAML reads 1e-3 as text, write 1.0e-3" if isinstance(self.value, str) else ""
            raise SpaceError(f"a fixed value must be a finite number, got {self.value!r}{hint}")

    def encode(self, value: Scalar) -> float:
        """The middle: there is only one place."""
        return 0.5

    def decode(self, unit: float) -> float:
        """The number, wherever ``unit`` is."""
        return self.value

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is that number."""
        return value == self.value

    def extremes(self) -> tuple[float]:
        """That number."""
        return (self.value,)

    def spec(self) -> dict[str, float]:
        """``{fixed: value}``."""
        return {"fixed": self.value}


KINDS: Mapping[str, str] = {"log": "[low, high]", "uniform": "[low, high]", "choice": "[value, ...]"}
"""How a study file writes each kind of dimension that varies."""


def parse_dimension(spec: object) -> Dimension:
    """The dimension that a study file writes as ``{log: [0.01, 10]}``, ``{uniform: ...}`` or ``{choice: ...}``.

    ``{fixed: 0.1}`` is one, too: that of a value which does not vary itself.

    Args:
        spec: A mapping with one key.

    Raises:
        SpaceError: It is not such a mapping, or the range is impossible.
    """
    if isinstance(spec, Mapping) and len(spec) == 1 and "fixed" in spec:
        return Fixed(spec["fixed"])
    usage = "write it as " + " or ".join(f"{{{kind}: {form}}}" for kind, form in KINDS.items())
    if not isinstance(spec, Mapping) or len(spec) != 1 or next(iter(spec)) not in KINDS:
        raise SpaceError(f"a dimension must have exactly one kind, got {spec!r}; {usage}")
    kind, values = next(iter(spec.items()))
    if not isinstance(values, list | tuple):
        raise SpaceError(f"{kind} must have a list, got {values!r}; {usage}")
    if kind == "choice":
        if not all(isinstance(value, Scalar) for value in values):
            raise SpaceError(f"a choice must name plain values, got {list(values)}")
        return Choice(tuple(values))
    if len(values) != 2 or not all(_is_number(value) for value in values):
        written = "; YAML reads 1e-3 as text, write 1.0e-3" if any(isinstance(value, str) for value in values) else ""
        raise SpaceError(f"a {kind} range must have two numbers, got {list(values)}{written or f'; {usage}'}")
    return (LogUniform if kind == "log" else Uniform)(float(values[0]), float(values[1]))
