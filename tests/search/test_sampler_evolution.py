import numpy as np
import pytest
from cmaes import CMA

from results.schema import TrialState
from search.samplers.request import proposal_seed
from search.settings import CmaEs
from spaces import Axis, LogUniform, SearchSpace, Uniform
from tests.search.test_sampler import RIDGE, ask, bowl, history, seen


@pytest.mark.parametrize("mode", ["max", "min"])
def test_with_one_worker_it_is_the_published_strategy(mode):
    sign = 1 if mode == "max" else -1
    strategy = CMA(mean=np.array([0.5, 0.5]), sigma=0.3, bounds=np.array([[0.0, 1.0]] * 2), population_size=6)
    expected, generation = [], []
    for number in range(30):
        strategy.reseed_rng(proposal_seed(0, "search", number))
        units = strategy.ask()
        expected.append({"a": units[0], "b": units[1]})
        generation.append((units, -bowl(expected[-1])))
        if len(generation) == 6:
            strategy.tell(generation)
            generation = []
    found = history(RIDGE, 30, lambda at: sign * bowl(at), CmaEs(), mode=mode)
    for one, other in zip(found, expected, strict=True):
        assert one.coordinates == pytest.approx(other, abs=1e-12)


def test_pruned_trials_rank_below_completed_ones_by_how_far_they_came_and_diverged_ones_last():
    space = SearchSpace({"x": Axis(Uniform(0, 1)), "y": Axis(LogUniform(0.1, 10))})

    def mean_of_the_next(states):
        past = [
            seen({"x": 0.1 + 0.2 * index, "y": 1.0}, value, state, epochs)
            for index, (state, value, epochs) in enumerate(states)
        ]
        return np.mean([ask(space, past, CmaEs(population=4), number=n).coordinates["x"] for n in range(4, 60)])

    completed, pruned, diverged = TrialState.COMPLETED, TrialState.PRUNED, TrialState.DIVERGED
    rising = [(diverged, None, 1), (pruned, 0.9, 1), (pruned, 0.2, 9), (completed, 0.1, 27)]
    assert mean_of_the_next(rising) > mean_of_the_next(rising[::-1]) + 0.2


def test_unfinished_trials_do_not_change_the_distribution():
    past = [seen(point, bowl(point)) for point in ({"a": i / 9, "b": i / 7} for i in range(6))]
    running = [seen({"a": 0.5, "b": 0.5}, None, state) for state in (TrialState.RUNNING, TrialState.PAUSED)]
    assert ask(RIDGE, past + running, CmaEs(), number=8) == ask(RIDGE, past, CmaEs(), number=8)
