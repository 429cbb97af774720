"""Intervals of means, of paired differences and of shares.

Means have Student's t throughout: with 5 seeds its 95 % interval covers 94 %, bootstraps cover 85 % (measured by
simulation). Shares have Wilson's interval (JASA 22, 1927), which is sound for few trials and at 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAME_DIGITS = 12
"""Means that agree to so many decimals are equal: sums of the same values in another order round apart."""

_SAME = 1e-12  # of the largest value: a standard deviation below it is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """A mean with its t interval.

    There is no interval for one value, nor where all values are the same: accuracies are multiples of 1 / n, so that
    equal ones are no sign of a spread of 0.
    """

    mean: float
    """Mean of the values, in their unit."""
    low: float | None
    """Lower end of the interval; None without a spread."""
    high: float | None
    """Upper end of the interval; None without a spread."""
    sd: float | None
    """Sample standard deviation (n - 1); None without a spread."""
    n: int
    """Number of values; 1 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of a - b over common seeds, with its t interval.

    The interval and p are None where all differences are the same: accuracies are multiples of 1 / n, so that equal
    steps are no sign of a spread of 0.
    """

    mean: float
    """Mean difference, in the unit of the values."""
    low: float | None
    """Lower end of the interval; None without a spread."""
    high: float | None
    """Upper end of the interval; None without a spread."""
    p: float | None
    """Two-sided p value of the paired t test, 0..1; None without a spread."""
    n: int
    """Common seeds; 2 or more."""
    sd: float | None
    """Sample standard deviation of the differences (n - 1); None without a spread."""


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Mean of the values with a t interval.

    Args:
        values: At least one finite value.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        The mean; for one value, and for values that are all the same up to rounding, it has no interval.

    Raises:
        ValueError: There is no value, one is not finite, or the confidence is not between 0 and 1.

    Example:
        >>> interval = mean_interval([0.970, 0.975, 0.980])
        >>> f"{interval.mean:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
        '0.975 [0.963, 0.987]'
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if not values:
        raise ValueError("a mean needs at least one value, got none")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a mean needs finite values, got {[v for v in values if not math.isfinite(v)]}")
    n = len(values)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else 0.0
    if sd <= _SAME * max(map(abs, values)):
        return MeanInterval(mean=mean, low=None, high=None, sd=None, n=n)
    half = t_quantile(n - 1, (1 + confidence) / 2) * sd / math.sqrt(n)
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, sd=sd, n=n)


def prediction_interval(fresh: MeanInterval, draws: int = 1, confidence: float = 0.95) -> tuple[float, float] | None:
    """Where the mean of some further values lies, if they come from where the measured ones come from.

    Further values scatter as the measured ones do, so that the interval is wider than that of the mean by the factor
    sqrt(1 + n / draws); their t interval is exact for normal values (Hahn and Meeker, Statistical Intervals, 1991).

    Args:
        fresh: Mean and spread of the measured values.
        draws: Further values, 1 or more.
        confidence: Chance that their mean lies in the interval, between 0 and 1.

    Returns:
        Its ends; None where the measured values have no spread to go by.

    Example:
        >>> low, high = prediction_interval(mean_interval([0.970, 0.975, 0.980]))
        >>> f"{low:.3f} {high:.3f}"
        '0.950 1.000'
    """
    if fresh.sd is None:
        return None
    half = t_quantile(fresh.n - 1, (1 + confidence) / 2) * fresh.sd * math.sqrt(1 / draws + 1 / fresh.n)
    return fresh.mean - half, fresh.mean + half


def paired_difference(
    a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95
) -> PairedDifference | None:
    """Mean of a - b over the seeds that both have, with a t interval and the p value of the paired t test.

    Args:
        a: Finite value by seed.
        b: Finite value by seed.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        The difference; None with fewer than two common seeds. Differences that are all the same, up to rounding, have
        neither an interval nor a p value.

    Raises:
        ValueError: A value is not finite, or the confidence is not between 0 and 1.
    """
    common = sorted(a.keys() & b.keys())
    differences = [a[seed] - b[seed] for seed in common]
    if len(differences) < 2:
        return None
    interval = mean_interval(differences, confidence)
    if interval.sd is None or interval.sd <= _SAME * max(abs(side[seed]) for side in (a, b) for seed in common):
        return PairedDifference(mean=interval.mean, low=None, high=None, p=None, n=interval.n, sd=None)
    p = t_two_sided(interval.n - 1, interval.mean / (interval.sd / math.sqrt(interval.n)))
    return PairedDifference(mean=interval.mean, low=interval.low, high=interval.high, p=p, n=interval.n, sd=interval.sd)


def wilson_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    Args:
        count: How often it happened, 0..n.
        n: How often it could have, 1 or more.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        Its ends, 0..1.

    Raises:
        ValueError: The count is not in 0..n, n is 0, or the confidence is not between 0 and 1.

    Example:
        >>> low, high = wilson_interval(0, 10)
        >>> f"{low:.3f} {high:.3f}"
        '0.000 0.278'
    """
    from scipy.special import ndtri

    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"a share needs 0 <= count <= n and n >= 1, got {count} of {n}")
    z = float(ndtri((1 + confidence) / 2))
    share = count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (max(0.0, middle - half) if count else 0.0), (min(1.0, middle + half) if count < n else 1.0)


def t_quantile(degrees: int, probability: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit  # scipy.stats would take two seconds to import

    return float(stdtrit(degrees, probability))


def t_two_sided(degrees: int, t: float) -> float:
    """Chance of a t as far from 0 as this one, on either side."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))
