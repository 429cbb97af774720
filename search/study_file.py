"""Reading a study: a file or a packaged study, flags on top, defaults below, and all mistakes at once."""

from __future__ import annotations

import contextlib
import difflib
import types
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from search.data import remarks, unfit_kinds
from search.errors import Mistake, StudyFileError, UsageError
from search.like import expand
from search.machine import Machine
from search.study import Resources, Study
from spaces import PLAIN, Axis, Fixed, Scalar, SearchSpace, SpaceError, default_space, rescaled
from trainables.loss_settings import RecipeWarning
from trainables.recipe import Recipe
from trainables.teachers import in_order
from trainables.values import flatten, varied, with_values

PACKAGED = Path(__file__).parent / "studies"
"""Folder of the studies that come with thermotune."""

COMMON_VALUES = ("dataset", "image_size", "epochs")
"""Values of the recipe that no arm may change: trials are compared at the same epochs of the same data."""

MIDDLE = 0.37
"""A place within a dimension: a range that only has whole numbers at its ends shows there."""
MOST_CORNERS = 64
INNER_POINTS = 8

_FLAT_SECTIONS = ("space", "baseline")  # their keys are dotted paths themselves
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A valid study.

    Attributes:
        study: The study with all defaults.
        origins: For every dotted key of the resolved study, ``flag``, ``file``, the name of the packaged recipe that
            the file's is like, or ``default``.
        remarks: What is possible, but hardly wanted.
    """

    study: Study
    origins: Mapping[str, str]
    remarks: tuple[str, ...] = ()


def packaged() -> dict[str, str]:
    """The packaged studies: name and first line of comment."""
    return {
        path.stem: path.read_text().splitlines()[0].removeprefix("#").strip()
        for path in sorted(PACKAGED.glob("*.yaml"))
    }


def load(source: str, overrides: Sequence[str] = ()) -> LoadedStudy:
    """The study that a file or a packaged name holds.

    Args:
        source: Path of a YAML file, or the name of a packaged study.
        overrides: ``key=value`` with a dotted key and a YAML value; these win over the file.

    Raises:
        UsageError: There is no such study, or an override is not ``key=value``.
        StudyFileError: The study is not valid; carries all mistakes.
    """
    path = _find(source)
    raw = {key: value for key, value in _parse(path).items() if key != "id"}  # a copy is a study of its own
    flags = dict(_parse_override(text) for text in overrides)
    merged = raw
    for keys, value in flags.items():
        merged = _set(merged, keys, value)
    expanded = expand(merged, path.name)
    if expanded.mistakes:  # what the recipe holds is not known: other mistakes would follow from that alone
        raise StudyFileError(expanded.mistakes)
    full, renamed = _with_defaults(expanded.raw, expanded.apart)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecipeWarning)
        mistakes = _mistakes(full, path.name, renamed)
    if mistakes:
        raise StudyFileError(mistakes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RecipeWarning)
        study = Study.model_validate(full)
        for arm in study.arms:
            for coordinates in _corners(study.arm_space(arm)):
                study.resolve(arm, coordinates)
    said = dict.fromkeys([*(str(warning.message) for warning in caught), *remarks(study)])
    return LoadedStudy(study.with_varies(), _origins(study, raw, flags, expanded.origins), tuple(said))


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if (PACKAGED / f"{source}.yaml").is_file() and "/" not in source:
        return PACKAGED / f"{source}.yaml"
    close = difflib.get_close_matches(source, packaged(), n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Packaged studies: {', '.join(packaged())}."
    raise UsageError(f"a study must be a YAML file or a packaged study, got {source!r}. {hint}")


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the study file {path}: {error}") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f"{path.name}, line {place.line + 1}" if place else path.name
        problem = getattr(error, "problem", None) or str(error)
        raise StudyFileError([Mistake(line, f"not valid YAML: {problem}")]) from error
    if not isinstance(raw, dict):
        raise StudyFileError([Mistake(path.name, f"a study file must hold keys and values, got {type(raw).__name__}")])
    return raw


def _parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set must be KEY=VALUE, got {text!r}. For example: --set search.trials=12")
    first, _, rest = key.strip().partition(".")
    keys = (first, rest) if first in _FLAT_SECTIONS and rest else tuple(key.strip().split("."))
    try:
        return keys, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: the value is not valid YAML, got {value!r}") from error


def _set(tree: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    head, *rest = keys
    below = tree.get(head)
    return {**tree, head: _set(below if isinstance(below, dict) else {}, rest, value) if rest else value}


def _with_defaults(raw: Mapping[str, Any], apart: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The study with what follows from its loss, and with ``baseline`` written out as arms.

    Args:
        raw: The study file, without ``like``.
        apart: Teachers that do not start from the study's recipe.

    Returns:
        The study, and how to name keys of it that the user wrote otherwise: new prefix to old.
    """
    full = dict(raw)
    recipe = raw.get("recipe")
    loss = recipe.get("loss") if isinstance(recipe, dict) else None
    named = loss.get("name") if isinstance(loss, dict) else None
    loss_name = named if isinstance(named, str) and named in PLAIN else "tempered"
    with contextlib.suppress(SpaceError):  # reported with the other mistakes
        full["space"] = _spelled_out(full)
    renamed = {}
    if "arms" not in full:
        baseline = full.pop("baseline") if "baseline" in full else dict(PLAIN[loss_name])
        baseline = flatten(baseline) if isinstance(baseline, dict) else baseline  # {loss: {beta: 1}} is as good
        full["arms"] = {"search": {}} if baseline is None else {"search": {}, "baseline": {"set": baseline}}
        full.setdefault("reference", None if baseline is None else "baseline")
        renamed = {"arms.baseline.set": "baseline"}
    full.setdefault("reference", None)
    if isinstance(full.get("teachers"), dict):
        full["teachers"] = {
            name: body if name in apart else _teacher(body, recipe) for name, body in full["teachers"].items()
        }
    return full, renamed


def _spelled_out(full: Mapping[str, Any]) -> Any:  # Any: what the file holds
    """The space with the learning-rate rule written as factors, or the default one of the loss and optimizer.

    Raises:
        SpaceError: The rule does not fit.
    """
    recipe = _section(Recipe, full.get("recipe", {})).model_dump()
    if "space" not in full:
        return default_space(recipe)
    return rescaled(full["space"], recipe) if isinstance(full["space"], dict) else full["space"]


def _teacher(body: object, recipe: object) -> object:
    """A teacher as written, on top of the study's recipe; loss, base, members and diagnostics are its own."""
    if not isinstance(body, dict) or not isinstance(body.get("recipe", {}), dict):
        return body
    base = {key: value for key, value in _items(recipe) if key not in ("loss", "base", "members", "diagnostics")}
    return {**body, "recipe": varied(base, body.get("recipe", {}))}


def _mistakes(full: Mapping[str, Any], file: str, renamed: Mapping[str, str]) -> list[Mistake]:
    found: dict[str, Mistake] = {}

    def add(where: str, problem: str, remedy: str = "") -> None:
        for new, old in renamed.items():
            where = where.replace(new, old, 1) if where.startswith(new) else where
        found.setdefault(where, Mistake(f"{file}: {where}" if where else file, problem, remedy))

    try:
        _spelled_out(full)
    except SpaceError as error:
        add("space.optimizer.lr", str(error))
    if "baseline" in full:
        add("baseline", "a study must have either baseline or arms, got both", "Add the baseline to the arms")
    try:
        Study.model_validate({key: value for key, value in full.items() if key != "baseline"})
    except ValidationError as error:
        for where, problem, remedy in _explain(error, full, Study):
            add(where, problem, remedy)
    recipe = _section(Recipe, full.get("recipe", {}))
    axes = {path: axis for path, spec in _items(full.get("space")) if (axis := _axis(spec)) is not None}
    for where, problem, remedy in _impossible_values(recipe, axes, full):
        add(where, problem, remedy)
    if not found:
        study = Study.model_validate(full)
        for where, problem in (*_impossible_combinations(study), *_impossible_teachers(study)):
            add(where, problem)
    if not found:
        for where, problem in unfit_kinds(study):
            add(where, problem)
    resources = _section(Resources, full.get("resources", {}))
    for mistake in Machine.local(look_for_gpus=resources.gpus > 0).mistakes(resources):
        add(mistake.where, mistake.problem, mistake.remedy)
    return list(found.values())


def _section(model: type[Model], raw: object) -> Model:
    """The section as far as it is valid, defaults elsewhere; its mistakes are reported with the whole study's."""
    while True:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            faulty = {tuple(_keys_in_file(item["loc"], raw)) for item in error.errors(include_url=False)}
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
        return None  # likewise


def _impossible_values(
    recipe: Recipe, axes: Mapping[str, Axis], full: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Values of the space and of the arms that no recipe, or not every recipe that has them, can take."""
    arms: list[tuple[dict[str, Any], dict[str, Any]]] = []  # values of every possible arm, and what it sets
    for arm, body in _items(full.get("arms")):
        changes = body.get("set") if isinstance(body, dict) else None
        changes = flatten(changes) if isinstance(changes, dict) else {}
        values = varied(recipe.model_dump(), changes)
        try:
            arms.append((Recipe.model_validate(values).model_dump(), changes))
        except ValidationError as error:
            for where, problem, remedy in _explain(error, values, Recipe):
                if not (where.startswith("loss.") and _loss_is_lost(recipe, full)):
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
            close = difflib.get_close_matches(str(path), known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"
            yield f"space.{path}", f"must be a value of the recipe, got {path}", remedy
        if str(path).startswith("optimizer.") and axis.times is not None:
            for arm, optimizer in _other_optimizers(recipe, full):
                problem = f"must be the study's where {path} follows {axis.times.path}, got {optimizer}"
                yield f"arms.{arm}.set.optimizer.name", problem, "Make it a study of its own"
        if axis.times is not None and axis.times.path not in known:
            yield f"space.{path}.times", f"must name a value of the recipe, got {axis.times.path}", ""
        for values, changes in arms:
            if path in flatten(values) and path not in changes and (found := _refused(path, axis, values)) is not None:
                yield f"space.{path}", *found
                break
    try:
        SearchSpace(axes)
    except SpaceError as error:
        yield "space", str(error), ""


def _impossible_arm(body: object, axes: Mapping[str, Axis], recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """What an arm sets though all must have it in common, and what it searches though nothing of it varies."""
    changes = body.get("set") if isinstance(body, dict) else None
    changes = flatten(changes) if isinstance(changes, dict) else {}
    for path in COMMON_VALUES:
        if path in changes:
            yield f"set.{path}", f"must be the same in the whole study, got {changes[path]}", "Make it several studies"
    chosen = body.get("varies") if isinstance(body, dict) else None
    try:
        has = flatten(Recipe.model_validate(varied(recipe.model_dump(), changes)).model_dump())
    except ValidationError:
        return  # reported by itself
    free = [
        path for path in axes if path in has and path not in changes and not isinstance(axes[path].dimension, Fixed)
    ]
    for path in chosen if isinstance(chosen, list) else ():
        if path not in free:
            yield (
                "varies",
                f"must name paths of the space that the arm's recipe has and it does not set, got {path}",
                f"There: {', '.join(free)}",
            )


def _loss_is_lost(recipe: Recipe, full: Mapping[str, Any]) -> bool:
    """Whether the study's loss was left out for its own mistakes, so that nothing can be said about an arm's."""
    loss = (full.get("recipe") or {}).get("loss")
    return isinstance(loss, dict) and loss.get("name", recipe.loss.name) != recipe.loss.name


def _other_optimizers(recipe: Recipe, full: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Arms with another optimizer than the study's: what follows beta there is another value."""
    for arm, body in _items(full.get("arms")):
        changes = body.get("set") if isinstance(body, dict) else None
        name = flatten(changes).get("optimizer.name") if isinstance(changes, dict) else None
        if name is not None and name != recipe.optimizer.name:
            yield arm, str(name)


def _refused(path: str, axis: Axis, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a recipe cannot take some value of an axis, by itself; rules that join values are checked at the corners."""
    for value in (*axis.dimension.extremes(), axis.dimension.decode(MIDDLE)):
        candidate = with_values(values, {path: value})
        try:
            Recipe.model_validate(candidate)
        except ValidationError as error:
            for where, problem, remedy in _explain(error, candidate, Recipe):
                if where == path:
                    return problem, remedy
    return None


def _impossible_combinations(study: Study) -> Iterator[tuple[str, str]]:
    """Corners and a few inner points of every arm's space that give no recipe."""
    rng = np.random.default_rng(0)
    for arm in study.arms:
        space = study.arm_space(arm)
        for coordinates in (*_corners(space), *(space.sample(rng) for _ in range(INNER_POINTS))):
            try:
                study.resolve(arm, coordinates)
            except (ValueError, ArithmeticError) as error:
                problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                at = ", ".join(f"{path} = {value}" for path, value in coordinates.items())
                yield "space", f"every point must give a recipe, but arm {arm} at {at} does not: {problem}"
                break


def _corners(space: SearchSpace) -> list[dict[str, Scalar]]:
    ends = [axis.dimension.extremes() for axis in space.axes.values()]
    return [dict(zip(space.axes, values, strict=True)) for values in islice(product(*ends), MOST_CORNERS)]


def _impossible_teachers(study: Study) -> Iterator[tuple[str, str]]:
    """Teachers that are not described, need themselves, or know other data."""
    try:
        names = {*study.needed_teachers, *in_order(study.teachers, study.teachers)}
    except ValueError as error:
        yield "teachers", str(error)
        return
    for name in sorted(names):
        for value in ("dataset", "image_size"):
            mine, theirs = (getattr(recipe, value) for recipe in (study.recipe, study.teachers[name].recipe))
            if mine != theirs:
                yield f"teachers.{name}.recipe.{value}", f"must be the study's own, {mine}, got {theirs}"


def _explain(error: ValidationError, raw: Mapping[str, Any], model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Every mistake that pydantic found, as (dotted key, problem, remedy)."""
    for item in error.errors(include_url=False):
        keys = _keys_in_file(item["loc"], raw)
        where = ".".join(keys)
        owner, field = _field(model, item["loc"])
        remedy = f"{field.description[0].upper()}{field.description[1:]}" if field and field.description else ""
        match item["type"]:
            case "extra_forbidden":
                known = [f.alias or name for name, f in owner.model_fields.items()] if owner else []
                known += ["baseline"] if owner is Study else []
                close = difflib.get_close_matches(keys[-1], known, n=1)
                remedy = f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(known)}"
                yield where, f"unknown key {keys[-1]}", remedy
            case "missing":
                yield where, "is required, and missing", remedy
            case "value_error":
                yield where, str(item["ctx"]["error"]).rstrip("."), ""
            case "union_tag_invalid":
                yield f"{where}.name", f"must be one of {item['ctx']['expected_tags']}, got {item['ctx']['tag']!r}", ""
            case "string_pattern_mismatch":
                rule = "must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
                yield where, f"{rule}, got {item['input']!r}", remedy
            case _:
                rule = item["msg"].replace("Input should be", "must be", 1)
                yield where, f"{rule}, got {item['input']!r}", remedy


def _keys_in_file(loc: Sequence[str | int], raw: object) -> list[str]:
    """The location without the tags that pydantic adds for unions."""
    keys: list[str] = []
    node: Any = raw
    for i, item in enumerate(loc):
        tagged = isinstance(node, Mapping) and item not in node and node.get("name", item) == item and i + 1 < len(loc)
        if tagged or item == "[key]":
            continue
        keys.append(str(item))
        node = node.get(item) if isinstance(node, Mapping) else None
    return keys


def _field(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[type[BaseModel] | None, Any]:
    """The model that holds the last key of a location, and that key's field where it has one."""
    owner: type[BaseModel] | None = model
    field: Any = None
    annotation: Any = model
    for item in loc:
        field = None
        if get_origin(annotation) is dict:  # the key is a name that the user chose
            annotation = get_args(annotation)[1]
            owner = next(_models(annotation), None)
            continue
        members = list(_models(annotation))
        if len(members) > 1:  # a union: the location names the member by its tag
            owner = next((m for m in members if item in get_args(m.model_fields["name"].annotation)), None)
            annotation = owner
            continue
        owner = members[0] if members else None
        field = {f.alias or name: f for name, f in owner.model_fields.items()}.get(str(item)) if owner else None
        annotation = field.annotation if field is not None else None
    return owner, field


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part)


def _origins(
    study: Study, raw: Mapping[str, Any], flags: Mapping[tuple[str, ...], Any], packaged_recipes: Mapping[str, str]
) -> dict[str, str]:
    """Where each value of the resolved study comes from."""
    by_flag = [".".join(keys) for keys in flags]
    in_file = flatten(raw)

    def origin(key: str) -> str:
        written = key.replace("arms.baseline.set.", "baseline.", 1)
        for name in (key, written):
            if any(name == flag or name.startswith(f"{flag}.") for flag in by_flag):
                return "flag"
        return "file" if key in in_file or written in in_file else packaged_recipes.get(key, "default")

    return {key: origin(key) for key in flatten(study.model_dump(mode="json", by_alias=True))}
