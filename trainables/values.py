"""Nested plain values, and their leaves by dotted path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any  # a leaf is whatever YAML holds


def varied(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with values changed by dotted path; a section that gets another ``name`` starts from its defaults.

    Args:
        recipe: Nested plain values.
        changes: Values by path, for example ``{"loss.name": "tempered"}``: nothing of the other loss is left then.
    """
    base = dict(recipe)
    for path, value in changes.items():
        section, _, leaf = path.partition(".")
        if leaf == "name" and isinstance(base.get(section), Mapping) and base[section].get("name") != value:
            base[section] = {}
    return with_values(base, changes)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted path."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves.update(flatten(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


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
