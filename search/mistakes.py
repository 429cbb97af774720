"""All that can be wrong in a study file, found together: rule, value, where, what to do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import product
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from search.capacity import unfit_here
from search.consistency import WRITE_A_BASELINE, Found, meant, problems
from search.errors import Mistake
from search.explaining import explain, keys_in_file, variants
from search.settings import Resources
from search.study import Study, is_switch
from spaces import Axis, Scalar, SearchSpace, SpaceError
from spaces.scalars import written
from trainables.recipe import Recipe
from trainables.values import flatten, varied, with_values

COMMON_VALUES = ("dataset", "image_size", "epochs")
"""Values of the recipe that no arm may change: trials are compared at the same epochs of the same data."""

MIDDLE = 0.37
"""A place within a dimension: a range that only has whole numbers at its ends shows there."""
MOST_EPOCHS = 1_000_000
"""Rules list the epochs at which they compare."""

Section = TypeVar("Section", bound=BaseModel)


def mistakes_of(
    full: Mapping[str, Any], file: str, renamed: Mapping[str, str], *, unwritten: str | None, begun: bool, here: bool
) -> list[Mistake]:
    """Everything that is wrong with a study.

    Args:
        full: The study with ``baseline`` written out as arms, and its space spelled out as far as that is possible.
        file: What to call it.
        renamed: How to name keys that the user wrote otherwise: new prefix to old.
        unwritten: An arm that the user did not write, but gets by default.
        begun: Whether the study has begun, and this is an amendment.
        here: Whether trials run on this machine, and must fit there.
    """
    found: dict[str, Mistake] = {}

    def add(where: str, problem: str, remedy: str = "") -> None:
        for new, old in renamed.items():
            where = where.replace(new, old, 1) if where.startswith(new) else where
        found.setdefault(where, Mistake(f"{file}: {where}" if where else file, problem, remedy))

    if "baseline" in full:
        add("baseline", "a study must have either baseline or arms, got both", "Add the baseline to the arms")
    try:
        Study.model_validate({key: value for key, value in full.items() if key != "baseline"})
    except ValidationError as error:
        for where, problem, remedy in explain(error, full, Study, also=["baseline"]):
            add(where, problem, remedy)
    if not begun:
        for arm, body in _items(full.get("arms")):
            if isinstance(body, dict) and body.get("planned") is not None:
                problem = f"is worked out by thermotune, got {body['planned']}"
                add(f"arms.{arm}.planned", problem, "Write trials instead")
    recipe = section(Recipe, full.get("recipe", {}))
    if recipe.epochs > MOST_EPOCHS:
        add("recipe.epochs", f"must be at most {MOST_EPOCHS:,}, got {recipe.epochs:,}")
    axes = {path: axis for path, spec in _items(full.get("space")) if (axis := _axis(spec)) is not None}
    for where, problem, remedy in _impossible_switches(axes):
        add(where, problem, remedy)
    if not any(f"space.{path}" in found for path in axes if is_switch(path)):  # else recipes cannot be made
        for where, problem, remedy in _impossible_values(recipe, axes, full, unwritten, begun=begun):
            add(where, problem, remedy)
    if not found:
        for where, problem, remedy in problems(Study.model_validate(full), unwritten=unwritten, begun=begun):
            add(where, problem, remedy)
    resources = section(Resources, full.get("resources", {}))
    for mistake in unfit_here(resources) if here else ():
        add(mistake.where, mistake.problem, mistake.remedy)
    return list(found.values())


def section(model: type[Section], raw: object) -> Section:
    """The section as far as it is valid, defaults elsewhere; its mistakes are reported with the whole study's."""
    while True:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            faulty = {tuple(keys_in_file(item["loc"], raw)) for item in error.errors(include_url=False)}
            left = {} if () in faulty or not isinstance(raw, dict) else _without(raw, faulty)
            raw = {} if left == raw else left  # nothing to leave out where a key is missing


def _without(tree: Mapping[str, Any], faulty: Collection[tuple[str, ...]]) -> dict[str, Any]:
    return {
        key: _without(value, {keys[1:] for keys in faulty if keys[:1] == (key,)}) if isinstance(value, dict) else value
        for key, value in tree.items()
        if (key,) not in faulty
    }


def _items(raw: object) -> list[tuple[str, Any]]:
    return list(raw.items()) if isinstance(raw, dict) else []


def _axis(spec: object) -> Axis | None:
    try:
        return Axis.parse(spec)
    except SpaceError:
        return None  # said when the whole study is read


def _impossible_switches(axes: Mapping[str, Axis]) -> Found:
    """Names of variants that are no choice of words, or of words that are none."""
    for path, axis in axes.items():
        if not is_switch(path):
            continue
        words = variants(Recipe, str(path).removesuffix(".name"))
        rule = f"must be a choice of variants ({', '.join(words)})" if words else "must be a value of the recipe"
        chosen = axis.dimension.spec().get("choice") or axis.dimension.spec().get("grid") or ()
        if not chosen or any(word not in words for word in chosen):
            yield f"space.{path}", f"{rule}, got {written(axis.spec())}", ""


def _impossible_values(
    recipe: Recipe, axes: Mapping[str, Axis], full: Mapping[str, Any], unwritten: str | None, *, begun: bool
) -> Found:
    """Values of the space and of the arms that no recipe, or not every recipe that has them, can take."""
    arms: list[tuple[dict[str, Any], dict[str, Any]]] = []  # values of every possible recipe, and what its arm sets
    for arm, body in _items(full.get("arms")):
        changes = _changes(body)
        for chosen in _switched(axes, changes):
            values = varied(recipe.model_dump(), {**changes, **chosen})
            try:
                arms.append((Recipe.model_validate(values).model_dump(), changes))
            except ValidationError as error:
                for where, problem, remedy in explain(error, values, Recipe):
                    remedy = WRITE_A_BASELINE if arm == unwritten else remedy
                    if chosen:
                        place = ", ".join(f"{path} = {value}" for path, value in chosen.items())
                        yield f"space.{next(iter(chosen))}", f"arm {arm} with {place}: {where} {problem}", remedy
                    elif not (where.startswith("loss.") and _loss_is_lost(recipe, full)):
                        yield f"arms.{arm}.set.{where}", problem, remedy
    if not arms:
        return
    known = dict.fromkeys(path for values, _ in arms for path in flatten(values))
    for path in COMMON_VALUES:
        if path in axes:
            yield (
                f"space.{path}",
                f"must be the same in the whole study, got {axes[path].spec()}",
                "Make it several studies",
            )
    for arm, body in _items(full.get("arms")):
        for where, problem, remedy in _impossible_arm(body, axes, recipe):
            yield f"arms.{arm}.{where}", problem, remedy
    for path, axis in axes.items():
        if path not in known:
            yield f"space.{path}", f"must be a value of the recipe, got {path}", meant(path, known)
        if str(path).startswith("optimizer.") and axis.names:
            for arm, optimizer in _other_optimizers(recipe, full):
                problem = f"must be the study's where {path} follows {_listed(axis.names)}, got {optimizer}"
                yield f"arms.{arm}.set.optimizer.name", problem, "Make it a study of its own"
        for name in sorted(axis.names - known.keys()):
            key = "equals" if axis.follows else "times"
            yield f"space.{path}.{key}", f"must name a value of the recipe, got {name}", meant(name, known)
        for name in sorted(axis.when.keys() - known.keys()):
            yield f"space.{path}.when", f"must name a value of the recipe, got {name}", meant(name, known)
        for values, changes in arms:
            if path in flatten(values) and path not in changes and (found := _refused(path, axis, values)) is not None:
                yield f"space.{path}", *found
                break
    try:
        space = SearchSpace(axes)
    except SpaceError as error:
        yield "space", str(error), ""
        return
    for path, axis in axes.items():
        if not begun and not space.can_hold(axis.when):  # an amendment may leave out what a condition is on
            parents = "; ".join(f"{parent}: {axes[parent].spec()}" for parent in axis.when if parent in axes)
            yield (
                f"space.{path}.when",
                f"must be able to hold, got {axis.spec()['when']} where the space has {parents}",
                "",
            )


def _switched(axes: Mapping[str, Axis], changes: Mapping[str, Any]) -> list[dict[str, Scalar]]:
    """Every combination of variants that the space chooses from where an arm does not set them."""
    free = {path: axis.dimension.values or () for path, axis in axes.items() if is_switch(path) and path not in changes}
    return [dict(zip(free, values, strict=True)) for values in product(*free.values())]


def _changes(body: object) -> dict[str, Any]:
    changes = body.get("set") if isinstance(body, dict) else None
    return flatten(changes) if isinstance(changes, dict) else {}


def _listed(names: Collection[str]) -> str:
    return " and ".join(sorted(names))


def _impossible_arm(body: object, axes: Mapping[str, Axis], recipe: Recipe) -> Found:
    """What an arm sets though all must have it in common, and what it searches though nothing of it varies."""
    changes = _changes(body)
    for path in COMMON_VALUES:
        if path in changes:
            yield f"set.{path}", f"must be the same in the whole study, got {changes[path]}", "Make it several studies"
    chosen = body.get("varies") if isinstance(body, dict) else None
    has: set[str] = set()
    for switched in _switched(axes, changes):
        try:
            has |= flatten(
                Recipe.model_validate(varied(recipe.model_dump(), {**changes, **switched})).model_dump()
            ).keys()
        except ValidationError:
            return  # reported by itself
    free = [path for path in axes if path in has and path not in changes and not axes[path].follows]
    for path in [chosen] if isinstance(chosen, str) else chosen if isinstance(chosen, list) else ():
        if path not in free:
            yield (
                "varies",
                f"must name paths of the space that the arm's recipe has and it does not set, got {path}",
                f"There: {', '.join(free)}",
            )


def _loss_is_lost(recipe: Recipe, full: Mapping[str, Any]) -> bool:
    """Whether the study's loss was left out for its own mistakes, so that nothing can be said about an arm's."""
    written_recipe = full.get("recipe")
    loss = written_recipe.get("loss") if isinstance(written_recipe, dict) else None
    return isinstance(loss, dict) and loss.get("name", recipe.loss.name) != recipe.loss.name


def _other_optimizers(recipe: Recipe, full: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arms with another optimizer than the study's: what follows beta there is another value."""
    for arm, body in _items(full.get("arms")):
        name = _changes(body).get("optimizer.name")
        if name is not None and name != recipe.optimizer.name:
            yield arm, str(name)


def _refused(path: str, axis: Axis, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a recipe cannot take some value of an axis, by itself; rules that join values are checked at the corners."""
    if axis.follows or is_switch(path):
        return None
    for value in (*axis.dimension.extremes(), axis.dimension.decode(MIDDLE)):
        candidate = with_values(values, {path: value})
        try:
            Recipe.model_validate(candidate)
        except ValidationError as error:
            for where, problem, remedy in explain(error, candidate, Recipe):
                if where == path:
                    return problem, remedy
    return None
