"""What every dimension of a search space can do, those that list their values, and how a study file writes them all."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from spaces.errors import SpaceError
from spaces.ranges import Integer, LogUniform, Uniform
from spaces.scalars import TOLERANCE, Scalar, is_finite, is_number, is_same, written


class Dimension(Protocol):
    """What every dimension can do."""

    is_ordered: ClassVar[bool]
    """Whether neighbours in ``encode`` are alike, so that a model may learn from one about the other."""

    @property
    def count(self) -> int | None:
        """How many values there are; None if there is no end to them."""

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        """All values in their order; None if there is no end to them."""

    def encode(self, value: Scalar) -> float:
        """The place of ``value`` in the unit interval."""

    def decode(self, unit: float) -> Scalar:
        """The value at ``unit`` in [0, 1]; the inverse of ``encode``."""

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` may be proposed."""

    def snap(self, value: Scalar) -> Scalar | None:
        """The possible value that ``value`` is but for rounding; None if it is none."""

    def extremes(self) -> Sequence[Scalar]:
        """Values that are legal if every value of the dimension is: both ends, or all listed."""

    def spec(self) -> dict[str, Any]:  # Any: a list, or a number beside it
        """The dimension as a study file writes it."""


def sample(dimension: Dimension, rng: np.random.Generator) -> Scalar:
    """A value drawn evenly from the dimension, in its own scale."""
    return dimension.decode(float(rng.random()))


@dataclass(frozen=True, slots=True)
class _Listed:
    """Values one after the other, each with the same share of the unit interval."""

    values: tuple[Scalar, ...]

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        if not self.values:
            raise SpaceError(f"a {self.kind} must name at least one value, got []")
        if len(set(self.values)) < len(self.values):
            raise SpaceError(f"a {self.kind} must name every value once, got {written(self.values)}")
        if any(is_number(value) and not is_finite(value) for value in self.values):
            raise SpaceError(f"a {self.kind} must name finite numbers, got {written(self.values)}")

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)

    def encode(self, value: Scalar) -> float:
        """The middle of the value's share of the unit interval."""
        return ([is_same(value, mine) for mine in self.values].index(True) + 0.5) / len(self.values)

    def decode(self, unit: float) -> Scalar:
        """The value whose share of the unit interval holds ``unit``."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def contains(self, value: Scalar) -> bool:
        """Whether ``value`` is one of the values."""
        return any(is_same(value, mine) for mine in self.values)

    def snap(self, value: Scalar) -> Scalar | None:
        """The possible value that ``value`` is but for rounding; None if it is none."""
        for mine in self.values:
            if is_same(value, mine):
                return mine
            if is_number(value) and is_number(mine) and math.isclose(value, mine, rel_tol=TOLERANCE):
                return mine
        return None

    def extremes(self) -> tuple[Scalar, ...]:
        """All values."""
        return self.values

    def spec(self) -> dict[str, list[Scalar]]:
        """``{choice: [...]}`` or ``{grid: [...]}``."""
        return {self.kind: list(self.values)}


@dataclass(frozen=True, slots=True)
class Choice(_Listed):
    """One of a few values, without an order.

    Raises:
        SpaceError: No value, one twice, or a number that is not finite.
    """

    kind: ClassVar[str] = "choice"
    is_ordered: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Grid(_Listed):
    """One of a few numbers or words whose order means something: neighbours are alike.

    Raises:
        SpaceError: As for :class:`Choice`.
    """

    kind: ClassVar[str] = "grid"
    is_ordered: ClassVar[bool] = True


KINDS: Mapping[str, str] = {
    "log": "[low, high]",
    "uniform": "[low, high]",
    "int": "[low, high]",
    "log_int": "[low, high]",
    "choice": "[value, ...]",
    "grid": "[value, ...]",
}
"""How a study file writes each kind of dimension; beside ``uniform`` and ``int`` may stand ``step``."""

_USAGE = "write it as " + ", ".join(f"{{{kind}: {form}}}" for kind, form in KINDS.items())
_STEPPED = ("uniform", "int")


def parse_dimension(spec: object) -> Dimension:
    """The dimension that a study file writes as ``{log: [0.01, 10]}`` or ``{uniform: [0.1, 0.9], step: 0.1}``.

    Args:
        spec: A mapping with one key of :data:`KINDS`, and perhaps ``step``.

    Raises:
        SpaceError: It is not such a mapping, or the range is impossible.
    """
    if not isinstance(spec, Mapping):
        raise SpaceError(f"a dimension must have exactly one kind, got {written(spec)}; {_USAGE}")
    kinds = [key for key in spec if key in KINDS]
    for key in spec:
        if key not in KINDS and key != "step":
            close = difflib.get_close_matches(str(key), [*KINDS, "step"], n=1)
            remedy = f"did you mean {close[0]}?" if close else _USAGE
            raise SpaceError(f"a dimension must have exactly one kind, got {key} in {written(spec)}; {remedy}")
    if len(kinds) != 1:
        raise SpaceError(f"a dimension must have exactly one kind, got {written(spec)}; {_USAGE}")
    kind, listed = kinds[0], spec[kinds[0]]
    if "step" in spec and kind not in _STEPPED:
        raise SpaceError(
            f"a step must stand beside {' or '.join(_STEPPED)}, got {written(spec)}; list what you want as a grid"
        )
    if not isinstance(listed, list | tuple):
        raise SpaceError(f"{kind} must have a list, got {written(listed)}; {_USAGE}")
    if kind in ("choice", "grid"):
        return _listed(kind, listed)
    if len(listed) != 2:
        raise SpaceError(f"a {kind} range must have two numbers, got {written(listed)}; {_USAGE}")
    if kind in ("int", "log_int"):
        ends = [_whole(f"a {kind} range must have two whole numbers", value) for value in listed]
        by = _whole("the step of an int range must be a whole number", spec.get("step", 1))
        return Integer(ends[0], ends[1], by, log=kind == "log_int")
    low, high = (_number(f"a {kind} range must have two numbers", value) for value in listed)
    if kind == "log":
        return LogUniform(low, high)
    return Uniform(low, high, _number("a step must be a number", spec["step"]) if "step" in spec else None)


def _listed(kind: str, values: Sequence[object]) -> Dimension:
    plain = [value for value in values if isinstance(value, Scalar)]
    if len(plain) < len(values) or (kind == "grid" and any(isinstance(value, bool) for value in values)):
        allowed = "plain values" if kind == "choice" else "numbers or words"
        raise SpaceError(f"a {kind} must name {allowed}, got {written(values)}")
    make: Callable[[tuple[Scalar, ...]], Dimension] = Choice if kind == "choice" else Grid
    return make(tuple(plain))


def _number(rule: str, value: object) -> float:
    if not is_number(value):
        hint = "; YAML reads 1e-3 as text, write 1.0e-3" if isinstance(value, str) else ""
        raise SpaceError(f"{rule}, got {value!r}{hint}")
    return float(value) if isinstance(value, float) or is_finite(value) else math.inf  # refused with its range


def _whole(rule: str, value: object) -> int:
    if not is_number(value) or not is_finite(value) or value != value // 1:
        raise SpaceError(f"{rule}, got {value!r}; use uniform, or list them as a grid")
    return int(value)
