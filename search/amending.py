"""Amending a study between two sessions: more trials, another budget or stopping rule, a narrower space.

What was decided stays decided; an amendment says how it goes on. Each is a numbered file beside ``study.yaml``, and the
sessions record which one they went by.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from results.lock import StudyLock
from results.places import Place, write_whole
from results.store import read_rows
from search.capacity import unfit_here
from search.errors import Mistake, StudyFileError, UsageError
from search.folder import open_study
from search.history import History, place_of
from search.remarks import remarks
from search.settings import Grid
from search.study import Study
from search.study_file import checked, parse_override, with_names, with_override
from trainables.loss_settings import RecipeWarning
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


def amend(
    folder: Place,
    *,
    more_trials: int | None,
    overrides: Sequence[str],
    say: Callable[[str], None],
    here: bool = True,
) -> list[str]:
    """Amends a study that nobody runs at present.

    Args:
        folder: Of the study.
        more_trials: So many more, on top of what ``overrides`` say, for every arm in which something varies.
        overrides: ``key=value`` as for ``submit``.
        say: Hears what else the user should know, whether or not the amendment is possible.
        here: Whether trials run on this machine, and must fit there.

    Returns:
        What changed, a line each.

    Raises:
        Held: A driver works on the study; it would not see the amendment.
        StudyFileError: The study would not be valid, or something would change that must stay.
        UsageError: An override is not ``key=value``, or nothing would change.
    """
    lock = StudyLock(folder)
    stale = lock.acquire()
    if stale is not None:  # who takes the lock next will not find it
        say(f"The last driver died without a word ({stale}).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RecipeWarning)  # said as remarks
            newest, study = open_study(folder)
            study = study.resolved()  # whoever wrote the file
            amended = _with_overrides(study, overrides, say)
            if more_trials is not None:
                amended = _with_more_trials(amended, more_trials, History.fold(read_rows(folder)))
            unfit = unfit_here(amended.resources) if here else []
            if mistakes := [*_what_must_stay(study, amended), *unfit]:
                raise StudyFileError(mistakes)
            differences = difference(study, amended)
            if not differences:
                raise UsageError(f"nothing to amend: {study.name} has these values already")
            before = remarks(study)
            for remark in remarks(amended):
                if remark not in before:
                    say(f"note: {remark}")
            write_whole(folder / f"study-{newest + 1}.yaml", amended.to_yaml())
            return differences
    finally:
        lock.release()


def difference(before: Study, after: Study) -> list[str]:
    """What differs between two versions of a study, as ``key: before -> after``; nothing of what is worked out."""
    old, new = _leaves(before), _leaves(after)
    return [
        f"{key}: {old.get(key, 'none')} -> {new.get(key, 'none')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and not key.endswith(".planned")
    ]


def _leaves(study: Study) -> dict[str, Any]:
    return flatten(_plain(study))


def _plain(study: Study) -> dict[str, Any]:
    return study.model_dump(mode="json", by_alias=True)


def _amended(study: Study, values: Mapping[str, Any]) -> Study:
    return checked(with_names(values), f"{study.name} as amended", {}, begun=True, here=False)[0]


def _with_overrides(study: Study, overrides: Sequence[str], say: Callable[[str], None]) -> Study:
    changed = raw = _plain(study)
    settings = dict(parse_override(text) for text in overrides)
    for keys, value in settings.items():
        if keys[0] == "arms" and keys[-1] == "planned":
            raise UsageError(f"{'.'.join(keys)} is worked out by thermotune; set arms.{keys[1]}.trials instead")
        if keys[0] == "space" and len(keys) == 2:
            value = _in_shape(value, raw["space"].get(keys[1]))
        changed = with_override(changed, keys, value)
    amended = _amended(study, changed)
    if ("search", "trials") in settings:
        for arm, body in amended.arms.items():
            if body.trials is not None and ("arms", arm, "trials") not in settings:
                say(f"Arm {arm} keeps its own {body.trials} trials; to change them: --set arms.{arm}.trials=N")
    return amended


def _with_more_trials(study: Study, more: int, history: History) -> Study:
    """The study with so many more trials wherever the user's numbers stand: the arms' own, and the search's."""
    changed = _plain(study)
    varying = [arm for arm in study.arms if study.arm_space(arm).axes]
    for arm in varying:
        wanted = study.wanted_trials(arm)
        if wanted is not None:  # else a grid, which has all its points
            keys = ("search", "trials") if study.arms[arm].trials is None else ("arms", arm, "trials")
            changed = with_override(changed, keys, wanted + more)
    amended = _amended(study, changed)
    if all(_to_come(study, history, arm) == _to_come(amended, history, arm) for arm in varying):
        raise UsageError(
            f"nothing to amend: --trials +{more} adds none, because "
            + (f"every point of {' and '.join(varying)} gets its trial already" if varying else "nothing varies")
        )
    return amended


def _to_come(study: Study, history: History, arm: str) -> int:
    """How many trials of an arm are still to be proposed, at most; of a grid that is refined no number is known."""
    wanted, points, trials = study.wanted_trials(arm), study.grids[arm], history.of(arm)
    tried = {trial.place for trial in trials}
    sampler = study.search.sampler
    is_endless = not points or (isinstance(sampler, Grid) and sampler.refine > 0)
    left = sys.maxsize if is_endless else sum(place_of(point) not in tried for point in points)
    return left if wanted is None else min(max(wanted - len(trials), 0), left)


def _in_shape(axis: object, before: object) -> object:
    """A new range with the factor and the condition that the old one had, unless it says its own."""
    if not isinstance(axis, dict) or not isinstance(before, dict):
        return axis
    shape = [key for key in _SHAPE if key != "times" or "rule" not in axis]  # a rule says the factor anew
    return {**{key: before[key] for key in shape if key in before}, **axis}


def _what_must_stay(before: Study, after: Study) -> list[Mistake]:
    old, new = _leaves(before), _leaves(after)
    found = [
        Mistake(
            key,
            f"must stay as it is in a study that has begun, got {new.get(key)} instead of {old.get(key)}",
            f"An amendment may change {', '.join(AMENDABLE)} and make the space narrower; submit a new study",
        )
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key) and not key.startswith("space.") and not _may_change(key)
    ]
    for arm in before.arms.keys() & after.arms.keys():
        found += [
            Mistake(f"space (arm {arm})", problem, "An amendment can only make it narrower; submit a new study")
            for problem in after.arm_space(arm).narrower_than(before.arm_space(arm))
        ]
    return list({mistake.where + mistake.problem: mistake for mistake in found}.values())


def _may_change(key: str) -> bool:
    if key.startswith("arms."):
        return key.endswith((".trials", ".planned"))
    return any(key == path or key.startswith(f"{path}.") for path in AMENDABLE)
