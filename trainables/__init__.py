"""What one trial does: the recipe, losses, networks, data and the training engine.

Importing this package loads neither torch nor ray; the parts that need torch (``trainables.losses``,
``trainables.engine``, a :class:`TrialSession` at work) load it when they are imported or used, and only
``trainables.trial`` knows ray.
"""

from trainables.data import DATASETS, check_dataset, prepare
from trainables.models import build, check_model
from trainables.recipe import Recipe
from trainables.session import TrialConfig, TrialSession

__all__ = [
    "DATASETS",
    "Recipe",
    "TrialConfig",
    "TrialSession",
    "build",
    "check_dataset",
    "check_model",
    "prepare",
]
