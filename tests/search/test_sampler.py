"""The contract that all samplers share: pure, feasible, new, and better than chance where they learn."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.schema import TrialState
from search.sampler import Observation, propose, unfit
from search.settings import CmaEs, Gp, Grid, Qmc, Random, Tpe
from spaces import Axis, Choice, Expression, Integer, LogUniform, SearchSpace, Uniform
from spaces import Grid as Listed

SAMPLERS = {
    "tpe": Tpe(startup_trials=4),
    "tpe multivariate": Tpe(startup_trials=4, multivariate=True),
    "gp": Gp(startup_trials=3),
    "cmaes": CmaEs(),
    "qmc": Qmc(),
    "random": Random(),
    "grid": Grid(),
}
FAST = [name for name in SAMPLERS if name != "gp"]
ALL = [*FAST, pytest.param("gp", marks=pytest.mark.slow)]

NUMBERS = SearchSpace({"loss.beta": Axis(LogUniform(0.01, 10)), "x": Axis(Uniform(-1, 1)), "n": Axis(Integer(1, 9))})
FINITE = SearchSpace({"loss.alpha": Axis(Uniform(0.1, 0.5, step=0.1)), "m": Axis(Listed((1, 10, 100)))})
MIXED = SearchSpace(
    {
        "loss.name": Axis(Choice(("tempered", "tampered"))),
        "loss.beta": Axis(LogUniform(0.01, 10), when={"loss.name": ("tempered",)}),
        "loss.alpha": Axis(Uniform(0, 1), when={"loss.name": ("tampered",)}),
        "a": Axis(Uniform(0, 1)),
        "b": Axis(Uniform(0, 1)),
    },
    require=(Expression.parse("a > b"),),
)
RIDGE = SearchSpace({"a": Axis(Uniform(0, 1)), "b": Axis(Uniform(0, 1))})
FINITE_NEEDING = SearchSpace(FINITE.entries, require=(Expression.parse("m * loss.alpha < 30"),))


def seen(coordinates, value=0.5, state=TrialState.COMPLETED, epochs=27):
    return Observation(coordinates=coordinates, state=state, epochs=epochs, value=value)


def ask(space, observations, sampler, *, number=None, seed=0, mode="max", arm="search", known=(), fixed=None):
    number = len(observations) if number is None else number
    return propose(
        space,
        observations,
        sampler=sampler,
        mode=mode,
        seed=seed,
        arm=arm,
        number=number,
        fixed=fixed or {},
        known=known,
    )


def history(space, count, objective, sampler, seed=0, mode="max"):
    observations = []
    for _ in range(count):
        at = ask(space, observations, sampler, seed=seed, mode=mode).coordinates
        observations.append(seen(at, objective(at)))
    return observations


def spread(at):
    """Any objective: the sum of what is a number."""
    return float(sum(value for value in at.values() if not isinstance(value, str)))


def fit(sampler, *spaces):
    return [space for space in spaces if unfit(space, sampler) is None]


# Pure


@pytest.mark.parametrize("names", [FAST, pytest.param(["gp"], marks=pytest.mark.slow)])
def test_proposals_are_the_same_in_processes_with_other_hash_seeds(names):
    code = f"from tests.search.test_sampler import *\nprint(some_of({names}))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    first, second = (run.communicate()[0] for run in runs)
    assert first == second == f"{some_of(names)}\n"


def some_of(names):
    """Proposals of samplers in spaces of all kinds."""
    pairs = [(SAMPLERS[name], space) for name in names for space in fit(SAMPLERS[name], NUMBERS, FINITE, MIXED)]
    return [[o.coordinates for o in history(space, 8, spread, sampler)] for sampler, space in pairs]


@pytest.mark.parametrize("name", ALL)
def test_the_same_arguments_give_the_same_proposal_again_whatever_came_between(name):
    sampler = SAMPLERS[name]
    space = fit(sampler, NUMBERS, FINITE)[0]
    past = history(space, 6, spread, sampler)
    first = ask(space, past, sampler)
    ask(space, past[:4], sampler)
    ask(FINITE, [], Random(), seed=5)
    assert ask(space, list(past), sampler) == first


@pytest.mark.parametrize("name", ALL)
def test_seed_and_arm_change_the_proposal(name):
    sampler = SAMPLERS[name]
    space = fit(sampler, NUMBERS, FINITE)[0]

    def proposals(**changes):
        return str([ask(space, [], sampler, number=number, **changes).coordinates for number in range(3)])

    assert len({proposals(), proposals(seed=1), proposals(arm="baseline")}) == 3


@pytest.mark.parametrize("name", ["random", "qmc"])
def test_blind_samplers_do_not_look_at_trials_where_no_point_can_come_twice(name):
    class Closed(list):
        def __iter__(self):
            raise AssertionError("looked")

        __getitem__ = __iter__

    assert ask(RIDGE, Closed([None] * 9), SAMPLERS[name]).coordinates


# Feasible and new


@pytest.mark.parametrize("name", ALL)
def test_proposals_lie_in_the_space_and_meet_its_requirements(name):
    sampler = SAMPLERS[name]
    for space in fit(sampler, NUMBERS, MIXED, FINITE_NEEDING):
        for observation in history(space, 5 if name == "gp" else 14, spread, sampler):
            assert space.contains(observation.coordinates)
            assert space.feasible(observation.coordinates, {})


STATES = st.sampled_from(list(TrialState))
VALUES = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([math.nan, math.inf, -math.inf]))


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_history_gives_a_feasible_proposal(name, data):
    sampler = SAMPLERS[name]
    space = data.draw(st.sampled_from(fit(sampler, NUMBERS, MIXED, FINITE_NEEDING)))
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    told = data.draw(st.lists(st.tuples(STATES, VALUES, st.integers(0, 27)), max_size=14))
    past = [seen(space.sample(rng, {}), value, state, epochs) for state, value, epochs in told]
    at = ask(space, past, sampler, seed=seed, mode=data.draw(st.sampled_from(["max", "min"]))).coordinates
    assert space.contains(at)
    assert space.feasible(at, {})


@pytest.mark.parametrize("name", FAST)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), state=STATES)
def test_no_point_of_a_finite_space_comes_twice_while_others_are_left(name, seed, state):
    sampler = SAMPLERS[name]
    past = []
    for _ in FINITE_NEEDING.grid({}):
        at = ask(FINITE_NEEDING, past, sampler, seed=seed).coordinates
        assert at not in [observation.coordinates for observation in past]
        past.append(seen(at, spread(at), state))
    assert "every point of the space had been tried" in ask(FINITE_NEEDING, past, sampler, seed=seed).origin


def test_a_gaussian_process_does_not_repeat_a_point_of_a_finite_space():
    space = SearchSpace({"x": Axis(Listed((1, 2, 3, 4)))})
    past = history(space, 4, lambda at: -abs(at["x"] - 3), Gp(startup_trials=2))
    assert sorted(observation.coordinates["x"] for observation in past) == [1, 2, 3, 4]


def test_points_that_the_user_tried_are_not_tried_again():
    for name in ("random", "qmc", "grid"):
        past = [seen(point) for point in FINITE.grid({})[:-1]]
        assert ask(FINITE, past, SAMPLERS[name]).coordinates == FINITE.grid({})[-1]


def test_a_configuration_without_free_values_is_tried_once_while_a_continuous_range_is_left():
    space = SearchSpace(
        {"loss": Axis(Choice(("plain", "tempered"))), "beta": Axis(Uniform(0, 1), when={"loss": ("tempered",)})}
    )
    for name in ("tpe", "qmc", "random"):
        past = history(space, 20, spread, SAMPLERS[name])
        assert [observation.coordinates["loss"] for observation in past].count("plain") <= 1


def test_empty_space_gives_its_only_configuration():
    proposal = ask(SearchSpace({}), [], Tpe())
    assert (proposal.coordinates, proposal.origin) == ({}, "the only configuration there is")


# Learning


def bowl(at):
    """Best at (0.3, 0.6), along a ridge."""
    a, b = at["a"] - 0.3, at["b"] - 0.6
    return -((a + b) ** 2 + 0.2 * (a - b) ** 2)


@pytest.mark.parametrize(
    ("name", "count"),
    [("tpe", 40), ("tpe multivariate", 40), ("cmaes", 40), pytest.param("gp", 12, marks=pytest.mark.slow)],
)
def test_learning_beats_chance(name, count):
    seeds = range(2) if name == "gp" else range(4)

    def best(sampler):
        return np.mean([max(bowl(o.coordinates) for o in history(RIDGE, count, bowl, sampler, s)) for s in seeds])

    assert best(SAMPLERS[name]) > 0.5 * best(Random())


@pytest.mark.parametrize("name", ["tpe", "cmaes", pytest.param("gp", marks=pytest.mark.slow)])
def test_trials_of_an_earlier_study_take_the_place_of_the_start(name):
    rng = np.random.default_rng(0)
    known = [seen(at, bowl(at)) for at in (RIDGE.sample(rng, {}) for _ in range(60))]
    outside = [seen({"gone": 1.0}), seen({"a": 7.0, "b": 0.5})]
    sampler = SAMPLERS[name]
    warm = [ask(RIDGE, [], sampler, known=known + outside, number=number) for number in range(3)]
    cold = [ask(RIDGE, [], sampler, number=number) for number in range(3)]
    assert all("random" not in proposal.origin for proposal in warm)
    assert np.mean([bowl(p.coordinates) for p in warm]) > np.mean([bowl(p.coordinates) for p in cold])
    assert all("62" not in proposal.origin for proposal in warm)


@pytest.mark.parametrize(
    ("name", "count"), [("tpe", 40), ("cmaes", 40), pytest.param("gp", 14, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("mode", ["max", "min"])
def test_where_trials_diverge_is_avoided(name, count, mode):
    space = SearchSpace({"x": Axis(Uniform(0, 1))})
    sign = 1 if mode == "max" else -1
    past = []
    for number in range(count):
        x = ask(space, past, SAMPLERS[name], mode=mode).coordinates["x"]
        state = TrialState.DIVERGED if x > 0.5 else (TrialState.PRUNED, TrialState.COMPLETED)[number % 2]
        past.append(seen({"x": x}, math.nan if x > 0.5 else -sign * abs(x - 0.25), state, epochs=3))
    late = [observation.state for observation in past[count // 2 :]]
    assert late.count(TrialState.DIVERGED) <= len(late) / 3


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.5])
def test_a_diverged_trial_is_worst_whatever_was_measured(mode, value):
    good = [seen({"a": 0.1 + i / 100, "b": 0.1}, 0.5, TrialState.PRUNED, epochs=1) for i in range(3)]
    diverged = [seen({"a": 0.9 + i / 100, "b": 0.9}, value, TrialState.DIVERGED, epochs=9) for i in range(9)]
    found = [ask(RIDGE, diverged + good, Tpe(), seed=s, mode=mode).coordinates["a"] for s in range(15)]
    assert np.median(found) < 0.5


# Why


def test_origins_say_why_in_plain_words():
    rng = np.random.default_rng(0)
    states = [TrialState.COMPLETED] * 4 + [TrialState.PRUNED] * 3 + [TrialState.DIVERGED] * 2 + [TrialState.RUNNING]
    past = [seen(RIDGE.sample(rng, {}), 0.5, state) for state in states]
    told = "9 trials: 4 completed, 3 pruned, 2 diverged; 1 unfinished"
    assert ask(RIDGE, past, Tpe(startup_trials=9)).origin == f"TPE model of {told}"
    assert ask(RIDGE, past, Tpe()).origin == "random start-up: 9 of 10 trials have ended"
    assert ask(RIDGE, past, Gp()).origin == "random start-up: 9 of 10 trials have ended"
    assert ask(RIDGE, past, Gp(startup_trials=9)).origin == f"Gaussian process of {told}"
    assert ask(RIDGE, past, CmaEs(population=4)).origin == "generation 3 of CMA-ES"
    assert ask(RIDGE, past, Qmc()).origin == "point 11 of the Sobol sequence"
    assert ask(RIDGE, past, Random()).origin == "random draw 11"
    assert ask(FINITE, past[:0], Grid()).origin == "grid point 1 of 15"


def test_unfit_says_why_a_sampler_cannot_search_a_space_and_what_to_do():
    choice = SearchSpace({"model": Axis(Choice(("a", "b")))})
    words = SearchSpace({"model": Axis(Listed(("a", "b")))})
    log = SearchSpace({"loss.beta": Axis(LogUniform(0.01, 10))})
    assert unfit(choice, CmaEs()) == "cmaes needs numbers only, got a choice at model; use tpe"
    assert unfit(words, CmaEs()) == "cmaes needs numbers only, got words at model; use tpe"
    only_then = SearchSpace({"n": Axis(Integer(1, 2)), "x": Axis(Uniform(0, 1), when={"n": (1,)})})
    assert unfit(only_then, CmaEs()) == "cmaes needs values that always count, got a condition at x; use tpe"
    assert unfit(RIDGE, Grid()) == (
        "grid needs a finite space, got a continuous range at a; give it a step, or use {grid: [...]}"
    )
    assert unfit(log, Grid()) == (
        "grid needs a finite space, got a continuous range at loss.beta; list its values as {grid: [...]}"
    )
    large = SearchSpace({"n": Axis(Integer(1, 1000)), "m": Axis(Integer(1, 1000))})
    assert unfit(large, Grid()) == "grid needs at most 100,000 points, got 1,000,000; use fewer values, or qmc"
    assert all(unfit(MIXED, sampler) is None for sampler in (Tpe(), Gp(), Qmc(), Random()))
    assert unfit(NUMBERS, CmaEs()) is None
    assert unfit(FINITE, Grid()) is None
