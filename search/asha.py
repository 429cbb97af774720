"""The stopping rule: asynchronous successive halving (ASHA, arXiv 1810.05934) in its stopping form. Pure.

A trial that reaches a rung is compared with all that reached it before, and goes on if it is among the best
``n // reduction_factor``. Nothing is paused and nothing is promoted later: a decision is made once, on arrival.
Differences from Ray Tune's rule: ranks instead of an interpolated percentile, so that no value, infinite or not a
number, can spoil a cut-off; and nobody is stopped before ``reduction_factor`` trials can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from results.schema import Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, with all that it was based on.

    Attributes:
        verdict: Whether the trial goes on.
        cutoff: The value needed to go on; None while there are too few to compare.
        rank: 1-based rank among the ``n``; equal values share the better rank.
        n: Trials at the rung so far, this one included.
    """

    verdict: Verdict
    cutoff: float | None
    rank: int
    n: int


def rungs(grace_epochs: int, reduction_factor: int, epochs: int) -> tuple[int, ...]:
    """The epochs at which trials are compared: grace, grace * factor, ... below the full length.

    Args:
        grace_epochs: First rung, >= 1.
        reduction_factor: Factor between rungs, >= 2.
        epochs: Length of a whole run; nobody is stopped there, the trial is complete.
    """
    found = []
    rung = grace_epochs
    while rung < epochs:
        found.append(rung)
        rung *= reduction_factor
    return tuple(found)


def decide(earlier: Iterable[float], value: float, *, mode: str, reduction_factor: int) -> Decision:
    """Whether a trial that reached a rung goes on.

    Args:
        earlier: Values of the trials that reached the rung before, in any order. Values that are not finite count
            as worse than every finite one.
        value: The trial's own value. One that is not finite always stops the trial.
        mode: ``max`` if larger values are better, ``min`` if smaller.
        reduction_factor: One of so many goes on.

    Example:
        >>> decide([0.9, 0.8], 0.7, mode="max", reduction_factor=3)
        Decision(verdict=<Verdict.STOP: 'STOP'>, cutoff=0.9, rank=3, n=3)
    """
    sign = 1.0 if mode == "max" else -1.0

    def score(raw: float) -> float:
        return sign * raw if math.isfinite(raw) else -math.inf

    own = score(value)
    scores = sorted([*map(score, earlier), own], reverse=True)
    n = len(scores)
    rank = scores.index(own) + 1
    if not math.isfinite(value):
        return Decision(Verdict.STOP, None, rank, n)
    if n < reduction_factor:
        return Decision(Verdict.CONTINUE, None, rank, n)
    cutoff = scores[n // reduction_factor - 1]
    verdict = Verdict.CONTINUE if own >= cutoff else Verdict.STOP
    return Decision(verdict, sign * cutoff if math.isfinite(cutoff) else None, rank, n)
