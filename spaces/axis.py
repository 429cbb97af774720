"""Axis: one value of a recipe that varies or follows others, and under which condition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from spaces.dimensions import Dimension, parse_dimension
from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.scalars import Scalar, is_number, written


@dataclass(frozen=True, slots=True)
class _Nothing:
    """The dimension of what has no coordinate: no value, no place."""

    is_ordered: ClassVar[bool] = False
    count: ClassVar[int] = 0
    values: ClassVar[tuple[Scalar, ...]] = ()

    def encode(self, value: Scalar) -> float:
        raise SpaceError(f"a value that follows others has no place in a dimension, got {value}")

    def decode(self, unit: float) -> Scalar:
        raise SpaceError(f"a value that follows others cannot be drawn, got place {unit:g}")

    def contains(self, value: Scalar) -> bool:
        return False

    def snap(self, value: Scalar) -> None:
        return None

    def extremes(self) -> tuple[Scalar, ...]:
        return ()

    def spec(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class Axis:
    """A dimension, with the factor that turns its coordinate into the recipe's value, and when there is one at all.

    Attributes:
        dimension: What the coordinate varies over. Of a value that follows others: nothing.
        times: A formula > 0 of other recipe values, by which the coordinate is multiplied.
        when: The recipe values, by dotted path, under which the axis is there: one of each must be the case.
        equals: The formula of a value that only follows others.

    Raises:
        SpaceError: Beside ``equals`` stands a dimension or a factor, neither stands there, words are multiplied, or a
            factor is a condition.
    """

    dimension: Dimension = field(default_factory=_Nothing)
    times: Expression | None = None
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    equals: Expression | None = None

    def __post_init__(self) -> None:
        if self.equals is not None and (self.times is not None or self.dimension != _Nothing()):
            raise SpaceError(
                f"equals must stand without a dimension and without times, got equals {self.equals.text!r} beside "
                f"{written({**self.dimension.spec(), **self._spec_of_times()})}; leave one out"
            )
        if self.equals is None and self.dimension == _Nothing():
            raise SpaceError(
                "an axis must have a dimension or equals, got neither; a fixed value belongs in the recipe"
            )
        if self.times is not None and self.times.is_condition:
            raise SpaceError(f"times must be a number, got the condition {self.times.text!r}; write it as when")
        if self.times is not None and not all(is_number(value) for value in self.dimension.extremes()):
            raise SpaceError(f"times must stand beside numbers, got {written(self.dimension.spec())}; leave times out")

    @classmethod
    def parse(cls, spec: object) -> Axis:
        """The axis that a study file writes as ``{log: [0.001, 1], times: "loss.beta ** -1"}``.

        Beside a dimension may also stand ``when: {loss.name: tampered}``. A value that only follows others is
        ``{equals: "0.0005 * loss.beta"}``.

        Raises:
            SpaceError: The dimension, a formula or the condition is not possible.
        """
        if not isinstance(spec, Mapping):
            return cls(parse_dimension(spec))
        dimension = {key: value for key, value in spec.items() if key not in ("times", "when", "equals")}
        if not dimension and "equals" not in spec and ("times" in spec or "when" in spec):
            raise SpaceError(
                f"an axis must have a dimension or equals, got {written(spec)}; a fixed value belongs in the recipe"
            )
        times, equals = (Expression.parse(spec[key]) if key in spec else None for key in ("times", "equals"))
        when = dict(_conditions(spec["when"])) if "when" in spec else {}
        if equals is not None and not dimension:
            return cls(times=times, when=when, equals=equals)
        return cls(parse_dimension(dimension), times, when, equals)

    @property
    def follows(self) -> bool:
        """Whether it has no coordinate, but only follows others."""
        return self.equals is not None

    @property
    def formula(self) -> Expression | None:
        """``times`` or ``equals``, whichever there is."""
        return self.times or self.equals

    @property
    def names(self) -> frozenset[str]:
        """The recipe values that ``times`` or ``equals`` needs, by dotted path."""
        return self.formula.names if self.formula else frozenset()

    def bound(self, known: Collection[str]) -> Axis:
        """The axis with short names in its formula written out; see :meth:`Expression.bound`.

        Raises:
            SpaceError: A name fits no path or several.
        """
        return replace(
            self,
            times=self.times and self.times.bound(known),
            equals=self.equals and self.equals.bound(known),
        )

    def spec(self) -> dict[str, Any]:  # Any: what YAML holds
        """The axis as a study file writes it."""
        when = {path: values[0] if len(values) == 1 else list(values) for path, values in self.when.items()}
        return {
            **self.dimension.spec(),
            **self._spec_of_times(),
            **({"equals": self.equals.text} if self.equals else {}),
            **({"when": when} if when else {}),
        }

    def _spec_of_times(self) -> dict[str, str]:
        return {"times": self.times.text} if self.times else {}


def _conditions(when: object, prefix: str = "") -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    """The values under which an axis is there, by dotted path; ``{loss: {name: x}}`` is as good as ``{loss.name: x}``.

    Raises:
        SpaceError: It is no mapping, or one without values.
    """
    usage = "write it as {loss.name: tampered} or {loss.name: [tempered, tampered]}"
    if not isinstance(when, Mapping) or not when:
        raise SpaceError(f"when must have recipe paths and their values, got {written(when)}; {usage}")
    for key, value in when.items():
        if isinstance(value, Mapping):
            yield from _conditions(value, f"{prefix}{key}.")
            continue
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        if not values or not all(isinstance(item, Scalar) for item in values):
            raise SpaceError(f"when must have plain values, got {written(value)} for {prefix}{key}; {usage}")
        yield f"{prefix}{key}", values
