"""Nested plain values, and their leaves by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any  # a leaf is whatever YAML holds

from trainables.recipe import Recipe

_DEFAULT_NAMES: Mapping[str, str] = {section: part.name for section, part in Recipe() if hasattr(part, "name")}
"""Variants of the sections that have some, where none is written."""


def varied(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with some of its values changed.

    Args:
        recipe: Nested plain values, as far as they differ from the defaults.
        changes: Values, nested or by dotted path. Of sections :func:`begun_anew` nothing else is left:
            ``{"loss.name": "tempered"}`` leaves nothing of another loss, ``{"augment": {}}`` nothing of ``augment``.
    """
    anew = begun_anew(recipe, changes)
    return with_values({key: {} if key in anew else value for key, value in recipe.items()}, _leaves(changes))


def begun_anew(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> set[str]:
    """The sections that changes leave at their defaults, but for what the changes say themselves.

    They are those that get another ``name`` than they have, be it by default, and those that are written empty.

    Args:
        recipe: As for :func:`varied`.
        changes: As for :func:`varied`.
    """
    anew = set()
    for path, value in _leaves(changes).items():
        section, _, leaf = path.partition(".")
        before = recipe.get(section)
        renamed = (
            leaf == "name" and isinstance(before, Mapping) and value != before.get("name", _DEFAULT_NAMES.get(section))
        )
        if renamed or (not leaf and value == {}):
            anew.add(section)
    return anew


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted path; an empty mapping is no leaf."""
    return {path: value for path, value in _leaves(tree, prefix).items() if value != {}}


def with_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested mappings with values set by dotted path; missing mappings are made."""
    copy: dict[str, Any] = {key: with_values(v, {}) if isinstance(v, Mapping) else v for key, v in tree.items()}
    for path, value in values.items():
        *parents, leaf = path.split(".")
        node = copy
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[leaf] = value
    return copy


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves.update(_leaves(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves
