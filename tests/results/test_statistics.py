"""Intervals, comparisons and rank agreement, against scipy.stats and by their properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from results.statistics import (
    LEVEL,
    Outcome,
    compare,
    holm,
    kendall_tau,
    mean_interval,
    paired_difference,
    prediction_interval,
    wilson_interval,
)

finite = st.floats(-1e6, 1e6)


def seeds(*values):
    return dict(enumerate(values))


def compare_one(candidate, reference, *, mode="max", candidate_trials=9, reference_trials=9):
    found = compare(
        {"c": candidate}, reference, mode=mode, trials={"c": candidate_trials}, reference_trials=reference_trials
    )
    return found["c"]


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
    assert ours.sd == pytest.approx((a - b).std(ddof=1))
    assert ours.n == n


def test_the_interval_covers_the_true_difference_in_95_percent_of_studies():
    """The pairs share an effect of the seed, which cancels out; 4000 studies: standard error 0.34 points."""
    rng = np.random.default_rng(7)
    shared, own = rng.normal(0, 0.01, (4000, 1, 5)), rng.normal(0, 0.003, (4000, 2, 5))
    values = 0.95 + shared + own + np.array([0.002, 0.0])[:, None]
    found = [paired_difference(dict(enumerate(a)), dict(enumerate(b))) for a, b in values]
    assert np.mean([gap.low <= 0.002 <= gap.high for gap in found]) == pytest.approx(0.95, abs=0.012)


def test_one_value_has_no_interval():
    only = mean_interval([0.9])
    assert (only.mean, only.low, only.high, only.sd, only.n) == (0.9, None, None, None, 1)


@pytest.mark.parametrize("values", [[0.9526] * 3, [0.1 + 0.2, 0.3], [0.0, 0.0]])
def test_equal_values_have_no_interval_of_width_zero(values):
    equal = mean_interval(values)
    assert (equal.low, equal.high, equal.sd, equal.n) == (None, None, None, len(values))
    assert equal.mean == pytest.approx(values[0])


def test_the_prediction_interval_holds_further_values_in_95_percent_of_studies():
    """Also the mean of three, and the interval of the mean does not; 6000 studies: standard error 0.28 points."""
    rng = np.random.default_rng(9)
    values = rng.normal(0.95, 0.01, (6000, 8))
    held = {1: 0, 3: 0, "mean": 0}
    for row in values:
        fresh = mean_interval(list(row[:5]))
        for draws in (1, 3):
            low, high = prediction_interval(fresh, draws)
            held[draws] += low <= row[5 : 5 + draws].mean() <= high
        held["mean"] += fresh.low <= row[5] <= fresh.high
    assert held[1] / 6000 == pytest.approx(0.95, abs=0.01)
    assert held[3] / 6000 == pytest.approx(0.95, abs=0.01)
    assert held["mean"] / 6000 < 0.75


def test_without_a_spread_nothing_is_predicted():
    assert prediction_interval(mean_interval([0.9])) is None
    assert prediction_interval(mean_interval([0.9, 0.9])) is None


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
    assume(interval.sd is not None)
    assert interval.low <= interval.mean <= interval.high
    moved = mean_interval([v + shift for v in values])
    assume(moved.sd is not None)  # small differences are rounding beside a large shift
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


# Candidates against the reference


@pytest.mark.parametrize(("step", "words"), [(1 / 360, "one and the same step"), (-1 / 360, "step"), (0.0, "are 0,")])
def test_equal_differences_show_nothing(step, words):
    values = [0.95, 0.96, 0.975, 0.98, 0.97]
    found = compare_one(seeds(*(v + step for v in values)), seeds(*values))
    assert found.outcome is Outcome.NOT_SHOWN
    assert found.p_corrected is None
    assert "all 5 differences" in found.reason
    assert words in found.reason
    assert "more seeds are needed" in found.reason


GOOD, POOR = seeds(0.97, 0.975, 0.98), seeds(0.90, 0.91, 0.905)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_better_and_worse_follow_the_direction(mode):
    first, second = compare_one(GOOD, POOR, mode=mode), compare_one(POOR, GOOD, mode=mode)
    expected = [Outcome.BETTER, Outcome.WORSE]
    assert [first.outcome, second.outcome] == (expected if mode == "max" else expected[::-1])
    assert "excludes 0" in first.reason


def test_an_interval_with_zero_shows_nothing():
    found = compare_one(seeds(0.97, 0.95, 0.96), seeds(0.955, 0.965, 0.958))
    assert found.outcome is Outcome.NOT_SHOWN
    assert found.difference.low < 0 < found.difference.high
    assert "includes 0" in found.reason


def test_nobody_is_better_than_a_reference_with_fewer_trials():
    found = compare_one(GOOD, POOR, candidate_trials=48, reference_trials=12)
    assert found.outcome is Outcome.NOT_COMPARED
    assert "12 trials" in found.reason
    assert "48" in found.reason
    assert compare_one(POOR, GOOD, candidate_trials=48, reference_trials=12).outcome is Outcome.WORSE


def test_a_reference_in_which_nothing_varies_is_fully_tuned():
    assert compare_one(GOOD, POOR, candidate_trials=48, reference_trials=None).outcome is Outcome.BETTER


@pytest.mark.parametrize("common", [0, 1])
def test_fewer_than_two_common_seeds_are_no_comparison(common):
    found = compare_one({1: 0.9, 2: 0.8}, {1 if common else 5: 0.5})
    assert found.outcome is Outcome.NOT_COMPARED
    assert (found.difference, found.p_corrected, found.compared) == (None, None, 0)
    assert str(common) in found.reason


def test_an_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="max or min"):
        compare_one(GOOD, POOR, mode="up")


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8), st.sampled_from(["max", "min"]))
def test_a_single_candidate_is_better_exactly_if_its_interval_excludes_zero(pairs, mode):
    a, b = ({i: p[k] for i, p in enumerate(pairs)} for k in (0, 1))
    found = compare_one(a, b, mode=mode)
    assume(found.difference is not None and found.difference.low is not None)
    sign = 1 if mode == "max" else -1
    low, high = sorted((sign * found.difference.low, sign * found.difference.high))
    assert (found.outcome is Outcome.BETTER) == (low > 0)
    assert (found.outcome is Outcome.WORSE) == (high < 0)


def together(candidates, reference, mode="max"):
    return compare(candidates, reference, mode=mode, trials=dict.fromkeys(candidates, 9), reference_trials=9)


def test_p_values_of_several_candidates_are_corrected_for_each_other():
    rng = np.random.default_rng(3)
    reference = seeds(*rng.normal(0.95, 0.004, 6))
    candidates = {name: seeds(*rng.normal(mean, 0.004, 6)) for name, mean in (("a", 0.955), ("b", 0.958), ("c", 0.95))}
    found = together(candidates, reference)
    raw = {n: stats.ttest_rel(list(v.values()), list(reference.values())).pvalue for n, v in candidates.items()}
    assert {n: c.p_corrected for n, c in found.items()} == pytest.approx(closed_testing(raw))
    assert {c.compared for c in found.values()} == {3}


def test_what_only_chance_among_several_may_have_shown_is_not_shown():
    reference = seeds(0.950, 0.952, 0.948, 0.951, 0.949)
    ahead = seeds(0.956, 0.953, 0.953, 0.953, 0.9505)
    alone = together({"a": ahead}, reference)["a"]
    assert alone.outcome is Outcome.BETTER
    assert LEVEL / 2 < alone.difference.p < LEVEL
    others = {"a": ahead, "b": seeds(0.950, 0.951, 0.949, 0.952, 0.948)}
    found = together(others, reference)["a"]
    assert found.outcome is Outcome.NOT_SHOWN
    assert found.difference == alone.difference
    assert found.p_corrected == pytest.approx(2 * alone.difference.p)
    assert found.reason.startswith(f"p = {found.p_corrected:.2g} after correction for 2 candidates")
    assert found.reason.endswith("only taken alone, the 95 % interval excludes 0 over 5 common seeds")


def test_candidates_without_a_p_value_count_and_those_without_common_seeds_do_not():
    reference = seeds(0.95, 0.96, 0.97)
    step = seeds(*(v + 1 / 360 for v in reference.values()))
    found = together({"a": GOOD, "step": step, "elsewhere": {77: 0.9, 78: 0.9}}, reference)
    assert {name: c.compared for name, c in found.items()} == {"a": 2, "step": 2, "elsewhere": 2}
    assert found["a"].p_corrected == pytest.approx(min(1, 2 * found["a"].difference.p))


@pytest.mark.parametrize("several", [1, 2, 4])
def test_picking_the_luckiest_of_equal_candidates_raises_no_more_false_alarms_than_the_level(several):
    """The worst case of choosing and testing on the same seeds: what is chosen by is what is tested."""
    rng = np.random.default_rng(11)
    values = rng.normal(0.95, 0.004, (3000, several + 1, 5))
    alarms = corrected = 0
    for reference, *candidates in values:
        by_name = {str(i): dict(enumerate(c)) for i, c in enumerate(candidates)}
        picked = max(by_name, key=lambda name: sum(by_name[name].values()))
        found = together(by_name, dict(enumerate(reference)))[picked]
        alarms += found.difference.p < LEVEL
        corrected += found.outcome in (Outcome.BETTER, Outcome.WORSE)
    assert corrected / 3000 < LEVEL + 0.01
    assert alarms / 3000 > 1.2 * LEVEL or several < 4


def closed_testing(p):
    """Holm's correction by the closure principle: the largest Bonferroni p value of any set that holds the name."""
    sets = [s for n in range(1, len(p) + 1) for s in itertools.combinations(p, n)]
    return {name: max(min(1, len(s) * min(p[i] for i in s)) for s in sets if name in s) for name in p}


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holms_correction_is_bonferronis_under_closed_testing(values):
    assert holm(values) == pytest.approx(list(closed_testing(dict(enumerate(values))).values()))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_as_the_step_down_procedure_does(values):
    """Against the procedure as published: from the smallest on, until one is not below its own level."""
    corrected = holm(values)
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
            if values[place] * (len(values) - rank) >= level:
                break
            rejected.add(place)
        assert {i for i, p in enumerate(corrected) if p < level} == rejected
    assert all(p <= q <= 1 or math.isclose(p, q) for p, q in zip(values, corrected, strict=True))


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
