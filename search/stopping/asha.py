"""Asynchronous successive halving (ASHA, arXiv 1810.05934), in the form that stops and in the form that promotes.

Stopping form: a trial that reaches a rung is compared with all that reached it before, and goes on if it is among the
best ``n // reduction_factor``. Nothing is paused, a decision is made once. Differences from Ray Tune's rule: ranks
instead of an interpolated percentile, so that no value, infinite or not a number, can spoil a cut-off; and nobody is
stopped before ``reduction_factor`` trials can be compared. There Optuna's SuccessiveHalvingPruner is stricter: it
stops an early arrival that is not the best so far.

Promotion form, the paper's algorithm 2: every trial waits at every rung, and whenever a worker is free, the best that
waits goes on if it is among the best ``n // reduction_factor`` of all that ever came to its rung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from results.schema import Verdict
from search.stopping.decision import Decision, OnArrival
from search.stopping.rung import Rung


def geometric(grace_epochs: int, reduction_factor: int, epochs: int) -> tuple[int, ...]:
    """The rungs of successive halving: grace, grace * factor, ... below the full length.

    Args:
        grace_epochs: First rung, >= 1.
        reduction_factor: Factor between rungs, >= 2.
        epochs: Length of a whole run; nobody is stopped there, the trial is complete.

    Example:
        >>> geometric(1, 3, 27)
        (1, 3, 9)
    """
    found = []
    rung = grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= reduction_factor
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingAsha(OnArrival):
    """The stopping form.

    Attributes:
        grace_epochs: Epoch of the first rung, >= 1.
        reduction_factor: One of so many goes on at a rung, >= 2.
        epochs: Length of a whole run.
        mode: ``max`` if larger values are better, ``min`` if smaller.
    """

    grace_epochs: int
    reduction_factor: int
    epochs: int
    mode: str

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """As ``Rule.rungs``."""
        return geometric(self.grace_epochs, self.reduction_factor, self.epochs)

    def decide(self, rung: Rung, value: float) -> Decision:
        """As ``Rule.decide``: CONTINUE among the best of ``reduction_factor``, else STOP.

        Example:
            >>> rung = Rung()
            >>> rung.add("t0001", 0.9)
            >>> rung.add("t0002", 0.8)
            >>> StoppingAsha(grace_epochs=1, reduction_factor=3, epochs=27, mode="max").decide(rung, 0.7)
            Decision(verdict=<Verdict.STOP: 'STOP'>, cutoff=0.9, rank=3, n=3)
        """
        rank, n = rung.rank(value, self.mode), len(rung) + 1
        if not math.isfinite(value):
            return Decision(Verdict.STOP, None, rank, n)
        count = n // self.reduction_factor
        if count == 0:
            return Decision(Verdict.CONTINUE, None, rank, n)
        # The last of the best `count` with this one among them, which moves all behind it by one.
        cutoff = value if rank == count else rung.nth_best(count if rank > count else count - 1, self.mode)
        verdict = Verdict.CONTINUE if rank <= count else Verdict.STOP
        return Decision(verdict, cutoff if math.isfinite(cutoff) else None, rank, n)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionAsha(OnArrival):
    """The promotion form; attributes as those of the stopping form.

    A trial whose value is not finite can never be promoted and ends. Of equal values, those that came first count as
    better, so that exactly one of ``reduction_factor`` goes on where many stand at chance level.
    """

    pauses = True

    grace_epochs: int
    reduction_factor: int
    epochs: int
    mode: str

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """As ``Rule.rungs``."""
        return geometric(self.grace_epochs, self.reduction_factor, self.epochs)

    def decide(self, rung: Rung, value: float) -> Decision:
        """As ``Rule.decide``: PAUSE, whatever the rank; STOP if the value is not finite."""
        verdict = Verdict.PAUSE if math.isfinite(value) else Verdict.STOP
        return Decision(verdict, None, rung.rank(value, self.mode), len(rung) + 1)

    def promotable(self, rung: Rung) -> str | None:
        """As ``Rule.promotable``: the best that waits, if it is among the best ``len(rung) // reduction_factor``."""
        best = rung.best_waiting(self.mode)
        if best is None or rung.place(best, self.mode) > len(rung) // self.reduction_factor:
            return None
        return best
