"""What several parts of a report ask of a trial: numbers, its place on an axis, its settings, the verdicts on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from results.query import StudyView, Trial
from results.schema import Stage, Verdict


def number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def place_of(view: StudyView, trial: Trial, path: str | None = None) -> float | None:
    """An explored trial's place on the axis of a searched path; None where it has no number there.

    Args:
        view: The records.
        trial: The trial.
        path: The path; that of the temperature if none is named.
    """
    path = path or view.facts.temperature
    value = number(trial.setting(path)) if path and trial.stage is Stage.EXPLORE else None
    return None if value is None or (view.facts.is_log(path or "") and value <= 0) else value


def settings_of(view: StudyView, trial: Trial) -> dict[str, object]:
    """The searched values in a trial's recipe, those that its arm fixes included."""
    return {path: value for path in view.facts.space if (value := trial.setting(path)) is not None}


def verdicts(view: StudyView) -> Mapping[str, Mapping[int, Verdict]]:
    """What the stopping rule said to every trial, by the epoch of the rung: the first word, or the PROMOTE after it."""
    said: dict[str, dict[int, Verdict]] = {}
    for trial, rung, word in view.rows("select trial, rung, verdict from decisions order by seq"):
        of_trial, verdict = said.setdefault(trial, {}), Verdict(word)
        if rung not in of_trial or verdict is Verdict.PROMOTE:
            of_trial[rung] = verdict
    return said
