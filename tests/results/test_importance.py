"""Importance of settings: what Optuna's two methods say of trials whose truth is known."""

from __future__ import annotations

import random

import pytest

from results.importance import FEWEST, MOST, ImportanceUnknown, Observation, importance


def observations(n, score, seed=0):
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        a, b = chance.random(), chance.random()
        made.append(Observation((("a", a), ("b", b)), score(a, b) + chance.gauss(0, 0.01)))
    return tuple(made)


def test_what_decides_is_found_by_both_and_shares_add_up():
    found = importance(observations(60, lambda a, b: -((a - 0.4) ** 2) + 0.01 * b))
    assert found.n == 60
    for shares in (found.fanova, found.ped_anova):
        assert shares["a"] > 0.6
        assert sum(shares.values()) == pytest.approx(1)


def test_fanova_of_a_linear_sum_is_the_share_of_variance():
    found = importance(observations(150, lambda a, b: 2 * a + b))  # var(2a) : var(b) = 4 : 1
    assert found.fanova["a"] == pytest.approx(0.8, abs=0.08)


def test_the_same_trials_give_the_same_shares():
    trials = observations(30, lambda a, b: a)
    first = importance(trials)
    importance.cache_clear()
    assert importance(trials) == first


def test_words_are_a_setting_too():
    chance = random.Random(0)
    trials = tuple(
        Observation((("name", name), ("b", chance.random())), 1.0 * (name == "good") + chance.gauss(0, 0.1))
        for name in ["good", "bad"] * 20
    )
    assert importance(trials).fanova["name"] > 0.8


def test_a_setting_that_never_varied_explains_nothing():
    chance = random.Random(0)
    trials = tuple(Observation((("a", x := chance.random()), ("b", 1.0)), x) for _ in range(30))
    assert importance(trials).fanova == {"a": pytest.approx(1.0), "b": 0.0}


def test_of_many_trials_some_are_taken():
    assert importance(observations(2 * MOST + 1, lambda a, b: a)).n == MOST


@pytest.mark.parametrize(
    ("trials", "why"),
    [
        (observations(FEWEST - 1, lambda a, b: a), f"needs at least {FEWEST} trials, and there are {FEWEST - 1}"),
        (tuple(Observation((("a", i / 30),), 0.5) for i in range(30)), "all trials have the same value"),
        (tuple(Observation((("a", 1.0),), i / 30) for i in range(30)), "no searched value differs"),
    ],
)
def test_too_little_to_tell_is_said(trials, why):
    with pytest.raises(ImportanceUnknown, match=why):
        importance(trials)
