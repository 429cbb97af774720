"""What may vary: dimensions, search spaces, and the spaces of the papers."""

from spaces.dimensions import Choice, Dimension, LogUniform, Scalar, Uniform
from spaces.errors import SpaceError
from spaces.space import Axis, Coordinates, Scale, SearchSpace
from spaces.temperatures import DEFAULT_SPACES, PLAIN

__all__ = [
    "DEFAULT_SPACES",
    "PLAIN",
    "Axis",
    "Choice",
    "Coordinates",
    "Dimension",
    "LogUniform",
    "Scalar",
    "Scale",
    "SearchSpace",
    "SpaceError",
    "Uniform",
]
