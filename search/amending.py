"""Amending a study between two sessions: more trials, another budget or stopping rule, a narrower space.

What was decided stays decided; an amendment says how it goes on. Each is a numbered file beside ``study.yaml``, and the
sessions record which one they went by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results.lock import StudyLock
from search.errors import Mistake, StudyFileError, UsageError
from search.folder import open_study, write_whole
from search.settings import Grid
from search.study import Study
from search.study_file import checked, parse_override, with_override
from trainables.values import flatten

AMENDABLE = (
    "search.trials",
    "search.sampler",
    "require",
    "stopping",
    "seeds.confirm",
    "confirm",
    "arms",
    "budget",
    "resources",
)
"""What an amendment may change, besides a narrower space; of arms the number of trials alone."""

_SHAPE = ("times", "when")
"""Parts of an axis that stay as they are where only the range is written anew."""


def amend(folder: Path, *, more_trials: int | None, overrides: Sequence[str]) -> list[str]:
    """Amends a study that nobody runs at present.

    Args:
        folder: Of the study.
        more_trials: So many more for every arm in which something varies.
        overrides: ``key=value`` as for ``submit``.

    Returns:
        What changed, a line each; empty if nothing did, and then no file is written.

    Raises:
        Held: A driver works on the study; it would not see the amendment.
        StudyFileError: The study would not be valid, or something would change that must stay.
        UsageError: An override is not ``key=value``, or there is nothing more to try.
    """
    with StudyLock(folder):
        newest, study = open_study(folder)
        raw = study.model_dump(mode="json", by_alias=True)
        changed = raw
        for text in overrides:
            keys, value = parse_override(text)
            changed = _with_own_trials_forgotten(changed, study) if keys == ("search", "trials") else changed
            if keys[0] == "space" and len(keys) == 2:
                value = _in_shape(value, raw["space"].get(keys[1]))
            changed = with_override(changed, keys, value)
        if more_trials is not None:
            changed = _with_more_trials(changed, study, more_trials)
        amended, _ = checked(changed, f"{study.name} as amended", {})
        if mistakes := _what_must_stay(study, amended):
            raise StudyFileError(mistakes)
        differences = difference(study, amended)
        if differences:
            write_whole(folder / f"study-{newest + 1}.yaml", amended.to_yaml())
        return differences


def difference(before: Study, after: Study) -> list[str]:
    """What differs between two versions of a study, as ``key: before -> after``."""
    old, new = (flatten(study.model_dump(mode="json", by_alias=True)) for study in (before, after))
    return [
        f"{key}: {old.get(key, 'none')} -> {new.get(key, 'none')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def _with_own_trials_forgotten(raw: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """The values in which arms follow ``search.trials`` again, but for those that had a number of their own."""
    arms = {
        name: {**raw["arms"][name], "trials": None if _follows_the_search(study, name) else arm.trials}
        for name, arm in study.arms.items()
    }
    return {**raw, "arms": arms}


def _follows_the_search(study: Study, arm: str) -> bool:
    raw = study.model_dump(mode="json", by_alias=True)
    raw["arms"][arm]["trials"] = None
    return Study.model_validate(raw).planned_trials(arm) == study.arms[arm].trials


def _with_more_trials(raw: Mapping[str, Any], study: Study, more: int) -> dict[str, Any]:
    if isinstance(study.search.sampler, Grid):
        raise UsageError("--trials must not be given for a grid, which has all its points; change the sampler as well")
    arms = {
        name: {**body, "trials": (study.planned_trials(name) + more) if study.arm_space(name).axes else body["trials"]}
        for name, body in raw["arms"].items()
    }
    return {**raw, "arms": arms}


def _in_shape(axis: object, before: object) -> object:
    """A new range with the factor and the condition that the old one had, unless it says its own."""
    if not isinstance(axis, dict) or not isinstance(before, dict):
        return axis
    return {**{key: before[key] for key in _SHAPE if key in before}, **axis}


def _what_must_stay(before: Study, after: Study) -> list[Mistake]:
    old, new = (flatten(study.model_dump(mode="json", by_alias=True)) for study in (before, after))
    found = [
        Mistake(
            key,
            f"must stay as it is in a study that has begun, got {new.get(key)} instead of {old.get(key)}",
            f"An amendment may change {', '.join(AMENDABLE)} and make the space narrower; submit a new study",
        )
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and not key.startswith("space.") and not _may_change(key)
    ]
    for arm in before.arms:
        found += [
            Mistake(f"space (arm {arm})", problem, "An amendment can only make it narrower; submit a new study")
            for problem in after.arm_space(arm).narrower_than(before.arm_space(arm))
        ]
    return list({mistake.where + mistake.problem: mistake for mistake in found}.values())


def _may_change(key: str) -> bool:
    if key.startswith("arms."):
        return key.endswith(".trials")
    return any(key == path or key.startswith(f"{path}.") for path in AMENDABLE)
