import math
import subprocess
import sys

import numpy as np
import pytest

from results.schema import TrialState
from search.sampler import Observation, propose
from spaces import Axis, Choice, LogUniform, SearchSpace, Uniform

SPACE = SearchSpace({"loss.beta": Axis(LogUniform(0.01, 10)), "x": Axis(Uniform(-1, 1)), "c": Axis(Choice(("a", "b")))})


def seen(coordinates, value=0.5, state=TrialState.COMPLETED, epochs=27):
    return Observation(coordinates=coordinates, state=state, epochs=epochs, value=value)


def history(space, count, objective, mode="max", **kwargs):
    observations = []
    for number in range(count):
        at = propose(space, observations, mode=mode, seed=0, arm="search", number=number)
        observations.append(seen(at, objective(at), **kwargs))
    return observations


def test_proposals_lie_in_the_space():
    for observation in history(SPACE, 25, lambda at: at["x"]):
        assert SPACE.contains(observation.coordinates)


def test_same_seed_history_and_number_give_the_same_proposal_in_another_process():
    code = "from tests.search.test_sampler import *\nprint(history(SPACE, 14, lambda at: at['x'])[-1].coordinates)"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert runs == {f"{history(SPACE, 14, lambda at: at['x'])[-1].coordinates}\n"}


def test_seed_arm_and_number_change_the_proposal():
    def first(**changes):
        return propose(SPACE, [], **{"mode": "max", "seed": 0, "arm": "search", "number": 0, **changes})

    assert len({str(first(**c)) for c in ({}, {"seed": 1}, {"arm": "baseline"}, {"number": 1})}) == 4


@pytest.mark.parametrize("mode", ["max", "min"])
def test_search_goes_where_values_are_better(mode):
    sign = 1 if mode == "max" else -1
    space = SearchSpace({"loss.beta": Axis(LogUniform(0.01, 10))})
    trials = history(space, 50, lambda at: -sign * (math.log10(at["loss.beta"]) + 1) ** 2, mode=mode)
    late = [math.log10(t.coordinates["loss.beta"]) for t in trials[25:]]
    assert abs(np.median(late) + 1) < 0.3


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.5])
def test_search_avoids_where_trials_diverged(mode, value):
    space = SearchSpace({"x": Axis(Uniform(0, 1))})
    observations = []
    for number in range(60):
        at = propose(space, observations, mode=mode, seed=1, arm="search", number=number)
        if at["x"] > 0.5:
            observations.append(seen(at, value, TrialState.DIVERGED, epochs=3))
        else:
            observations.append(seen(at, 0.5, TrialState.PRUNED, epochs=1))
    late = [o.state for o in observations[30:]]
    assert late.count(TrialState.DIVERGED) < 8


@pytest.mark.parametrize("mode", ["max", "min"])
def test_diverged_trials_never_count_as_the_best_even_with_few_others(mode):
    space = SearchSpace({"x": Axis(Uniform(0, 1))})
    diverged = [seen({"x": 0.9 + i / 1000}, math.nan, TrialState.DIVERGED, epochs=1) for i in range(12)]
    pruned = [seen({"x": 0.1 + i / 1000}, 0.5, TrialState.PRUNED, epochs=1) for i in range(3)]
    proposed = [propose(space, diverged + pruned, mode=mode, seed=s, arm="a", number=15)["x"] for s in range(20)]
    assert np.median(proposed) < 0.5


def test_running_trials_are_not_proposed_again():
    space = SearchSpace({"x": Axis(Uniform(0, 1))})
    done = [seen({"x": x}, -((x - 0.5) ** 2)) for x in np.linspace(0, 1, 15)]
    running = [seen({"x": 0.5}, None, TrialState.RUNNING, epochs=0) for _ in range(3)]
    for number in range(5):
        assert propose(space, done + running, mode="max", seed=number, arm="a", number=18)["x"] != 0.5


def test_empty_space_gives_its_only_configuration():
    assert propose(SearchSpace({}), [], mode="max", seed=0, arm="a", number=0) == {}
