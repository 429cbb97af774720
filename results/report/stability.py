"""Where training is unstable: trials that diverged or never learned, by parts of the temperature's range."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.formats import setting
from results.query import StudyView
from results.report.trials import place_of
from results.schema import Stage, TrialState
from results.statistics import wilson_interval

_BINS = 6
_MARGIN = 0.02  # above chance, where the size of the validation split is not on record


@dataclass(frozen=True, slots=True)
class Bin:
    """A part of a searched range: the values from ``low`` up to ``high``."""

    low: float
    high: float
    closed: bool = True
    """Whether ``high`` itself belongs to it: in the last part only."""

    def __str__(self) -> str:
        if self.low == self.high:
            return setting(self.low)
        return f"{setting(self.low)} to {setting(self.high)}"

    def holds(self, value: float) -> bool:
        """Whether a value lies in it."""
        return self.low <= value < self.high or (self.closed and value == self.high)


def bins(values: Sequence[float], n: int, *, log: bool) -> tuple[Bin, ...]:
    """Equal parts of the range of some values, on a linear or a logarithmic scale.

    Args:
        values: Finite, and positive on a logarithmic scale.
        n: Parts, 1 or more.
        log: Whether parts are equal on the logarithmic scale.

    Returns:
        The parts, from low to high; a single one where all values are the same, none without values.
    """
    if not values:
        return ()
    low, high = min(values), max(values)
    if low == high:
        return (Bin(low, high),)
    inner = [low * (high / low) ** (i / n) if log else low + (high - low) * i / n for i in range(1, n)]
    edges = [low, *inner, high]
    return tuple(Bin(a, b, closed=b == high) for a, b in itertools.pairwise(edges))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of some trials, with the 95 % Wilson interval of their share."""

    count: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityBin:
    """What became of the explored trials in a part of the temperature's range."""

    bin: Bin
    n: int
    """Trials that ended there, those that failed for a technical reason aside."""
    diverged: Share
    failed_to_train: Share | None
    """Trials that never were right more often than by chance; None where the chance level is not known."""

    @property
    def trained(self) -> int:
        """Trials that learned, to the end or until they were stopped."""
        return self.n - self.diverged.count - (self.failed_to_train.count if self.failed_to_train else 0)


def chance_level(view: StudyView) -> float | None:
    """Validation accuracy up to which a trial is no more often right than by chance: two standard errors above that.

    Args:
        view: The records.

    Returns:
        The accuracy, 0..1; where the size of the validation split is not known, 0.02 above chance. None where the
        number of classes is not known.
    """
    chance = view.facts.chance
    if chance is None:
        return None
    n = view.facts.data.sizes.get("val")
    return chance + (2 * math.sqrt(chance * (1 - chance) / n) if n else _MARGIN)


def never_learned(view: StudyView) -> frozenset[str]:
    """Explored trials that ended, did not diverge, and in no epoch were right more often than by chance.

    That is an accuracy up to ``chance_level``; nobody is counted where that is not known.
    """
    level = chance_level(view)
    if level is None:
        return frozenset()
    found = []
    for trial in view.trials:
        if trial.stage is Stage.EXPLORE and trial.state in (TrialState.COMPLETED, TrialState.PRUNED):
            measured = [e.metrics.get("val/accuracy") for e in view.epoch_means.get(trial.trial, ())]
            known = [value for value in measured if value is not None]
            if known and not any(value > level for value in known):
                found.append(trial.trial)
    return frozenset(found)


def stability(view: StudyView) -> tuple[StabilityBin, ...]:
    """How often trials diverged or failed to train, by parts of the temperature's range.

    Args:
        view: The records.

    Returns:
        The parts in which a trial of the search ended, low to high; trials that failed for a technical reason do not
        count. None where all trials trained, or the temperature is no number.
    """
    lost = never_learned(view)
    ended = [
        (x, t)
        for t in view.trials
        if t.state.is_final and t.state is not TrialState.FAILED and (x := place_of(view, t)) is not None
    ]
    if not lost and not any(t.state is TrialState.DIVERGED for _, t in ended):
        return ()
    rows = []
    for part in bins([x for x, _ in ended], _BINS, log=view.facts.temperature_is_log):
        there = [t for x, t in ended if part.holds(x)]
        if there:
            rows.append(
                StabilityBin(
                    bin=part,
                    n=len(there),
                    diverged=_share(sum(t.state is TrialState.DIVERGED for t in there), len(there)),
                    failed_to_train=None
                    if view.facts.chance is None
                    else _share(sum(t.trial in lost for t in there), len(there)),
                )
            )
    return tuple(rows)


def _share(count: int, n: int) -> Share:
    low, high = wilson_interval(count, n)
    return Share(count=count, low=low, high=high)
