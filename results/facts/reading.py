"""The facts of a study, read from its resolved study file and from ``environment.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from results.errors import StudyUnreadable
from results.facts.files import amendments, flat, malformed, read_document
from results.facts.model import Budget, DataFacts, StudyFacts, TeacherFacts
from results.facts.words import range_in_words, rule_in_words, sampler_in_words, stopping_in_words
from results.places import Place


def load_facts(study_dir: Place, *, first: bool = False) -> StudyFacts:
    """Reads the newest resolved study file of a study.

    Args:
        study_dir: Folder of the study.
        first: Read what the study began with instead.

    Returns:
        Its facts.

    Raises:
        StudyNotFound: There is no ``study.yaml`` in the folder.
        StudyUnreadable: The folder or file cannot be read, or the file is no YAML mapping, or lacks a fact.
    """
    amendment, path = amendments(study_dir)[0 if first else -1]
    document = read_document(path)
    try:
        return _facts(study_dir, amendment, document)
    except KeyError as error:
        raise StudyUnreadable(
            f"a resolved study must have {error}, but {path} lacks it. Restore the file, thermotune wrote it itself"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise malformed(path, error) from error


def _facts(study_dir: Place, amendment: int, document: Mapping[str, Any]) -> StudyFacts:  # Any: YAML, checked below
    search, seeds, stopping = document["search"], document["seeds"], document["stopping"]
    budget = document.get("budget") or {}
    mode = str(search["mode"])
    if mode not in ("max", "min"):
        raise ValueError(f"search.mode must be max or min, got {mode!r}")
    axes = {str(path): spec for path, spec in (document["space"] or {}).items()}
    derived = {path: rule_in_words(spec) for path, spec in axes.items() if _follows(spec)}
    space = {path: range_in_words(spec) for path, spec in axes.items() if path not in derived}
    arms = {str(name): arm or {} for name, arm in document["arms"].items()}
    varying = {name: _varying(arm, space) for name, arm in arms.items()}
    teachers = {str(name): _teacher(str(name), spec) for name, spec in (document.get("teachers") or {}).items()}
    return StudyFacts(
        study_dir=study_dir,
        id=str(document["id"]),
        name=str(document["name"]),
        amendment=amendment,
        data=_data(study_dir, document["recipe"]),
        epochs=int(document["recipe"]["epochs"]),
        recipe=dict(flat(document["recipe"])),
        space=space,
        derived=derived,
        require=tuple(map(str, document.get("require") or ())),
        temperature=_temperature(axes, space, varying),
        arms={name: dict(arm.get("set") or {}) for name, arm in arms.items()},
        varying=varying,
        teachers=teachers,
        needed=_needed(document["recipe"], axes, arms, teachers),
        reference=document.get("reference"),
        metric=str(search["metric"]),
        mode=mode,
        epoch_rule=str(search["epoch_rule"]),
        sampler=sampler_in_words(search["sampler"]),
        trials={name: _planned(arm, search["trials"] if varying[name] else 1) for name, arm in arms.items()},
        seed=int(search["seed"]),
        search_seeds=int(seeds["search"]),
        confirm_seeds=int(seeds["confirm"]),
        confirm_top=int(document["confirm"]["top"]),
        stopping=stopping_in_words(stopping),
        grace_epochs=int(stopping.get("grace_epochs") or 1),
        reduction_factor=float(stopping.get("reduction_factor") or 1),
        audit=float(stopping.get("audit") or 0),
        budget=Budget(**{name: budget.get(name) for name in ("wall_hours", "gpu_hours", "trials")}),
        gpus=float((document.get("resources") or {}).get("gpus") or 0),
    )


def _data(study_dir: Place, recipe: Mapping[str, Any]) -> DataFacts:
    """The data as ``environment.json`` describes them; reports of a study that lost this file go without."""
    try:
        known = json.loads((study_dir / "environment.json").read_text(encoding="utf-8"))["data"]
        return DataFacts(
            name=str(known["name"]),
            digest=known.get("digest"),
            classes=known.get("classes"),
            sizes=dict(known.get("sizes") or {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return DataFacts(name=str(recipe.get("dataset")), digest=None, classes=None, sizes={})


def _planned(arm: Mapping[str, Any], otherwise: Any) -> int:
    """Trials of an arm: as worked out, in older studies as its own ``trials``, in the oldest as those of all arms."""
    own = arm.get("planned") or arm.get("trials")
    return int(otherwise if own is None else own)


def _varying(arm: Mapping[str, Any], space: Mapping[str, str]) -> tuple[str, ...]:
    """The searched paths of an arm; studies of before ``varies`` was written search all that the arm does not fix."""
    listed = arm.get("varies")
    fixed = arm.get("set") or {}
    return tuple(path for path in space if (path not in fixed if listed is None else path in listed))


def _temperature(
    axes: Mapping[str, Any], space: Mapping[str, str], varying: Mapping[str, tuple[str, ...]]
) -> str | None:
    """The path that the report is about; words make no axis, so numbers come before them."""
    somewhere = [path for path in space if any(path in paths for paths in varying.values())] or list(space)
    paths = [path for path in somewhere if _is_numeric(axes[path])] or somewhere
    return next((path for path in paths if path.startswith("loss.")), next(iter(paths), None))


def _is_numeric(spec: object) -> bool:
    values = (spec.get("choice") or spec.get("grid") or ()) if isinstance(spec, Mapping) else ()
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _follows(spec: object) -> bool:
    """Whether a value follows from others: ``{equals: ...}``, in older studies ``{fixed: ..., times: ...}``."""
    return isinstance(spec, Mapping) and ("equals" in spec or "fixed" in spec)


def _teacher(name: str, spec: Mapping[str, Any]) -> TeacherFacts:
    recipe = spec["recipe"]
    epochs = int(recipe["epochs"])
    return TeacherFacts(
        name=name,
        model=recipe.get("model"),
        epochs=int(spec.get("epoch") or epochs),
        schedule_epochs=epochs,
        learns_from=(recipe.get("loss") or {}).get("teacher"),
        adds_to=recipe.get("base"),
    )


def _needed(
    recipe: Mapping[str, Any],
    axes: Mapping[str, Any],
    arms: Mapping[str, Mapping[str, Any]],
    teachers: Mapping[str, TeacherFacts],
) -> tuple[str, ...]:
    """Names of the teachers that some arm can ask for, and of those that these were taught by."""
    loss = recipe.get("loss") or {}
    wanted: list[object] = []
    for arm in arms.values():
        fixed = arm.get("set") or {}
        chosen = arm.get("varies")
        free = axes if chosen is None else {path: spec for path, spec in axes.items() if path in chosen}
        if "distilled" in _possible("loss.name", loss.get("name"), fixed, free):
            wanted += _possible("loss.teacher", loss.get("teacher"), fixed, free)
        wanted += _possible("base", recipe.get("base"), fixed, free)
    found: set[str] = set()
    while wanted:
        teacher = teachers.get(str(wanted.pop()))
        if teacher is not None and teacher.name not in found:
            found.add(teacher.name)
            wanted += [teacher.learns_from, teacher.adds_to]
    return tuple(name for name in teachers if name in found)


def _possible(path: str, default: object, fixed: Mapping[str, Any], axes: Mapping[str, Any]) -> list[object]:
    """The values that a path of the recipe can have in an arm that fixes some."""
    if path in fixed:
        return [fixed[path]]
    spec = axes.get(path)
    return list(spec.get("choice") or spec.get("grid") or [default]) if isinstance(spec, Mapping) else [default]
