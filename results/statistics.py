"""Intervals and paired comparisons: how much a difference over a few seeds can say; shares and rank agreement.

Means have Student's t throughout: with 5 seeds its 95 % interval covers 94 %, bootstraps cover 85 % (measured by
simulation). Shares have Wilson's interval (JASA 22, 1927), which is sound for few trials and at 0 and 1; agreement of
two rankings is Kendall's tau-b (Biometrika 33, 1945), which allows for ties.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

_SAME = 1e-12  # of the largest value: a standard deviation below it is rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """A mean with its t interval."""

    mean: float
    """Mean of the values, in their unit."""
    low: float | None
    """Lower end of the interval; None for one value."""
    high: float | None
    """Upper end of the interval; None for one value."""
    sd: float | None
    """Sample standard deviation (n - 1); None for one value."""
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


class Outcome(StrEnum):
    """What a comparison shows."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "not shown to differ"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against the reference on common seeds."""

    outcome: Outcome
    """The verdict."""
    difference: PairedDifference | None
    """Candidate minus reference; None with fewer than two common seeds."""
    reason: str
    """Why the verdict is what it is, as a sentence without a full stop."""


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> MeanInterval:
    """Mean of the values with a t interval.

    Args:
        values: At least one finite value.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        The mean; for one value the ends of the interval are None.

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
    if n == 1:
        return MeanInterval(mean=mean, low=None, high=None, sd=None, n=1)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = _t_quantile(n - 1, (1 + confidence) / 2) * sd / math.sqrt(n)
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, sd=sd, n=n)


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
    assert interval.sd is not None
    if interval.sd <= _SAME * max(abs(side[seed]) for side in (a, b) for seed in common):
        return PairedDifference(mean=interval.mean, low=None, high=None, p=None, n=interval.n)
    p = _t_two_sided(interval.n - 1, interval.mean / (interval.sd / math.sqrt(interval.n)))
    return PairedDifference(mean=interval.mean, low=interval.low, high=interval.high, p=p, n=interval.n)


def compare(
    candidate: Mapping[int, float],
    reference: Mapping[int, float],
    *,
    mode: str,
    candidate_trials: int,
    reference_trials: int | None,
    confidence: float = 0.95,
) -> Comparison:
    """Whether the candidate is better than the reference, said only as far as the numbers carry.

    Args:
        candidate: Test metric by seed.
        reference: Test metric of the reference by seed.
        mode: ``max`` if higher is better, else ``min``.
        candidate_trials: Trials that the candidate's arm explored.
        reference_trials: Trials that the reference arm explored; None if nothing varies in it, so that it is as well
            tuned as it can be.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        BETTER or WORSE if the interval of the difference excludes 0, else NOT_SHOWN, also where the differences have no
        interval; NOT_COMPARED with fewer than two common seeds, and in place of BETTER where the reference had fewer
        trials to find its best settings with.

    Raises:
        ValueError: A value is not finite, or mode or confidence is not allowed.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode must be max or min, got {mode!r}")
    difference = paired_difference(candidate, reference, confidence)
    share = f"{confidence:.0%}".replace("%", " %")
    if difference is None:
        common = len(candidate.keys() & reference.keys())
        reason = f"a comparison needs at least 2 common seeds, and there {'is' if common == 1 else 'are'} {common}"
        return Comparison(outcome=Outcome.NOT_COMPARED, difference=None, reason=reason)
    if difference.low is None or difference.high is None:
        step = "one and the same step" if difference.mean else "0"
        return Comparison(
            outcome=Outcome.NOT_SHOWN,
            difference=difference,
            reason=f"all {difference.n} differences are {step}, which says nothing about their spread; more seeds are "
            "needed",
        )
    better, worse = (difference.low > 0, difference.high < 0)[:: 1 if mode == "max" else -1]
    if better and reference_trials is not None and reference_trials < candidate_trials:
        had = "1 trial" if reference_trials == 1 else f"{reference_trials} trials"
        return Comparison(
            outcome=Outcome.NOT_COMPARED,
            difference=difference,
            reason=f"the reference had {had} and the candidate's arm {candidate_trials}, so the reference was not "
            "tuned as well",
        )
    if better or worse:
        outcome, reason = (Outcome.BETTER if better else Outcome.WORSE), f"the {share} interval excludes 0"
    else:
        outcome, reason = Outcome.NOT_SHOWN, f"the {share} interval includes 0"
    return Comparison(outcome=outcome, difference=difference, reason=f"{reason} over {difference.n} common seeds")


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


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b: how far two rankings of the same things agree.

    Args:
        a: Values, none of them NaN; only their order counts.
        b: As many others, of the same things.

    Returns:
        -1..1; None where one side has fewer than two different values, so that it ranks nothing.

    Raises:
        ValueError: The two differ in length, or a value is NaN.

    Example:
        >>> kendall_tau([1, 2, 3, 4], [1, 3, 2, 4])
        0.6666666666666666
    """
    if len(a) != len(b):
        raise ValueError(f"two rankings must be of the same things, got {len(a)} and {len(b)} values")
    if any(map(math.isnan, (*a, *b))):
        raise ValueError("values must not be NaN, which has no rank")
    agreement = pairs_a = pairs_b = 0
    for (x, y), (u, v) in itertools.combinations(zip(a, b, strict=True), 2):
        order_a, order_b = (x > u) - (x < u), (y > v) - (y < v)
        agreement += order_a * order_b
        pairs_a += abs(order_a)
        pairs_b += abs(order_b)
    return agreement / math.sqrt(pairs_a * pairs_b) if pairs_a and pairs_b else None


def _t_quantile(degrees: int, probability: float) -> float:
    from scipy.special import stdtrit  # scipy.stats would take two seconds to import

    return float(stdtrit(degrees, probability))


def _t_two_sided(degrees: int, t: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))
