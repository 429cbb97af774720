"""The packaged recipes: settings of the papers, and where each value comes from.

They are files ``recipes/<paper>/<name>.yaml`` beside this module, each with

* ``purpose`` and ``source``: a line each; the source names the paper and the place in it;
* ``published``: what the paper measured with these settings;
* ``recipe``: a :class:`Recipe`, as far as it differs from the defaults;
* ``like``: another packaged recipe that this one starts from, where there is one;
* ``unknown``: dotted path of a value or a section, and what the paper does not say about it;
* ``differs``: the like, where the paper says something, and this program does not do the same.

A value that is written and has no note is the paper's. Importing this module does not load torch; :func:`load` does
where a network of torchvision or timm is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from trainables.loss_settings import Part
from trainables.recipe import Recipe
from trainables.values import begun_anew, flatten, varied

FOLDER = Path(__file__).parent / "recipes"

OriginKind = Literal["paper", "our choice", "differs", "default"]


class Published(Part):
    """A number in a paper."""

    metric: Literal["test/accuracy", "train/accuracy"]
    value: float = Field(ge=0, le=1)
    setting: str = Field(description="with which it was measured")


class _File(Part):
    """A file as it is written."""

    purpose: str
    source: str
    published: tuple[Published, ...] = ()
    unknown: dict[str, str] = Field(default_factory=dict)
    differs: dict[str, str] = Field(default_factory=dict)
    like: str | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)  # Any: whatever YAML holds; checked as a Recipe when loaded


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value of a packaged recipe comes from.

    Attributes:
        kind: ``paper``: as the source says. ``our choice``: the source does not say. ``differs``: the source says
            otherwise, or does otherwise. ``default``: nothing of the source's, and as in any recipe.
        reason: What the source says, and why the value is what it is; empty for ``paper`` and ``default``.
    """

    kind: OriginKind
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PackagedRecipe:
    """A recipe of a paper.

    Attributes:
        name: ``<paper>/<name>``.
        purpose: In a line.
        source: The paper, and the place in it.
        published: What the paper measured with these settings; may be empty.
        values: The recipe as nested plain values, as far as it differs from the defaults.
        recipe: The whole recipe. A teacher in it is a name that a study has to describe.
        origins: Where each value of the whole recipe comes from, by dotted path.
    """

    name: str
    purpose: str
    source: str
    published: tuple[Published, ...]
    values: Mapping[str, Any]
    recipe: Recipe
    origins: Mapping[str, Origin]


@cache
def available() -> tuple[str, ...]:
    """The names of all packaged recipes, sorted."""
    return tuple(sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml")))


def purposes() -> dict[str, str]:
    """What each packaged recipe is for, in a line."""
    return {name: _read(name).purpose for name in available()}


def values(name: str) -> dict[str, Any]:
    """A packaged recipe as nested plain values, as far as it differs from the defaults, and not yet validated.

    Raises:
        ValueError: There is none of this name.
    """
    file = _read(name)
    return varied(values(file.like) if file.like else {}, file.recipe)


def load(name: str) -> PackagedRecipe:
    """A packaged recipe, validated.

    Args:
        name: One of :func:`available`.

    Raises:
        ValueError: There is none of this name; the message has the nearest one.
    """
    file, written = _read(name), values(name)
    recipe = Recipe.model_validate(written)
    leaves = tuple(flatten(recipe.model_dump()))
    return PackagedRecipe(
        name=name,
        purpose=file.purpose,
        source=file.source,
        published=file.published,
        values=written,
        recipe=recipe,
        origins=_origins(name, leaves),
    )


@cache
def _read(name: str) -> _File:
    if name not in available():
        near = get_close_matches(name, available(), n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]}?" if near else "thermotune recipes lists them"
        raise ValueError(f"must be a packaged recipe, got {name!r}. {hint}")
    return _File.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def _origins(name: str, leaves: tuple[str, ...]) -> dict[str, Origin]:
    """The origin of every leaf: what the recipe says itself wins over what it takes from the one that it is like."""
    file = _read(name)
    origins = dict.fromkeys(leaves, Origin("default"))
    if file.like:
        before = values(file.like)
        anew = begun_anew(before, file.recipe)
        inherited = _origins(file.like, tuple(flatten(Recipe.model_validate(before).model_dump()))).items()
        origins |= {
            path: origin for path, origin in inherited if path in origins and path.partition(".")[0] not in anew
        }
    origins |= {path: Origin("paper") for path in flatten(file.recipe)}
    notes = [(path, Origin("our choice", reason)) for path, reason in file.unknown.items()]
    notes += [(path, Origin("differs", reason)) for path, reason in file.differs.items()]
    for path, origin in sorted(notes, key=lambda note: note[0].count(".")):  # of a value wins over of its section
        covered = [leaf for leaf in leaves if leaf == path or leaf.startswith(f"{path}.")]
        if not covered:
            raise ValueError(f"a note of {name} must be about a value of its recipe, got {path}")
        origins |= dict.fromkeys(covered, origin)
    return origins
