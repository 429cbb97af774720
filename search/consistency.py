"""What does not fit together in a study whose sections are valid by themselves."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice, product

import numpy as np
from pydantic import ValidationError

from search.data import unfit_kinds
from search.sampler import unfit
from search.settings import Grid
from search.study import Study
from spaces import Coordinates, Scalar, SpaceError
from spaces.scalars import written
from trainables.teachers import in_order

MOST_CORNERS = 64
INNER_POINTS = 8

WRITE_A_BASELINE = "The file names no baseline, so the plain one is added: write baseline: {...} or baseline: null"

Found = Iterator[tuple[str, str, str]]
"""Dotted key, problem and remedy, one after another."""


def problems(study: Study, *, unwritten: str | None, begun: bool) -> Found:
    """All that does not fit together; what follows from another mistake is not looked for.

    Args:
        study: With its defaults.
        unwritten: An arm that the user did not write, but gets by default.
        begun: Whether the study has begun, so that its points need not lie in what an amendment leaves of the space.
    """
    checks = [
        _of_the_whole(study),
        *([] if begun else [_impossible_points(study)]),
        _impossible_combinations(study, unwritten),
        _impossible_teachers(study),
        _unfit_data(study),
    ]
    for check in checks:  # each looks at what the ones before it found right
        found = list(check)
        yield from found
        if found:
            return


def _of_the_whole(study: Study) -> Found:
    try:
        _ = study.rule
    except ValueError as error:
        yield "stopping", str(error), ""
    if study.budget.gpu_hours is not None and study.resources.gpus == 0:
        yield "budget.gpu_hours", "must be left out where trials use no GPU, resources.gpus is 0", "Give wall_hours"
    plain = [number for number, requirement in enumerate(study.require) if not requirement.is_condition]
    for number in plain:
        text = study.require[number].text
        yield f"require.{number}", f"must be a condition such as 'tau1 > tau2', got {text!r}", ""
    if plain:
        return
    try:
        spaces = study.arm_spaces
    except (SpaceError, ValueError) as error:
        yield "space", str(error), ""
        return
    for path in idle(study):
        if study.space[path].when and any(study.is_searched(path, arm) for arm in study.arms):
            when = study.space[path].spec()["when"]
            yield f"space.{path}.when", f"must be able to hold, got {written(when)}, which is so in no arm", ""
    known = {path for arm in study.arms for values in study.variants(arm) for path in values}
    for number, requirement in enumerate(study.require):
        try:
            requirement.bound(known)
        except SpaceError as error:
            yield f"require.{number}", str(error), ""
    for arm, space in spaces.items():
        why = unfit(space, study.search.sampler) if space.axes else None
        if why is not None:
            yield "search.sampler", f"{why} (arm {arm})", ""


def idle(study: Study) -> list[str]:
    """The paths of the space that play no part in any arm."""
    return [path for path in study.space if not any(path in space.entries for space in study.arm_spaces.values())]


def _impossible_points(study: Study) -> Found:
    """Points to try first that say nothing, name unknown values, lie outside, or break a requirement."""
    varying = {path for arm in study.arms for path in study.arm_space(arm).axes}
    for number, point in enumerate(study.search.points):
        where = f"search.points.{number}"
        if not point:
            yield where, "must name a value to try, got {}", "Leave it out"
        for path in point.keys() - varying:
            yield where, f"must name values that are searched, got {path}", meant(path, varying)
        if point and point.keys() <= varying:
            for arm in study.arms:
                if (problem := _impossible_point(study, arm, point)) is not None:
                    yield where, *problem
                    break


def _impossible_point(study: Study, arm: str, point: Mapping[str, Scalar]) -> tuple[str, str] | None:
    space, fixed = study.arm_space(arm), study.fixed[arm]
    given = {path: value for path, value in point.items() if path in space.axes}
    coordinates = study.coordinates_of_point(arm, point)
    if coordinates is None:
        return f"a point must lie in the space of arm {arm}, got {_listed(given)}", ""
    for path in given.keys() - coordinates.keys():
        axis = space.axes[path]
        conditions = ", ".join(f"{parent} is {' or '.join(map(str, values))}" for parent, values in axis.when.items())
        needs = [name for name in (*axis.when, *sorted(axis.names)) if name in space.axes and name not in point]
        why = f"which counts where {conditions}" if conditions else f"which is rescaled by {', '.join(needs)}"
        remedy = f"Give {' and '.join(needs)} as well" if needs else "Leave it out"
        return f"a point must say all that its values depend on, got {path}, {why} (arm {arm})", remedy
    try:
        if not space.allows(coordinates, fixed):
            conditions = " and ".join(repr(condition.text) for condition in space.require)
            return f"a point must meet require, {conditions}, got {_listed(given)} (arm {arm})", ""
        if coordinates.keys() == space.active(coordinates).keys():
            study.resolve(arm, coordinates)
    except (ValueError, ArithmeticError) as error:
        return f"a point must give a recipe, but {_listed(given)} does not (arm {arm}): {_told(error)}", ""
    return None


def _impossible_combinations(study: Study, unwritten: str | None) -> Found:
    """Corners and a few inner points of every arm's space that give no recipe."""
    rng = np.random.default_rng(0)
    for arm in study.arms:
        space, fixed = study.arm_space(arm), study.fixed[arm]
        remedy = WRITE_A_BASELINE if arm == unwritten else ""
        name = f"arm {arm}" + (f" ({_listed(study.arms[arm].set)})" if study.arms[arm].set else "")
        try:
            points = [*corners(study, arm), *(space.sample(rng, fixed) for _ in range(INNER_POINTS))]
            if isinstance(study.search.sampler, Grid) and not space.grid(fixed):
                raise SpaceError("no point of the grid meets what require says")
        except SpaceError as error:
            yield "require" if study.require else "space", f"{name}: {error}", remedy
            continue
        for coordinates in points:
            try:
                study.resolve(arm, coordinates)
            except (ValueError, ArithmeticError) as error:
                at = _listed(coordinates)
                yield "space", f"every point must give a recipe, but arm {arm} at {at} does not: {_told(error)}", remedy
                break


def corners(study: Study, arm: str) -> list[dict[str, Scalar]]:
    """Some of the corners of an arm's space: ends of ranges and all choices, where these are allowed together.

    Raises:
        SpaceError: A requirement cannot be computed there.
    """
    space = study.arm_space(arm)
    ends: list[Sequence[Scalar]] = [axis.dimension.extremes() for axis in space.axes.values()]
    found: list[dict[str, Scalar]] = []
    for values in islice(product(*ends), MOST_CORNERS):
        point = space.only_active(dict(zip(space.axes, values, strict=True)))
        if point not in found and space.feasible(point, study.fixed[arm]):
            found.append(point)
    return found


def _impossible_teachers(study: Study) -> Found:
    """Teachers that are not described, need themselves, or know other data."""
    try:
        names = {*study.needed_teachers, *in_order(study.teachers, study.teachers)}
    except ValueError as error:
        yield "teachers", str(error), ""
        return
    for name in sorted(names):
        for value in ("dataset", "image_size"):
            mine, theirs = (getattr(recipe, value) for recipe in (study.recipe, study.teachers[name].recipe))
            if mine != theirs:
                yield f"teachers.{name}.recipe.{value}", f"must be the study's own, {mine}, got {theirs}", ""


def _unfit_data(study: Study) -> Found:
    for where, problem in unfit_kinds(study):
        yield where, problem, ""


def meant(path: str, known: Collection[str]) -> str:
    """The known path that the user probably meant, or all of them."""
    close = difflib.get_close_matches(str(path), known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"


def _listed(values: Coordinates) -> str:
    return ", ".join(f"{path} = {value}" for path, value in values.items())


def _told(error: Exception) -> str:
    return str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else str(error)
