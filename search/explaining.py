"""What pydantic finds wrong in a study file, in the words of the file."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from spaces.scalars import LONGEST_SHOWN

_WORDS = (
    (r"must be a valid (tuple|list)", "must be a list"),
    (r"must be a valid dictionary.*", "must have keys and values"),
    (r"Dictionary should have at least 1 item.*", "must name at least one"),
    (r"Keys should be strings", "keys must be text"),
)
"""What pydantic says in the words of Python, and how it is said of YAML."""


def explain(
    error: ValidationError, raw: Mapping[str, Any], model: type[BaseModel], also: Sequence[str] = ()
) -> Iterator[tuple[str, str, str]]:
    """Every mistake that pydantic found.

    Args:
        error: What it raised.
        raw: What it was given.
        model: By which it judged.
        also: Keys that are allowed at the top besides the model's own.

    Yields:
        Dotted key as the file has it, problem, remedy.
    """
    for item in error.errors(include_url=False):
        keys = keys_in_file(item["loc"], raw)
        where = ".".join(keys)
        owner, field = _field(model, item["loc"])
        remedy = f"{field.description[0].upper()}{field.description[1:]}" if field and field.description else ""
        match item["type"]:
            case "extra_forbidden":
                known = [f.alias or name for name, f in owner.model_fields.items()] if owner else []
                known += also if owner is model else ()
                yield where, *_unknown(keys, known, owner, _siblings(model, item["loc"]))
            case "missing":
                yield where, "is required, and missing", remedy
            case "value_error":
                yield where, str(item["ctx"]["error"]).rstrip("."), ""
            case "union_tag_invalid":
                place = where if isinstance(_at(keys, raw), str) else f"{where}.name"  # sampler: tpe
                yield place, f"must be one of {item['ctx']['expected_tags']}, got {item['ctx']['tag']!r}", ""
            case "string_pattern_mismatch":
                rule = "must be 1 to 64 letters, digits, '.', '_' or '-', and start with a letter or digit"
                yield where, f"{rule}, got {_shown(item['input'])}", remedy
            case _:
                rule = item["msg"].replace("Input should be", "must be", 1)
                yield where, f"{_plain(rule)}, got {_shown(item['input'])}", remedy


def keys_in_file(loc: Sequence[str | int], raw: object) -> list[str]:
    """A location of pydantic's without the tags that it adds for unions."""
    keys: list[str] = []
    node: Any = raw
    for i, item in enumerate(loc):
        absent = isinstance(node, Mapping) and item not in node
        tagged = absent and node.get("name", item if i + 1 < len(loc) else None) == item
        if tagged or item == "[key]":
            continue
        keys.append(str(item))
        node = node.get(item) if isinstance(node, Mapping) else None
    return keys


def variants(model: type[BaseModel], section: str) -> dict[str, type[BaseModel]]:
    """The variants of a section by their ``name``; none where it has but one form, or is unknown."""
    field = model.model_fields.get(section)
    return {} if field is None else _by_tag(field.annotation)


def _by_tag(annotation: Any) -> dict[str, type[BaseModel]]:
    members = [member for member in _models(annotation) if "name" in member.model_fields]
    return {tag: member for member in members for tag in get_args(member.model_fields["name"].annotation)}


def _unknown(
    keys: Sequence[str], known: Sequence[str], owner: type[BaseModel] | None, siblings: Mapping[str, type[BaseModel]]
) -> tuple[str, str]:
    """Problem and remedy of a key that a section does not know, but perhaps another variant of it does."""
    key = keys[-1]
    theirs = [tag for tag, member in siblings.items() if key in member.model_fields]
    close = difflib.get_close_matches(key, known, n=1)
    if close or not theirs:
        return f"unknown key {key}", f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(known)}"
    name = next(tag for tag, member in siblings.items() if member is owner)
    mine = ", ".join(field for field in known if field != "name") or "none"
    anew = f"--set {'.'.join(keys[:-1])}={name} begins without the keys of {theirs[0]}"
    return f"unknown key {key} of {name}, which belongs to {' and '.join(theirs)}", f"Keys of {name}: {mine}; {anew}"


def _plain(rule: str) -> str:
    """A rule of pydantic's in words for YAML."""
    for pattern, words in _WORDS:
        rule = re.sub(pattern, words, rule)
    return rule


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _at(keys: Sequence[str], raw: object) -> object:
    for key in keys:
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw


def _siblings(model: type[BaseModel], loc: Sequence[str | int]) -> dict[str, type[BaseModel]]:
    """All variants of the section that holds the last key of a location; none where it has but one form."""
    annotation: Any = model
    for place, item in enumerate(loc):
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        tagged = _by_tag(annotation)
        if len(list(_models(annotation))) > 1:
            if place == len(loc) - 2:
                return tagged
            annotation = tagged.get(str(item))
            continue
        owner = next(_models(annotation), None)
        field = {f.alias or name: f for name, f in owner.model_fields.items()}.get(str(item)) if owner else None
        annotation = field.annotation if field is not None else None
    return {}


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
