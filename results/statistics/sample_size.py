"""How many seeds a comparison needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from results.statistics.comparison import LEVEL
from results.statistics.intervals import t_quantile

MOST_SEEDS = 100
"""Beyond so many a difference is not worth chasing."""
POWER = 0.8
"""Chance to show a difference that is there; the usual choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsNeeded:
    """Seeds in all that would decide a comparison, if the difference and its spread are what they seem to be."""

    as_it_is: int | None
    """Seeds from which on the same mean and spread would be shown; None for more than ``MOST_SEEDS``."""
    likely: int | None
    """Seeds with which it would be shown with a chance of 80 %; None for more than ``MOST_SEEDS``."""


def seeds_needed(mean: float, sd: float, *, compared: int = 1) -> SeedsNeeded:
    """Seeds that a paired t test needs to show a difference.

    The difference measured is taken for the true one, which is a rough guide: it is as uncertain as its interval says.

    Args:
        mean: Mean of the paired differences, in the unit of the values.
        sd: Their standard deviation, above 0.
        compared: Comparisons made together; each is planned at ``LEVEL`` / ``compared``, as the smallest p value of
            Holm's correction is judged.

    Returns:
        The numbers of seeds. With ``as_it_is`` the chance to show it is only about one half: the mean of the next seeds
        may as well be smaller.

    Raises:
        ValueError: The mean is not finite, or the standard deviation is not above 0.

    Example:
        >>> seeds_needed(0.006, 0.005)
        SeedsNeeded(as_it_is=6, likely=8)
    """
    if not (math.isfinite(mean) and 0 < sd < math.inf):
        raise ValueError(f"a spread must be above 0 and the mean finite, got mean {mean} and sd {sd}")
    effect = abs(mean) / sd
    as_it_is = None
    for n in range(2, MOST_SEEDS + 1):
        critical = t_quantile(n - 1, 1 - LEVEL / compared / 2)
        noncentrality = effect * math.sqrt(n)
        if as_it_is is None and noncentrality > critical:
            as_it_is = n
        if _power(n - 1, noncentrality, critical) >= POWER:
            return SeedsNeeded(as_it_is=as_it_is, likely=n)
    return SeedsNeeded(as_it_is=as_it_is, likely=None)


def _power(degrees: int, noncentrality: float, critical: float) -> float:
    """Chance of a t beyond the critical one, on the side where the difference lies."""
    from scipy.special import nctdtr

    return 1 - float(nctdtr(degrees, noncentrality, critical))
