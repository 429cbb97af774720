"""Warm start: what an earlier study found is told to the samplers of a new one, from the first proposal on.

The trials are copied into the new study's folder when it begins, so that its decisions stay functions of what lies
there, whatever becomes of the earlier study.
"""

from __future__ import annotations

import json
from pathlib import Path

from results.facts import find_study
from results.schema import TrialState
from results.store import read_rows
from search.errors import Mistake, StudyFileError
from search.folder import open_study, write_whole
from search.history import History
from search.proposing import Known
from search.sampler import Observation
from search.study import Study
from trainables.values import flatten

FILE = "warm_start.json"

_COMPARED = ("recipe.dataset", "recipe.image_size", "recipe.epochs", "search.metric")
"""What the earlier study must have in common, for its values to mean the same."""


def known_for(study: Study, folder: Path) -> Known:
    """What a study's samplers know from the start, by arm; copied into its folder at the first time.

    Raises:
        ResultsError: There is no earlier study of that name, or its records cannot be read.
        StudyFileError: Nothing of it can be used.
    """
    if study.search.warm_start is None:
        return {}
    path = folder / FILE
    if not path.exists():
        found = gather(study, folder.parent)
        plain = {
            arm: [[seen.coordinates, seen.state, seen.epochs, seen.value] for seen in observations]
            for arm, observations in found.items()
        }
        write_whole(path, json.dumps(plain) + "\n")
    return {
        arm: [
            Observation(coordinates=coordinates, state=TrialState(state), epochs=epochs, value=value)
            for coordinates, state, epochs, value in observations
        ]
        for arm, observations in json.loads(path.read_text(encoding="utf-8")).items()
    }


def gather(study: Study, root: Path) -> Known:
    """The ended trials of the earlier study that lie in this one's space, by arms of the same name.

    Args:
        study: The new one.
        root: Where both are.

    Raises:
        ResultsError: There is no such study, or its records cannot be read.
        StudyFileError: It measured something else, or none of its trials lies in the space.
    """
    assert study.search.warm_start is not None
    folder = find_study(root, study.search.warm_start)
    _, earlier = open_study(folder)
    mine, theirs = (flatten(each.model_dump(mode="json")) for each in (study, earlier))
    mistakes = [
        Mistake(
            "search.warm_start",
            f"the earlier study must have the same {key}, {mine[key]}, and {earlier.name} has {theirs[key]}",
            "Name another one, or leave it out",
        )
        for key in _COMPARED
        if mine.get(key) != theirs.get(key)
    ]
    if mistakes:
        raise StudyFileError(mistakes)
    history = History.fold(read_rows(folder))
    found = {arm: _of_arm(study, arm, history) for arm in study.arms}
    if not any(found.values()):
        problem = f"a trial of {earlier.name} must lie in the space of an arm of the same name, and none does"
        raise StudyFileError([Mistake("search.warm_start", problem, f"Its arms: {', '.join(earlier.arms)}")])
    return found


def _of_arm(study: Study, arm: str, history: History) -> list[Observation]:
    space, found = study.arm_space(arm), []
    for trial in history.of(arm):
        if not trial.state.is_final:
            continue
        recipe = flatten(trial.recipe)
        values = {path: recipe[path] for path in space.axes if recipe.get(path) is not None}
        coordinates = space.coordinates_of(values, {**study.fixed[arm], **recipe})
        if coordinates is not None and space.contains(coordinates):
            seen = trial.observation(study.search.metric)
            found.append(Observation(coordinates=coordinates, state=seen.state, epochs=seen.epochs, value=seen.value))
    return found
