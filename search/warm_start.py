"""Warm start: what an earlier study found is told to the samplers of a new one, from the first proposal on.

The trials are copied into the new study's folder when it begins, so that its decisions stay functions of what lies
there, whatever becomes of the earlier study.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from results.facts import find_study, load_facts
from results.formats import listed
from results.places import Place, write_whole
from results.schema import TrialState
from results.store import read_rows
from search.errors import Mistake, StudyFileError
from search.folder import open_study
from search.history import History
from search.proposing import Known
from search.sampler import Observation
from search.study import Study
from trainables.values import flatten

FILE = "warm_start.json"

_REQUIRED = ("dataset", "image_size", "epochs", "train_samples")
"""What a recipe must have in common with that of an earlier trial, for the trial's value to mean the same."""

_VARIES = "searched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What an earlier study has to say."""

    known: Known
    """Its trials that count, by arm."""
    remarks: tuple[str, ...]
    """Why their values may mean something else here, a sentence each."""


def known_for(study: Study, folder: Place) -> Known:
    """What a study's samplers know from the start, by arm; copied into its folder at the first time.

    Raises:
        ResultsError: There is no earlier study of that name, or its records cannot be read.
        StudyFileError: Nothing of it can be used.
    """
    if study.search.warm_start is None:
        return {}
    path = folder / FILE
    if not path.exists():
        found = gather(study, folder.parent, load_facts(folder).data.digest)
        plain = {
            arm: [[seen.coordinates, seen.state, seen.epochs, seen.value] for seen in observations]
            for arm, observations in found.known.items()
        }
        write_whole(path, json.dumps(plain) + "\n")
    return {
        arm: [
            Observation(coordinates=coordinates, state=TrialState(state), epochs=epochs, value=value)
            for coordinates, state, epochs, value in observations
        ]
        for arm, observations in json.loads(path.read_text(encoding="utf-8")).items()
    }


def gather(study: Study, root: Place, digest: str | None = None) -> Gathered:
    """The ended trials of the earlier study that lie in this one's space, by arms of the same name.

    Args:
        study: The new one.
        root: Where both are.
        digest: Of the data that it is trained on; None if that is not known.

    Returns:
        The trials; differences of the recipes beside the space are remarks, since how much they matter nobody knows.

    Raises:
        ResultsError: There is no such study, or its records cannot be read.
        StudyFileError: It measured something else, or none of its trials lies in the space.
    """
    assert study.search.warm_start is not None
    folder = find_study(root, study.search.warm_start)
    _, earlier = open_study(folder)
    mistakes = [
        Mistake("search.warm_start", f"the earlier study must have the same {problem}", "Name another, or leave it out")
        for problem in _obstacles(study, earlier)
    ]
    data = load_facts(folder).data
    if digest and data.digest and digest != data.digest:
        problem = f"the earlier study must be trained on the same data, and {earlier.name} has another {data.name}"
        mistakes.append(Mistake("search.warm_start", problem, "Name another, or leave it out"))
    if mistakes:
        raise StudyFileError(mistakes)
    history = History.fold(read_rows(folder))
    known = {arm: _of_arm(study, arm, history) for arm in study.arms}
    if not any(known.values()):
        problem = f"a trial of {earlier.name} must lie in the space of an arm of the same name, and none does"
        raise StudyFileError([Mistake("search.warm_start", problem, f"Its arms: {', '.join(earlier.arms)}")])
    remarks = list(_remarks(study, earlier))
    if not (digest and data.digest):
        remarks.append(f"Whether {earlier.name} was trained on the very same {data.name} is not on record.")
    return Gathered(known=known, remarks=tuple(remarks))


def _obstacles(study: Study, earlier: Study) -> Iterator[str]:
    """What is not the same, though it must be."""
    if study.search.metric != earlier.search.metric:
        yield f"search.metric, {study.search.metric}, and {earlier.name} has {earlier.search.metric}"
    differences = (d for arm in _common(study, earlier) for d in _differences(study, earlier, arm))
    for path, here, there in dict.fromkeys(differences):
        if path in _REQUIRED and there != _VARIES:
            yield f"recipe.{path}, {here}, and {earlier.name} has {there}"


def _remarks(study: Study, earlier: Study) -> Iterator[str]:
    """What differs beside the space and may matter."""
    arms = _common(study, earlier)
    found: dict[str, list[str]] = {}
    for arm in arms:
        for path, here, there in _differences(study, earlier, arm):
            if path not in _REQUIRED:
                found.setdefault(f"{path} ({here} here, {there} there)", []).append(arm)
    for name in study.needed_teachers:
        if name in earlier.teachers and study.teachers[name] != earlier.teachers[name]:
            found[f"the recipe of the teacher {name}"] = arms
    if found:
        words = [f"{text}{'' if here == arms else f' in arm {listed(here)}'}" for text, here in found.items()]
        yield (
            f"{earlier.name}, from which the search starts, differs beside the space in {listed(words)}: its values "
            "may mean something else."
        )


def _common(study: Study, earlier: Study) -> list[str]:
    return [arm for arm in study.arms if arm in earlier.arms]


def _differences(study: Study, earlier: Study, arm: str) -> Iterator[tuple[str, str, str]]:
    """Paths of an arm's recipe that do not vary here, with the value here and there, where these differ."""
    space, before = study.arm_space(arm), earlier.arm_space(arm)
    for path, here in study.fixed[arm].items():
        if path in space.entries:
            continue
        if path in before.entries:
            yield path, _word(here), _VARIES
        elif path in earlier.fixed[arm] and earlier.fixed[arm][path] != here:
            yield path, _word(here), _word(earlier.fixed[arm][path])


def _word(value: object) -> str:
    return "null" if value is None else str(value)


def _of_arm(study: Study, arm: str, history: History) -> list[Observation]:
    space, fixed, found = study.arm_space(arm), study.fixed[arm], []
    for trial in history.of(arm):
        if not trial.state.is_final:
            continue
        recipe = flatten(trial.recipe)
        if any(recipe.get(path) != fixed.get(path) for path in _REQUIRED if path not in space.entries):
            continue
        values = {path: recipe[path] for path in space.axes if recipe.get(path) is not None}
        coordinates = space.coordinates_of(values, {**fixed, **recipe})
        if coordinates is not None and space.contains(coordinates):
            seen = trial.observation(study.search.metric)
            found.append(Observation(coordinates=coordinates, state=seen.state, epochs=seen.epochs, value=seen.value))
    return found
