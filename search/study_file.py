"""Reading a study: a file or a packaged study, flags on top, defaults below, and all mistakes at once."""

from __future__ import annotations

import difflib
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import numpy as np
import yaml
from pydantic import BaseModel, ValidationError

from search.errors import Mistake, StudyFileError, UsageError
from search.machine import Machine
from search.study import Resources, Study, flatten, with_values
from spaces import DEFAULT_SPACES, PLAIN, Axis, SearchSpace, SpaceError
from trainables.recipe import Recipe

PACKAGED = Path(__file__).parent / "studies"
"""Folder of the studies that come with thermotune."""

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
        origins: For every dotted key of the resolved study, ``flag``, ``file`` or ``default``.
    """

    study: Study
    origins: Mapping[str, str]


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
    full, renamed = _with_defaults(merged)
    mistakes = _mistakes(full, path.name, renamed)
    if mistakes:
        raise StudyFileError(mistakes)
    study = Study.model_validate(full)
    return LoadedStudy(study, _origins(study, raw, flags))


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


def _with_defaults(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The study with what follows from its loss, and with ``baseline`` written out as arms.

    Returns:
        The study, and how to name keys of it that the user wrote otherwise: new prefix to old.
    """
    full = dict(raw)
    recipe = raw.get("recipe")
    loss = recipe.get("loss") if isinstance(recipe, dict) else None
    named = loss.get("name") if isinstance(loss, dict) else None
    loss_name = named if isinstance(named, str) and named in DEFAULT_SPACES else "tempered"
    if "space" not in full:
        full["space"] = {path: axis.spec() for path, axis in DEFAULT_SPACES[loss_name].axes.items()}
    renamed = {}
    if "arms" not in full:
        baseline = full.pop("baseline") if "baseline" in full else dict(PLAIN[loss_name])
        baseline = flatten(baseline) if isinstance(baseline, dict) else baseline  # {loss: {beta: 1}} is as good
        full["arms"] = {"search": {}} if baseline is None else {"search": {}, "baseline": {"set": baseline}}
        full.setdefault("reference", None if baseline is None else "baseline")
        renamed = {"arms.baseline.set": "baseline"}
    full.setdefault("reference", None)
    return full, renamed


def _mistakes(full: Mapping[str, Any], file: str, renamed: Mapping[str, str]) -> list[Mistake]:
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
        for where, problem, remedy in _explain(error, full, Study):
            add(where, problem, remedy)
    recipe = _section(Recipe, full.get("recipe", {}))
    axes = {path: axis for path, spec in _items(full.get("space")) if (axis := _axis(spec)) is not None}
    for where, problem, remedy in _impossible_values(recipe, axes, full):
        add(where, problem, remedy)
    if not found:
        for where, problem in _impossible_combinations(Study.model_validate(full)):
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
            raw = {} if () in faulty or not isinstance(raw, dict) else _without(raw, faulty)


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
    """Values of the space and of the arms that the recipe cannot take."""
    base = recipe.model_dump()
    known = flatten(base)

    def problem_of(path: str, value: Any) -> tuple[str, str] | None:
        if path not in known:
            close = difflib.get_close_matches(str(path), known, n=1)
            remedy = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}"
            return f"must be a value of the recipe, got {path}", remedy
        try:
            Recipe.model_validate(with_values(base, {path: value}))
        except ValidationError as error:
            _, problem, remedy = next(_explain(error, with_values(base, {path: value}), Recipe))
            return problem, remedy
        return None

    for path, axis in axes.items():
        for value in (*axis.dimension.extremes(), axis.dimension.decode(MIDDLE)):
            if (found := problem_of(path, value)) is not None:
                yield f"space.{path}", *found
        if axis.times is not None and axis.times.path not in known:
            yield f"space.{path}.times", f"must name a value of the recipe, got {axis.times.path}", ""
    try:
        SearchSpace(axes)
    except SpaceError as error:
        yield "space", str(error), ""
    for arm, body in _items(full.get("arms")):
        for path, value in _items(body.get("set") if isinstance(body, dict) else None):
            if (found := problem_of(path, value)) is not None:
                yield f"arms.{arm}.set.{path}", *found


def _impossible_combinations(study: Study) -> Iterator[tuple[str, str]]:
    """Corners and a few inner points of every arm's space that give no recipe."""
    rng = np.random.default_rng(0)
    for arm in study.arms:
        space = study.arm_space(arm)
        ends = [axis.dimension.extremes() for axis in space.axes.values()]
        corners = [dict(zip(space.axes, values, strict=True)) for values in islice(product(*ends), MOST_CORNERS)]
        for coordinates in (*corners, *(space.sample(rng) for _ in range(INNER_POINTS))):
            try:
                study.resolve(arm, coordinates)
            except (ValueError, ArithmeticError) as error:
                problem = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
                at = ", ".join(f"{path} = {value}" for path, value in coordinates.items())
                yield "space", f"every point must give a recipe, but arm {arm} at {at} does not: {problem}"
                break


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
    for item in loc:
        if field is not None:
            members = list(_models(field.annotation))
            if len(members) > 1:  # a union: the location names the member by its tag
                owner = next((m for m in members if item in get_args(m.model_fields["name"].annotation)), None)
                field = None
                continue
            owner = members[0] if members else None
        field = {f.alias or name: f for name, f in owner.model_fields.items()}.get(str(item)) if owner else None
    return owner, field


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part)


def _origins(study: Study, raw: Mapping[str, Any], flags: Mapping[tuple[str, ...], Any]) -> dict[str, str]:
    """Where each value of the resolved study comes from."""
    by_flag = [".".join(keys) for keys in flags]
    in_file = flatten(raw)

    def origin(key: str) -> str:
        written = key.replace("arms.baseline.set.", "baseline.", 1)
        for name in (key, written):
            if any(name == flag or name.startswith(f"{flag}.") for flag in by_flag):
                return "flag"
        return "file" if key in in_file or written in in_file else "default"

    return {key: origin(key) for key in flatten(study.model_dump(mode="json", by_alias=True))}
