"""SearchSpace: which values of a recipe vary, over what, and in which coordinates."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from spaces.dimensions import Dimension, Fixed, Scalar, parse_dimension, sample
from spaces.errors import SpaceError

Coordinates = Mapping[str, Scalar]
"""What a sampler chooses: a value for every dimension, by dotted recipe path."""

_TIMES = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(?:\*\*\s*([+-]?\d+(?:\.\d+)?))?\s*")


@dataclass(frozen=True, slots=True)
class Scale:
    """A factor ``value_of(path) ** exponent`` between a coordinate and the value in the recipe."""

    path: str
    exponent: float

    @classmethod
    def parse(cls, text: object) -> Scale:
        """The factor that a study file writes as ``"loss.beta ** -1"``.

        Raises:
            SpaceError: It is not a path, or a path to the power of a number.
        """
        match = _TIMES.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise SpaceError(f"times must be a recipe path to a power, got {text!r}; write it as 'loss.beta ** -1'")
        return cls(match[1], float(match[2] or 1))

    def spec(self) -> str:
        """The factor as a study file writes it."""
        return f"{self.path} ** {self.exponent:g}"


@dataclass(frozen=True, slots=True)
class Axis:
    """A dimension, with the factor that turns its coordinate into the recipe's value.

    With a fixed dimension it does not vary by itself, but follows the value that the factor names.

    Raises:
        SpaceError: The dimension is fixed, and there is no factor.
    """

    dimension: Dimension
    times: Scale | None = None

    def __post_init__(self) -> None:
        if isinstance(self.dimension, Fixed) and self.times is None:
            raise SpaceError(
                f"a fixed value must have times, got {{fixed: {self.dimension.value}}} alone; "
                "a value that follows no other belongs in the recipe"
            )

    @classmethod
    def parse(cls, spec: object) -> Axis:
        """The axis that a study file writes as ``{log: [0.001, 1], times: "loss.beta ** -1"}``.

        A value that only follows another one is written as ``{fixed: 5.0e-4, times: "loss.beta ** 1"}``.

        Raises:
            SpaceError: The dimension or the factor is not possible.
        """
        if not isinstance(spec, Mapping) or "times" not in spec:
            return cls(parse_dimension(spec))
        dimension = parse_dimension({key: value for key, value in spec.items() if key != "times"})
        return cls(dimension, Scale.parse(spec["times"]))

    def spec(self) -> dict[str, object]:
        """The axis as a study file writes it."""
        return {**self.dimension.spec(), **({"times": self.times.spec()} if self.times else {})}


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The values of a recipe that a study searches, and those that follow them.

    A coordinate may be rescaled: with ``times: "loss.beta ** -1"`` the sampler moves in ``lr * beta``, in which
    the best learning rate hardly depends on beta (methods.md A.5), and the recipe gets ``lr = coordinate / beta``.

    A derived value has no coordinate: with ``{fixed: 5.0e-4, times: "loss.beta ** 1"}`` the recipe gets
    ``5.0e-4 * beta``. Samplers and coordinates do not know it.

    Attributes:
        entries: Everything, by dotted path.

    Raises:
        SpaceError: A factor names its own path, or one that is itself rescaled.
    """

    entries: Mapping[str, Axis]

    def __post_init__(self) -> None:
        for path, axis in self.entries.items():
            if axis.times is None:
                continue
            other = self.entries.get(axis.times.path)
            if axis.times.path == path or (other is not None and other.times is not None):
                raise SpaceError(
                    f"times must name a value that is not rescaled itself, got {axis.times.path} for {path}"
                )

    @property
    def axes(self) -> dict[str, Axis]:
        """What varies."""
        return {path: axis for path, axis in self.entries.items() if not isinstance(axis.dimension, Fixed)}

    @property
    def derived(self) -> dict[str, Axis]:
        """What follows another value and does not vary by itself."""
        return {path: axis for path, axis in self.entries.items() if isinstance(axis.dimension, Fixed)}

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """Coordinates drawn evenly, each dimension in its own scale."""
        return {path: sample(axis.dimension, rng) for path, axis in self.axes.items()}

    def contains(self, coordinates: Coordinates) -> bool:
        """Whether the coordinates have exactly the paths that vary, each with a possible value."""
        axes = self.axes
        return coordinates.keys() == axes.keys() and all(
            axes[path].dimension.contains(value) for path, value in coordinates.items()
        )

    def without(self, paths: Collection[str]) -> SearchSpace:
        """The space in which these paths no longer vary, nor follow another value."""
        return SearchSpace({path: axis for path, axis in self.entries.items() if path not in paths})

    def resolve(self, coordinates: Coordinates, fixed: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The recipe's values at these coordinates.

        Args:
            coordinates: A value for every dimension that varies.
            fixed: Values of the recipe that factors may name and that do not vary, by dotted path.

        Returns:
            A value for every path of the space, derived ones included.

        Raises:
            SpaceError: A factor names a path with no number to it.
        """
        values = {**fixed, **coordinates}
        params = dict(coordinates)
        for path, axis in self.entries.items():
            if axis.times is None:
                continue
            base = values.get(axis.times.path)
            if isinstance(base, bool) or not isinstance(base, int | float):
                raise SpaceError(f"times of {path} must name a number of the recipe, got {axis.times.path} = {base!r}")
            unscaled = axis.dimension.value if isinstance(axis.dimension, Fixed) else coordinates[path]
            params[path] = float(unscaled) * float(base) ** axis.times.exponent
        return params
