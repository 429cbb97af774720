"""What may vary: dimensions, search spaces, and the spaces of the papers."""

from spaces.dimensions import Choice, Dimension, Fixed, LogUniform, Scalar, Uniform
from spaces.errors import SpaceError
from spaces.learning_rate import RULES, rescaled
from spaces.space import Axis, Coordinates, Scale, SearchSpace
from spaces.temperatures import DEFAULT_SPACES, PLAIN, default_space

__all__ = [
    "DEFAULT_SPACES",
    "PLAIN",
    "RULES",
    "Axis",
    "Choice",
    "Coordinates",
    "Dimension",
    "Fixed",
    "LogUniform",
    "Scalar",
    "Scale",
    "SearchSpace",
    "SpaceError",
    "Uniform",
    "default_space",
    "rescaled",
]
