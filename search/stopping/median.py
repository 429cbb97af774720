"""The median rule (Google Vizier, KDD 2017): a trial ends whose best so far is below the median of the others' there.

As in Optuna's MedianPruner, a trial is judged by the best of its epochs up to the rung. Differences: so are those
that it is compared with, all that reached the rung and not only completed ones; Vizier takes their running averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.schema import Verdict
from search.stopping.decision import Decision, OnArrival
from search.stopping.rung import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianRule(OnArrival):
    """The median rule.

    Attributes:
        grace_epochs: Epoch of the first rung, >= 1.
        interval_epochs: Epochs between rungs, >= 1.
        min_trials: Trials that must have reached a rung before one is stopped there, >= 1.
        epochs: Length of a whole run.
        mode: ``max`` if larger values are better, ``min`` if smaller.
    """

    grace_epochs: int
    interval_epochs: int
    min_trials: int
    epochs: int
    mode: str

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """As ``Rule.rungs``: grace, grace + interval, ..."""
        return tuple(range(self.grace_epochs, self.epochs, self.interval_epochs))

    def score(self, values: Sequence[float]) -> float:
        """As ``Rule.score``: the best so far of the finite values; not a number if there is none."""
        finite = [value for value in values if math.isfinite(value)]
        return (max if self.mode == "max" else min)(finite, default=math.nan)

    def decide(self, rung: Rung, value: float) -> Decision:
        """As ``Rule.decide``: STOP below the median of those before; equal to it goes on.

        Where half of those before or more are not finite, so is their median, and every finite value goes on.
        """
        rank, n = rung.rank(value, self.mode), len(rung) + 1
        if not math.isfinite(value):
            return Decision(Verdict.STOP, None, rank, n)
        if len(rung) < self.min_trials:
            return Decision(Verdict.CONTINUE, None, rank, n)
        median = self._median(rung)
        behind = value < median if self.mode == "max" else value > median
        return Decision(
            Verdict.STOP if behind else Verdict.CONTINUE, median if math.isfinite(median) else None, rank, n
        )

    def _median(self, rung: Rung) -> float:
        upper = rung.nth_best((len(rung) + 1) // 2, self.mode)
        lower = rung.nth_best(len(rung) // 2 + 1, self.mode)
        return upper / 2 + lower / 2  # the sum of two large values could overflow
