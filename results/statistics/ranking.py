"""Which of several candidates may be the best, and how often each comes first."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from results.statistics.comparison import LEVEL
from results.statistics.intervals import paired_difference

DRAWS = 10_000
"""Resamples of the seeds; the standard error of a share is at most 0.005."""


def may_be_best(
    values: Mapping[str, Mapping[int, float]], mode: str, shown_worse: Collection[str] = ()
) -> frozenset[str]:
    """The candidates that cannot be told apart from the best one.

    A candidate is out where the paired t test shows another one to be better, two-sided and with Bonferroni's
    correction for the others it is compared with. The truly best candidate leaves the set only if one of the others
    seems better by mistake, and that has a chance of at most ``LEVEL`` / 2 over all of them.

    Whom ``compare`` calls worse than the reference is out as well, or else a report would call somebody worse and
    perhaps the best. That costs the truly best candidate its place with a chance of at most another ``LEVEL`` / 2: its
    own t test must err to one side, and Holm's correction makes no p value smaller. So the set holds the best with a
    probability of 95 % and more, whichever candidate is chosen and by whatever rule.

    Args:
        values: Finite metric by seed of every candidate, by name.
        mode: ``max`` if higher is better, else ``min``.
        shown_worse: Those whom ``compare`` calls worse than the reference on these values; and the reference, where it
            calls anybody better (by mistake with a chance of at most ``LEVEL``, as it says there).

    Returns:
        Their names: all of them where nobody is shown to be better. At least one where all have the same seeds: whose
        mean is the best is beaten by nobody.

    Raises:
        ValueError: A value is not finite.
    """
    level = LEVEL / max(1, len(values) - 1)

    def beats(one: Mapping[int, float], other: Mapping[int, float]) -> bool:
        gap = paired_difference(one, other)
        return gap is not None and gap.p is not None and gap.p < level and (gap.mean > 0) == (mode == "max")

    unbeaten = (name for name, own in values.items() if not any(beats(other, own) for other in values.values()))
    return frozenset(unbeaten) - frozenset(shown_worse)


def first_shares(values: Mapping[str, Mapping[int, float]], mode: str) -> dict[str, float]:
    """How often each candidate has the best mean when the seeds are drawn again: P(rank 1).

    A bootstrap of the seeds that all candidates have, paired over candidates. It knows only the seeds that were run: of
    5 seeds it draws again and again, so that a candidate that is behind on each of them has a share of 0, and one that
    is ahead on each has 1, which is not certainty. The draws are always the same.

    Args:
        values: Finite metric by seed of every candidate, by name.
        mode: ``max`` if higher is better, else ``min``.

    Returns:
        Shares by name, 0..1; together 1, as ties are shared. Empty with fewer than two candidates or common seeds.
    """
    common = sorted(set.intersection(*(set(own) for own in values.values()))) if values else []
    if len(values) < 2 or len(common) < 2:
        return {}
    import numpy as np

    measured = np.array([[own[seed] for seed in common] for own in values.values()]) * (1 if mode == "max" else -1)
    times = np.random.default_rng(0).multinomial(len(common), [1 / len(common)] * len(common), DRAWS)
    means = times @ measured.T / len(common)
    first = means >= means.max(axis=1, keepdims=True) - 1e-12 * np.abs(measured).max()  # sums of equals may round apart
    shares = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    return dict(zip(values, map(float, shares), strict=True))
