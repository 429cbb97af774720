"""TPE is Optuna's own where nothing interferes, and what Optuna is told is what was observed."""

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as Told
from optuna.trial import create_trial

from results.schema import TrialState
from search.samplers.optuna_models import _best_and_newest
from search.samplers.request import proposal_seed
from search.settings import Tpe
from spaces import Axis, Choice, Integer, LogUniform, SearchSpace, Uniform
from spaces import Grid as Listed
from tests.search.test_sampler import ask, seen

SPACE = SearchSpace(
    {
        "loss.beta": Axis(LogUniform(0.01, 10)),
        "x": Axis(Uniform(-1, 1)),
        "n": Axis(Integer(1, 64, log=True)),
        "k": Axis(Listed((1.0, 2.5, 7.0))),
        "c": Axis(Choice(("a", "b"))),
    }
)
DISTRIBUTIONS = {
    "loss.beta": FloatDistribution(0.01, 10, log=True),
    "x": FloatDistribution(-1, 1),
    "n": IntDistribution(1, 64, log=True),
    "k": IntDistribution(0, 2),
    "c": CategoricalDistribution(("a", "b")),
}
STATES = [TrialState.COMPLETED, TrialState.PRUNED, TrialState.RUNNING]


def plainly(observations, mode, seed, multivariate):
    """Optuna as its users call it."""
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=multivariate)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize", sampler=sampler)
    for one in observations:
        told = {"distributions": DISTRIBUTIONS}
        told["params"] = {**one.coordinates, "k": (1.0, 2.5, 7.0).index(one.coordinates["k"])}
        if one.state is TrialState.COMPLETED:
            told["value"] = one.value
        elif one.state is TrialState.RUNNING:
            told["state"] = Told.RUNNING
        else:
            told |= {"state": Told.PRUNED, "intermediate_values": {one.epochs: one.value}}
        study.add_trial(create_trial(**told))
    params = study.ask(DISTRIBUTIONS).params
    return {**params, "k": (1.0, 2.5, 7.0)[params["k"]]}


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("multivariate", [False, True])
@pytest.mark.parametrize("count", [3, 40])
def test_tpe_proposes_what_plain_optuna_does(mode, multivariate, count):
    rng = np.random.default_rng(count)
    past = [
        seen(SPACE.sample(rng, {}), float(rng.integers(5)) / 5, STATES[index % 3], int(rng.integers(1, 9)))
        for index in range(count)
    ]
    for number in range(5):
        proposal = ask(SPACE, past, Tpe(multivariate=multivariate), number=number, mode=mode)
        assert proposal.coordinates == plainly(past, mode, proposal_seed(0, "search", number), multivariate)


def test_running_trials_keep_others_away():
    space = SearchSpace({"x": Axis(Uniform(0, 1))})
    done = [seen({"x": x}, -((x - 0.5) ** 2)) for x in np.linspace(0, 1, 15)]
    running = [seen({"x": 0.5 + i / 1000}, None, TrialState.RUNNING, epochs=0) for i in range(8)]

    def distance(past):
        return np.mean([abs(ask(space, past, Tpe(), number=number).coordinates["x"] - 0.5) for number in range(30)])

    assert distance(done + running) > distance(done)


def test_stepped_values_come_out_as_they_are_written():
    space = SearchSpace({"loss.alpha": Axis(Uniform(0.1, 0.9, step=0.1)), "n": Axis(Integer(16, 64, step=16))})
    for number in range(20):
        at = ask(space, [], Tpe(), number=number).coordinates
        assert at["loss.alpha"] in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        assert at["n"] in [16, 32, 48, 64]


def test_a_gaussian_process_is_fitted_to_the_best_and_the_newest_in_their_order():
    scored = [(float(loss), f"t{index}") for index, loss in enumerate([*range(300), *range(1000, 1300)])]
    kept = _best_and_newest(scored)
    assert kept == scored[:100] + scored[-100:]
    assert _best_and_newest(scored[:200]) == scored[:200]


def test_a_value_that_is_not_finite_counts_as_none():
    assert seen({}, math.nan).measured is None
    assert seen({}, 0.5, TrialState.DIVERGED).measured is None
    assert seen({}, 0.5, TrialState.PRUNED).measured == 0.5
