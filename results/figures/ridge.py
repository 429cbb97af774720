"""The metric at the best learning rate: what a temperature is worth once the learning rate is tuned to it."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from results.figures.cells import edges
from results.figures.ranges import position

PARTS = 6
"""Parts of the temperature's range."""
NEAR = 2.0
"""Learning rates within this factor of the best one of the part count as near it."""
FEWEST = 2
"""Trials near the best learning rate that a part needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgeLevel:
    """The trials near the best learning rate in a part of the temperature's range."""

    x: float
    """Median temperature of these trials."""
    median: float
    """Their median metric."""
    low: float
    """Their lowest one."""
    high: float
    """Their highest one."""
    n: int
    """How many they are."""


def ridge(trials: Sequence[tuple[float, float, float]], *, log: bool, sign: int) -> tuple[RidgeLevel, ...]:
    """Median and spread of the metric at the best learning rate, by parts of the temperature's range.

    The median over all trials of a part would mix good and bad learning rates, and the best one alone is luck; so the
    trials count whose learning rate is within a factor ``NEAR`` of that of the part's best trial.

    Args:
        trials: Temperature, learning rate (> 0; in the coordinate that was searched) and metric of trials that were
            trained to the end.
        log: Whether parts are equal on the logarithmic scale.
        sign: 1 where a higher metric is better, else -1.

    Returns:
        The parts with at least ``FEWEST`` such trials, by temperature.
    """
    if not trials:
        return ()
    ends = edges([position(x, log) for x, _, _ in trials], PARTS, PARTS)
    levels = []
    for i, (low, high) in enumerate(itertools.pairwise(ends)):
        last = i == len(ends) - 2
        part = [t for t in trials if low <= (at := position(t[0], log)) and (at < high or last)]
        if part:
            _, best, _ = max(part, key=lambda t: sign * t[2])
            near = [t for t in part if abs(math.log(t[1] / best)) <= math.log(NEAR) + 1e-9]
            if len(near) >= FEWEST:
                values = [value for _, _, value in near]
                levels.append(
                    RidgeLevel(
                        x=statistics.median(x for x, _, _ in near),
                        median=statistics.median(values),
                        low=min(values),
                        high=max(values),
                        n=len(near),
                    )
                )
    return tuple(levels)
