"""Which candidates may be the best, and how often each comes first: against plain definitions and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.statistics import Outcome, compare, first_shares, may_be_best

tables = st.integers(2, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=n, max_size=n), min_size=2, max_size=5
    )
)


def named(rows):
    return {f"c{i}": dict(enumerate(map(float, row))) for i, row in enumerate(rows)}


# The set that cannot be told apart from the best


def test_the_set_is_that_of_the_definition():
    """Out is who is beaten by another in scipy's paired t test at 0.05 / (k - 1)."""
    rng = np.random.default_rng(5)
    sizes = set()
    for _ in range(50):
        rows = rng.normal(np.linspace(0.95, 0.962, 4)[:, None], 0.003, (4, 5))
        beaten = {
            f"c{i}"
            for i, j in itertools.permutations(range(4), 2)
            if rows[j].mean() > rows[i].mean() and stats.ttest_rel(rows[j], rows[i]).pvalue < 0.05 / 3
        }
        found = may_be_best(named(rows), "max")
        assert found == set(named(rows)) - beaten
        sizes.add(len(found))
    assert len(sizes) > 1


@pytest.mark.parametrize("spread", [0.0, 0.002])
def test_the_set_holds_the_truly_best_candidate(spread):
    """With all candidates equal, and with some a little behind; 1500 studies of 5 candidates and 5 seeds."""
    rng = np.random.default_rng(2)
    shared, own = rng.normal(0, 0.005, (1500, 1, 5)), rng.normal(0, 0.004, (1500, 5, 5))
    studies = 0.95 + shared + own - spread * np.arange(5)[:, None]
    held = [("c0" in may_be_best(named(rows), "max")) for rows in studies]
    assert np.mean(held) >= 0.95


@pytest.mark.parametrize("spread", [0.0, 0.002])
@pytest.mark.parametrize("reference", ["c0", "c2"])
def test_the_set_holds_the_truly_best_also_without_those_shown_to_be_worse(spread, reference):
    """1000 studies of 4 candidates and 5 seeds; the reference is the best, or one of the others."""
    rng = np.random.default_rng(3)
    shared, own = rng.normal(0, 0.005, (1000, 1, 5)), rng.normal(0, 0.004, (1000, 4, 5))
    studies = 0.95 + shared + own - spread * np.arange(4)[:, None]
    held = smaller = 0
    for rows in map(named, studies):
        worse = shown_worse(rows, reference)
        found = may_be_best(rows, "max", worse)
        assert found
        held += "c0" in found
        smaller += found < may_be_best(rows, "max")
    assert held / 1000 >= 0.95
    assert smaller > 0


def shown_worse(rows, reference):
    """Whom Holm's comparisons with the reference show to be worse, be it the reference."""
    others = {name: own for name, own in rows.items() if name != reference}
    found = compare(others, rows[reference], mode="max", trials=dict.fromkeys(others, 9), reference_trials=9)
    worse = {name for name, c in found.items() if c.outcome is Outcome.WORSE}
    return worse | {reference for c in found.values() if c.outcome is Outcome.BETTER}


def test_a_candidate_far_behind_is_out():
    rows = named([[0.97, 0.972, 0.971, 0.969, 0.973], [0.971, 0.97, 0.972, 0.97, 0.972], [0.9, 0.91, 0.905, 0.9, 0.91]])
    assert may_be_best(rows, "max") == {"c0", "c1"}
    assert may_be_best(rows, "min") == {"c2"}


@given(tables, st.sampled_from(["max", "min"]))
def test_the_best_mean_is_always_in_the_set(rows, mode):
    found = may_be_best(named(rows), mode)
    means = [sum(row) for row in rows]
    pick = max if mode == "max" else min
    assert f"c{means.index(pick(means))}" in found


def test_without_anything_to_tell_apart_all_are_in_the_set():
    assert may_be_best({}, "max") == frozenset()
    assert may_be_best(named([[0.9, 0.8]]), "max") == {"c0"}
    assert may_be_best({"a": {1: 0.9, 2: 0.91}, "b": {3: 0.1, 4: 0.12}}, "max") == {"a", "b"}
    assert may_be_best(named([[0.5, 0.6, 0.7], [0.6, 0.7, 0.8]]), "max") == {"c0", "c1"}, "equal steps show no spread"


# P(rank 1)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_shares_are_those_of_all_resamples(mode):
    """Four seeds have 256 resamples, which can all be tried."""
    rows = np.random.default_rng(1).normal(0.95, 0.004, (3, 4))
    counts = np.zeros(3)
    for seeds in itertools.product(range(4), repeat=4):
        means = rows[:, seeds].mean(axis=1)
        counts[means.argmax() if mode == "max" else means.argmin()] += 1
    assert list(first_shares(named(rows), mode).values()) == pytest.approx(counts / 256, abs=0.02)
    assert sorted(counts)[1] > 10, "more than one of them comes first"


@given(tables, st.sampled_from(["max", "min"]))
def test_shares_add_up_and_the_same_question_has_the_same_answer(rows, mode):
    shares = first_shares(named(rows), mode)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == first_shares(named(rows), mode)


@given(tables, st.integers(0, 3))
def test_equals_share_equally(rows, lift):
    """Also where the sum of the same values in another order is not bit for bit the same."""
    values = [v / 7 + lift for v in rows[0]]
    shares = first_shares({"a": dict(enumerate(values)), "b": dict(enumerate(values)), "c": {0: 0, 1: 0}}, "max")
    assert shares["a"] == shares["b"] >= 1 / 3 - 1e-9


def test_what_a_seed_does_to_all_candidates_cancels_out():
    rng = np.random.default_rng(4)
    rows = rng.normal(0.95, 0.004, (3, 5))
    assert first_shares(named(rows), "max") == first_shares(named(rows + rng.normal(0, 1, 5)), "max")


def test_who_leads_on_every_seed_always_comes_first():
    assert first_shares(named([[0.9, 0.8, 0.7], [0.91, 0.81, 0.71]]), "max") == {"c0": 0, "c1": 1}


def test_only_common_seeds_are_drawn():
    shares = first_shares({"a": {1: 0.9, 2: 0.9, 3: 0.0}, "b": {1: 0.8, 2: 0.8, 4: 1.0}}, "max")
    assert shares == {"a": 1, "b": 0}


@pytest.mark.parametrize("values", [{}, {"a": {1: 0.5, 2: 0.6}}, {"a": {1: 0.5, 2: 0.6}, "b": {2: 0.5, 3: 0.6}}])
def test_without_two_candidates_on_two_seeds_there_are_no_shares(values):
    assert first_shares(values, "max") == {}
