"""Intervals and verdicts, against scipy.stats and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from results.statistics import Outcome, compare, kendall_tau, mean_interval, paired_difference, wilson_interval

finite = st.floats(-1e6, 1e6)


def seeds(*values):
    return dict(enumerate(values))


@pytest.mark.parametrize("n", [2, 3, 5, 30])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_mean_interval_is_scipys(n, confidence):
    values = np.random.default_rng(n).normal(0.97, 0.01, n)
    ours = mean_interval(list(values), confidence)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert ours.mean == pytest.approx(values.mean())
    assert ours.sd == pytest.approx(values.std(ddof=1))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.n == n


@pytest.mark.parametrize("n", [2, 5, 12])
def test_paired_difference_is_scipys(n):
    rng = np.random.default_rng(n)
    a, b = rng.normal(0.97, 0.01, n), rng.normal(0.96, 0.01, n)
    ours = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.mean == pytest.approx((a - b).mean())
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.n == n


def test_one_value_has_no_interval():
    only = mean_interval([0.9])
    assert (only.mean, only.low, only.high, only.sd, only.n) == (0.9, None, None, None, 1)


@pytest.mark.parametrize("values", [[], [0.9, math.nan], [0.9, math.inf]])
def test_a_mean_of_nothing_or_of_nan_is_refused(values):
    with pytest.raises(ValueError, match="mean needs"):
        mean_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_interval([1.0, 2.0], confidence)


@given(st.lists(finite, min_size=2, max_size=20), finite)
def test_an_interval_holds_its_mean_and_moves_with_the_values(values, shift):
    interval = mean_interval(values)
    assert interval.low <= interval.mean <= interval.high
    moved = mean_interval([v + shift for v in values])
    assert moved.mean == pytest.approx(interval.mean + shift, abs=1e-6)
    assert moved.high - moved.low == pytest.approx(interval.high - interval.low, rel=1e-5, abs=1e-5)


@given(st.lists(st.tuples(finite, finite), min_size=2, max_size=10))
def test_the_difference_turns_round_with_its_sides(pairs):
    a, b = ({i: p[k] for i, p in enumerate(pairs)} for k in (0, 1))
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there.mean == pytest.approx(-back.mean)
    assert (there.p is None) == (back.p is None)
    assume(there.p is not None)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_only_common_seeds_count():
    a, b = {1: 0.9, 2: 0.8, 3: 0.5}, {2: 0.7, 1: 0.6, 9: 0.1}
    assert paired_difference(a, b).mean == pytest.approx(0.2)
    assert paired_difference(a, b).n == 2
    assert paired_difference({1: 0.9}, {1: 0.8}) is None


@pytest.mark.parametrize("step", [1 / 360, -1 / 360, 0.0])
def test_equal_differences_have_no_interval(step):
    values = [0.95, 0.96, 0.975, 0.98, 0.97]
    same = paired_difference(seeds(*(v + step for v in values)), seeds(*values))
    assert same.mean == pytest.approx(step)
    assert (same.low, same.high, same.p) == (None, None, None)


@pytest.mark.parametrize(("step", "words"), [(1 / 360, "one and the same step"), (-1 / 360, "step"), (0.0, "are 0,")])
def test_equal_differences_show_nothing(step, words):
    values = [0.95, 0.96, 0.975, 0.98, 0.97]
    found = compare(
        seeds(*(v + step for v in values)), seeds(*values), mode="max", candidate_trials=9, reference_trials=1
    )
    assert found.outcome is Outcome.NOT_SHOWN
    assert "all 5 differences" in found.reason
    assert words in found.reason
    assert "more seeds are needed" in found.reason


GOOD, POOR = seeds(0.97, 0.975, 0.98), seeds(0.90, 0.91, 0.905)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_better_and_worse_follow_the_direction(mode):
    first = compare(GOOD, POOR, mode=mode, candidate_trials=9, reference_trials=9)
    second = compare(POOR, GOOD, mode=mode, candidate_trials=9, reference_trials=9)
    expected = [Outcome.BETTER, Outcome.WORSE]
    assert [first.outcome, second.outcome] == (expected if mode == "max" else expected[::-1])
    assert "excludes 0" in first.reason


def test_an_interval_with_zero_shows_nothing():
    a, b = seeds(0.97, 0.95, 0.96), seeds(0.955, 0.965, 0.958)
    found = compare(a, b, mode="max", candidate_trials=9, reference_trials=9)
    assert found.outcome is Outcome.NOT_SHOWN
    assert found.difference.low < 0 < found.difference.high


def test_nobody_is_better_than_a_reference_with_fewer_trials():
    found = compare(GOOD, POOR, mode="max", candidate_trials=48, reference_trials=12)
    assert found.outcome is Outcome.NOT_COMPARED
    assert "12 trials" in found.reason
    assert "48" in found.reason
    worse = compare(POOR, GOOD, mode="max", candidate_trials=48, reference_trials=12)
    assert worse.outcome is Outcome.WORSE


def test_a_reference_in_which_nothing_varies_is_fully_tuned():
    found = compare(GOOD, POOR, mode="max", candidate_trials=48, reference_trials=None)
    assert found.outcome is Outcome.BETTER


@pytest.mark.parametrize("common", [0, 1])
def test_fewer_than_two_common_seeds_are_no_comparison(common):
    found = compare({1: 0.9, 2: 0.8}, {1 if common else 5: 0.5}, mode="max", candidate_trials=1, reference_trials=1)
    assert found.outcome is Outcome.NOT_COMPARED
    assert str(common) in found.reason


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="max or min"):
        compare(GOOD, POOR, mode="up", candidate_trials=1, reference_trials=1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8), st.sampled_from(["max", "min"]))
def test_the_verdict_says_better_only_if_the_interval_excludes_zero(pairs, mode):
    a, b = ({i: p[k] for i, p in enumerate(pairs)} for k in (0, 1))
    found = compare(a, b, mode=mode, candidate_trials=5, reference_trials=5)
    assume(found.difference is not None and found.difference.low is not None)
    sign = 1 if mode == "max" else -1
    low, high = sorted((sign * found.difference.low, sign * found.difference.high))
    assert (found.outcome is Outcome.BETTER) == (low > 0)
    assert (found.outcome is Outcome.WORSE) == (high < 0)


# Shares


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_a_share_is_scipys(n, confidence):
    for count in {0, 1, n // 2, n}:
        theirs = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
        assert wilson_interval(count, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_ends_of_the_interval_solve_wilsons_equation():
    low, high = wilson_interval(7, 30)
    z = stats.norm.ppf(0.975)
    for end in (low, high):
        assert abs(7 / 30 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 30))


def test_a_share_that_never_or_always_happened_touches_the_end():
    assert wilson_interval(0, 9)[0] == 0
    assert wilson_interval(9, 9)[1] == 1


@pytest.mark.parametrize(("count", "n"), [(1, 0), (0, 0), (-1, 5), (6, 5)])
def test_a_share_of_nothing_is_refused(count, n):
    with pytest.raises(ValueError, match="a share needs"):
        wilson_interval(count, n)


# Rank agreement

pairs = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=25)


@given(pairs)
def test_rank_agreement_is_scipys(values):
    a, b = zip(*values, strict=True)
    ours = kendall_tau(a, b)
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert ours is None
    else:
        assert ours == pytest.approx(stats.kendalltau(a, b).statistic)


def test_only_the_order_counts():
    a = [0.1, 0.5, 0.3, math.inf]
    assert kendall_tau(a, [1, 3, 2, 9]) == 1
    assert kendall_tau(a, [-1, -3, -2, -9]) == -1
    assert kendall_tau([], []) is None


def test_rankings_of_different_things_are_refused():
    with pytest.raises(ValueError, match="same things, got 2 and 1"):
        kendall_tau([1, 2], [1])
    with pytest.raises(ValueError, match="NaN"):
        kendall_tau([1, math.nan], [1, 2])
