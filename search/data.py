"""Whether the data of a study are there, and are what its recipes need."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from functools import cache

from pydantic import ValidationError

from results.places import Place
from search.errors import Mistake, StudyFileError, ThermotuneError
from search.study import Study, is_switch
from trainables.data import PackedDataset, Progress, prepare, source_of
from trainables.fit import misfits, misfits_of_kind, misfits_of_ranks
from trainables.loss_settings import RecipeWarning
from trainables.models import build, family_of
from trainables.recipe import Recipe
from trainables.values import with_values

_FEW_CPUS = 4
"""Fewer processes than this can hardly decode images as fast as a GPU takes them."""


def check_data(study: Study, progress: Progress | None = None) -> PackedDataset:
    """Packs the study's data set, unless that has been done, and checks that every recipe fits it.

    Args:
        study: Names the data set.
        progress: Hears what takes time.

    Raises:
        StudyFileError: It cannot be had on this machine, or is not what a recipe needs.
    """
    try:
        data = prepare(study.recipe.dataset, progress=progress)
    except (OSError, ValueError) as error:
        problem = f"the data set {study.recipe.dataset} must be there, but: {error}"
        raise StudyFileError([Mistake("recipe.dataset", problem)]) from error
    found = _by_place(
        study, ((where, problem) for where, recipe in _recipes(study) for problem in _misfits(recipe, data))
    )
    if found:
        raise StudyFileError([Mistake(where, problem) for where, problem in found])
    return data


def check_same(data: PackedDataset, folder: Place) -> None:
    """Checks that the data are those with which a study began.

    Args:
        data: As they are now.
        folder: Of the study.

    Raises:
        ThermotuneError: They are others, so that new trials could not be compared with old ones.
    """
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):  # of a study that did not record them
        known = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["data"]
        if known["digest"] != data.digest:
            raise ThermotuneError(
                f"the data set {data.name} must be the one with which {folder.name} began (digest "
                f"{known['digest'][:12]}, from {known['source']}), but it was packed anew since (digest "
                f"{data.digest[:12]}, from {data.source}). Pack the old one again, or submit a new study"
            )


def unfit_kinds(study: Study) -> list[tuple[str, str]]:
    """What can be told before the data are there: where in the file, and what is wrong."""
    source = source_of(study.recipe.dataset)
    return _by_place(
        study,
        (
            (where, problem)
            for where, recipe in _recipes(study)
            for problem in (
                *misfits_of_kind(recipe, source.name, source.kind, source.storage),
                *misfits_of_ranks(recipe, study.resources.ranks),
            )
        ),
    )


def remarks(study: Study) -> Iterator[str]:
    """What is possible on the resources that a trial gets, but will be slow."""
    gpus, cpus = study.resources.gpus, study.resources.cpus
    streamed = source_of(study.recipe.dataset).storage == "streamed"
    if gpus == 0 and any(recipe.compute.precision == "fp16" for _, recipe in _recipes(study)):
        yield "compute.precision fp16 is slow on a CPU, where trials run with resources.gpus 0; use bf16, or a GPU"
    if gpus == 0 and streamed:
        yield f"trials train on the CPU with resources.gpus 0, which takes long on {study.recipe.dataset}"
    if gpus > 0 and streamed and cpus < _FEW_CPUS:
        yield f"a GPU waits for images that few processes decode, got resources.cpus {cpus:g}; 8 or more are usual"


def _misfits(recipe: Recipe, data: PackedDataset) -> list[str]:
    found = misfits(recipe, data)
    if not found and family_of(recipe.model)[0].is_library:  # only a trial tells what these can read
        size = recipe.image_size
        shape = (data.input_shape[0], size, size) if size else data.input_shape
        found += _unreadable(recipe.model, shape, data.num_classes)
    return found


@cache
def _unreadable(model: str, shape: tuple[int, ...], classes: int) -> tuple[str, ...]:
    """Why an image network cannot read samples of a shape; many recipes of a study share their network."""
    try:
        build(model, input_shape=shape, num_classes=classes, seed=0)
    except ValueError as error:
        return (str(error),)
    return ()


def _recipes(study: Study) -> list[tuple[str, Recipe]]:
    """The recipe of every arm and teacher, and of every arm with one value moved to an end of its range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecipeWarning)  # what is hardly wanted was said when the file was read
        found = [(f"arms.{arm}", Recipe.model_validate(study.arm_values(arm))) for arm in study.arms]
        for arm in study.arms:
            for path, axis in study.arm_space(arm).axes.items():
                for value in axis.dimension.extremes():
                    moved = study.arm_values(arm, {path: value}) if is_switch(path) else study.arm_values(arm)
                    moved = with_values(moved, {path: value})
                    with contextlib.suppress(ValidationError):  # possible only together with other values
                        found.append((f"space.{path}", Recipe.model_validate(moved)))
    return found + [(f"teachers.{name}.recipe", study.teachers[name].recipe) for name in study.needed_teachers]


def _by_place(study: Study, found: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Every problem once, where it comes from: what all arms have is the recipe's."""
    places: dict[str, list[str]] = {}
    for where, problem in found:
        places.setdefault(problem, []).append(where)
    arms = {f"arms.{arm}" for arm in study.arms}
    return [("recipe" if arms <= set(where) else where[0], problem) for problem, where in places.items()]
