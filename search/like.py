"""``like`` in a study file: a recipe that starts from a packaged one, with values changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.errors import Mistake
from trainables import recipe_library
from trainables.values import flatten, varied


@dataclass(frozen=True, slots=True)
class Expanded:
    """A study file without ``like``.

    Attributes:
        raw: What the file then holds.
        origins: For every dotted key that came in, the name of the packaged recipe.
        apart: Teachers whose recipe starts from a packaged one, and no longer from the study's.
        mistakes: Names that no packaged recipe has.
    """

    raw: Mapping[str, Any]
    origins: Mapping[str, str]
    apart: frozenset[str]
    mistakes: tuple[Mistake, ...]


def expand(raw: Mapping[str, Any], file: str) -> Expanded:
    """Replaces every ``like`` by what the packaged recipe says, with what stands beside it changed.

    An empty section beside it, as in ``augment: {}``, means that section's defaults, as it does without ``like``.

    Args:
        raw: The study file as written, with the values of flags.
        file: Its name, for the mistakes.
    """
    full = dict(raw)
    origins: dict[str, str] = {}
    mistakes: list[Mistake] = []

    def expanded(recipe: Mapping[str, Any], where: str) -> dict[str, Any]:
        changes = {key: value for key, value in recipe.items() if key != "like"}
        name = str(recipe["like"])
        try:
            full = varied(recipe_library.values(name), changes)
        except ValueError as error:
            mistakes.append(Mistake(f"{file}: {where}.like", str(error)))
            return changes
        origins.update({f"{where}.{path}": name for path in flatten(full) if path not in flatten(changes)})
        return full

    if _has_like(raw.get("recipe")):
        full["recipe"] = expanded(raw["recipe"], "recipe")
    teachers = raw.get("teachers")
    alike = (
        {name: body for name, body in teachers.items() if isinstance(body, dict) and _has_like(body.get("recipe"))}
        if isinstance(teachers, dict)
        else {}
    )
    if alike:
        changed = {
            name: {**body, "recipe": expanded(body["recipe"], f"teachers.{name}.recipe")}
            for name, body in alike.items()
        }
        full["teachers"] = {**raw["teachers"], **changed}
    return Expanded(full, origins, frozenset(alike), tuple(mistakes))


def _has_like(recipe: object) -> bool:
    return isinstance(recipe, dict) and "like" in recipe
