"""What is possible in a study, but hardly wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from search import data
from search.consistency import corners, idle
from search.settings import NoStopping
from search.study import Study
from trainables.loss_settings import RecipeWarning


def remarks(study: Study) -> tuple[str, ...]:
    """A sentence each about recipes, data, the stopping rule, the space and the points.

    Args:
        study: A valid one.
    """
    return tuple(dict.fromkeys([*_on_recipes(study), *data.remarks(study), *_on_the_search(study)]))


def _on_recipes(study: Study) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecipeWarning)
        Study.model_validate(study.model_dump(by_alias=True))
        for arm in study.arms:
            for coordinates in corners(study, arm):
                study.resolve(arm, coordinates)
    return [str(warning.message) for warning in caught]


def _on_the_search(study: Study) -> Iterator[str]:
    rule, epochs = study.stopping, study.recipe.epochs
    if not isinstance(rule, NoStopping) and not study.rungs:
        yield (
            f"stopping.grace_epochs should be below the run's {epochs} epochs for the rule to end any trial early, "
            f"got {rule.grace_epochs}"
        )
    for path in idle(study):
        yield f"space.{path} varies in no arm: each sets it, or leaves it out of what it varies"
    for arm in study.arms:
        points, trials = len(study.points(arm)), study.planned_trials(arm)
        if points > trials:
            yield f"search.points has {points} points for arm {arm}, of which only the first {trials} will be tried"
