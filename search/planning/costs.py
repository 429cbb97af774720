"""What is known of the costs of a study's trials, wherever it comes from; and which trials cost the same."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.study import Study
from spaces import Coordinates
from trainables.data import PackedDataset
from trainables.recipe import Recipe

EVALUATION = 1 / 3
"""Cost of evaluating a sample, as a share of that of training on it: there are no passes back."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a trial of one kind takes while all slots work.

    Attributes:
        epoch_s: An epoch of one lane, evaluation included.
        start_s: Before the first epoch of a lane, in a process that has trained others, and what that takes longer.
        save_s: Writing a checkpoint.
        test_s: Evaluating the test split, as stage confirm does at the end of a trial.
        metrics: Values on record for an epoch of a lane.
        checkpoint_bytes: Size of a checkpoint of a search trial; None if not known.
        basis: How the epoch was measured, in words.
    """

    epoch_s: float
    start_s: float
    save_s: float
    test_s: float
    metrics: int
    checkpoint_bytes: int | None
    basis: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of the costs of a study.

    Attributes:
        costs: By name of the arm, or of the teacher.
        source: Where they come from, in words.
        slots: Trials that shared the machine meanwhile.
        took_s: How long it took to find out.
        import_s: Until a process has loaded what a trial needs, with all slots at it; None if not known.
        memory_bytes: Most memory that a process took; None if not known.
        gpu_memory_bytes: Most memory of a GPU that a process held; None without a GPU, and if not known.
        gpu_total_bytes: All memory of such a GPU, likewise.
    """

    costs: Mapping[str, Cost]
    source: str
    slots: int
    took_s: float = 0.0
    import_s: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    gpu_total_bytes: int | None = None


def training_samples(recipe: Recipe, data: PackedDataset) -> int:
    """Samples that an epoch trains on."""
    return recipe.train_samples or data.sizes["train"]


def seconds_of_test(epoch_s: float, recipe: Recipe, data: PackedDataset) -> float:
    """What evaluating the test split should take, by rule of thumb: a probe must not open it.

    Args:
        epoch_s: An epoch's training, and evaluation of the validation split.
        recipe: What is trained.
        data: On which.
    """
    samples = training_samples(recipe, data) + EVALUATION * data.sizes["val"]
    return epoch_s * EVALUATION * data.sizes["test"] / samples


def recipes_to_cost(study: Study, trained: Collection[str]) -> dict[str, Recipe]:
    """A recipe of everything that a study trains: by name of the teacher, then of the arm.

    Args:
        study: What is planned.
        trained: Teachers that are on the shelf, and will not be trained again.
    """
    recipes = {name: study.teachers[name].recipe for name in study.needed_teachers if name not in trained}
    return recipes | {arm: middle_recipe(study, arm) for arm in study.arms}


def middle_recipe(study: Study, arm: str) -> Recipe:
    """The recipe of an arm in the middle of its space."""
    return study.resolve(arm, middle_point(study, arm))[1]


def middle_point(study: Study, arm: str) -> Coordinates:
    """The middle of an arm's space, or a drawn point where ``require`` rules the middle out."""
    space, fixed = study.arm_space(arm), study.fixed[arm]
    point = space.only_active({path: axis.dimension.decode(0.5) for path, axis in space.axes.items()})
    return point if space.feasible(point, fixed) else space.sample(np.random.default_rng(study.search.seed), fixed)


def kind_of(recipe: Recipe) -> str:
    """What of a recipe decides how long its epochs take: not how many there are, nor the values of real numbers.

    Whether a number is zero counts, since much is left out then.
    """

    def blank(value: Any) -> Any:  # Any: JSON
        if isinstance(value, Mapping):
            return {key: blank(inner) for key, inner in value.items()}
        return bool(value) if isinstance(value, float) else value

    timeless = {
        key: value for key, value in recipe.model_dump(mode="json").items() if key not in ("epochs", "schedule")
    }
    return json.dumps(blank(timeless), sort_keys=True)
