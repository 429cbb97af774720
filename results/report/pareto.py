"""Trials that no other beats in everything: accuracy, calibrated likelihood, calibration and time weighed together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.query import StudyView, Trial
from results.report.stability import chance_level
from results.report.trials import number, settings_of
from results.schema import Stage, TrialState

ACCURACY, LIKELIHOOD, CALIBRATION, TIME = "val/accuracy", "val/loss_refit", "val/ece_refit", "time_s"
OBJECTIVES: Mapping[str, bool] = {ACCURACY: True, LIKELIHOOD: False, CALIBRATION: False, TIME: False}
"""What is weighed, and whether more of it is better; ``time_s`` is what the trial's epochs took."""
TIME_STEP = 1.1
"""Times are compared in steps of this factor, so that the clock's noise makes hardly a trial better than another."""

_FEWEST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoTrial:
    """An explored trial, trained to the end, with all that is weighed."""

    trial: str
    arm: str
    settings: Mapping[str, object]
    """The searched values in its recipe."""
    values: Mapping[str, float]
    """Value by objective."""
    efficient: bool
    """Whether no other trial is at least as good in everything and better in something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """The trials of the search as several objectives see them."""

    objectives: tuple[str, ...]
    """What was measured in all trials, keys of ``OBJECTIVES``."""
    left_out: tuple[str, ...]
    """What was measured in some trials only."""
    by_chance: int
    """Trials trained to the end that are right no more often than by chance, and not among ``trials``: who answers by
    chance and says so is well calibrated, and of no use."""
    trials: tuple[ParetoTrial, ...]
    """The other trials trained to the end, best in the first objective first."""

    @property
    def efficient(self) -> tuple[ParetoTrial, ...]:
        """The Pareto set."""
        return tuple(t for t in self.trials if t.efficient)


def pareto(view: StudyView) -> Pareto | None:
    """Weighs the explored trials that were trained to the end and are right more often than by chance.

    Args:
        view: The records.

    Returns:
        Them all, the Pareto set marked; None with fewer than three of them or fewer than two objectives.
    """
    ended = [t for t in view.trials if t.stage is Stage.EXPLORE and t.state is TrialState.COMPLETED]
    level = chance_level(view)
    values = {t.trial: _values(view, t) for t in ended}
    done = [t for t in ended if level is None or values[t.trial].get(ACCURACY, math.inf) > level]
    known = {name: sum(name in values[t.trial] for t in done) for name in OBJECTIVES}
    objectives = tuple(name for name, n in known.items() if n == len(done))
    if len(done) < _FEWEST or len(objectives) < 2:
        return None
    costs = {t.trial: tuple(_cost(name, values[t.trial][name]) for name in objectives) for t in done}
    best = efficient(list(costs.values()))
    return Pareto(
        objectives=objectives,
        left_out=tuple(name for name, n in known.items() if 0 < n < len(done)),
        by_chance=len(ended) - len(done),
        trials=tuple(
            ParetoTrial(
                trial=t.trial,
                arm=t.arm,
                settings=settings_of(view, t),
                values={name: values[t.trial][name] for name in objectives},
                efficient=costs[t.trial] in best,
            )
            for t in sorted(done, key=lambda t: (costs[t.trial], t.number))
        ),
    )


def efficient(costs: Sequence[tuple[float, ...]]) -> frozenset[tuple[float, ...]]:
    """The points that no other point dominates.

    Args:
        costs: Points of one length; less is better in every place.

    Returns:
        Those of which no other is as good or better in every place; equal points stand for one another.

    Example:
        >>> sorted(efficient([(1, 3), (2, 2), (2, 3), (3, 1)]))
        [(1, 3), (2, 2), (3, 1)]
    """
    front: list[tuple[float, ...]] = []
    for point in sorted(set(costs)):  # none is dominated by one that comes later
        if not any(all(a <= b for a, b in zip(other, point, strict=True)) for other in front):
            front.append(point)
    return frozenset(front)


def _values(view: StudyView, trial: Trial) -> dict[str, float]:
    found = {name: view.measured(trial.trial, name, last=True) for name in (ACCURACY, LIKELIHOOD, CALIBRATION)}
    pace = number(trial.mean_epoch_time_s)
    found[TIME] = pace * trial.epochs if pace else None
    return {name: value for name, value in found.items() if value is not None}


def _cost(name: str, value: float) -> float:
    if name == TIME:
        return round(math.log(value, TIME_STEP)) if value > 0 else -math.inf
    return -value if OBJECTIVES[name] else value
