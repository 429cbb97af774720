"""What may vary: dimensions, conditions, requirements, search spaces, and the spaces of the papers."""

from spaces.axis import Axis
from spaces.dimensions import KINDS, Choice, Dimension, Grid, parse_dimension
from spaces.errors import SpaceError
from spaces.expressions import ABBREVIATIONS, Expression
from spaces.learning_rate import RULES, rescaled
from spaces.points import MOST_GRID_POINTS
from spaces.ranges import Integer, LogUniform, Uniform
from spaces.scalars import Scalar
from spaces.space import Coordinates, SearchSpace
from spaces.temperatures import (
    ALPHA,
    BETA,
    COARSE_ALPHA,
    DEFAULT_SPACES,
    FINE_ALPHA,
    GAP,
    LAMBDA,
    LOGIT_NORM,
    ORDERED_TEMPERATURES,
    PLAIN,
    TAU1,
    default_space,
)

__all__ = [
    "ABBREVIATIONS",
    "ALPHA",
    "BETA",
    "COARSE_ALPHA",
    "DEFAULT_SPACES",
    "FINE_ALPHA",
    "GAP",
    "KINDS",
    "LAMBDA",
    "LOGIT_NORM",
    "MOST_GRID_POINTS",
    "ORDERED_TEMPERATURES",
    "PLAIN",
    "RULES",
    "TAU1",
    "Axis",
    "Choice",
    "Coordinates",
    "Dimension",
    "Expression",
    "Grid",
    "Integer",
    "LogUniform",
    "Scalar",
    "SearchSpace",
    "SpaceError",
    "Uniform",
    "default_space",
    "parse_dimension",
    "rescaled",
]
