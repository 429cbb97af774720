import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import (
    COARSE_ALPHA,
    DEFAULT_SPACES,
    FINE_ALPHA,
    GAP,
    LAMBDA,
    LOGIT_NORM,
    ORDERED_TEMPERATURES,
    PLAIN,
    TAU1,
    Axis,
    Expression,
    LogUniform,
    SearchSpace,
    SpaceError,
    Uniform,
    default_space,
)

LOSSES = {
    "tempered": {"name": "tempered", "beta": 1.0},
    "tampered": {"name": "tampered", "alpha": 1.0},
    "distilled": {"name": "distilled", "teacher": "a", "tau1": 4.0, "gap": 2.0, "weight": 0.5},
}
SGD = {"name": "sgd", "weight_decay": 5e-4, "clip_norm": 1.0}
ADAMW = {"name": "adamw", "eps": 1e-8, "weight_decay": 1e-2, "clip_norm": None}


def parsed(space):
    return SearchSpace({path: Axis.parse(spec) for path, spec in space.items()})


@given(seed=st.integers(0, 2**32 - 1))
def test_samples_of_every_default_space_lie_in_it(seed):
    for space in DEFAULT_SPACES.values():
        assert space.contains(space.sample(np.random.default_rng(seed), {}))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_default_space_has_the_paths_of_its_baseline(loss):
    assert PLAIN[loss].keys() <= DEFAULT_SPACES[loss].axes.keys()


@pytest.mark.parametrize("loss", LOSSES)
def test_default_space_varies_the_same_with_sgd_whatever_follows(loss):
    space = default_space({"loss": LOSSES[loss], "optimizer": SGD})
    assert parsed(space).axes == DEFAULT_SPACES[loss].axes


def test_space_of_temperature_check_is_the_papers_and_moves_along_its_rule():
    space = parsed(default_space({"loss": LOSSES["tempered"], "optimizer": SGD}))
    assert space.axes["loss.beta"].dimension == LogUniform(0.01, 10)
    assert space.axes["optimizer.lr"].times == Expression.parse("loss.beta ** -1")
    assert {path: axis.spec() for path, axis in space.derived.items()} == {
        "optimizer.weight_decay": {"equals": "0.0005 * loss.beta"},
        "optimizer.clip_norm": {"equals": "1.0 * loss.beta"},
    }


def test_default_space_of_adamw_has_learning_rates_of_its_own_that_follow_nothing():
    space = parsed(default_space({"loss": LOSSES["tempered"], "optimizer": ADAMW}))
    assert space.axes["optimizer.lr"] == Axis(LogUniform(1e-4, 0.1))
    assert list(space.derived) == ["optimizer.eps"]


@pytest.mark.parametrize("loss", ["tampered", "distilled"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW])
def test_nothing_is_rescaled_without_an_inverse_temperature(loss, optimizer):
    space = parsed(default_space({"loss": LOSSES[loss], "optimizer": optimizer}))
    assert space.derived == {}
    assert all(axis.times is None for axis in space.axes.values())


@given(seed=st.integers(0, 2**32 - 1))
def test_other_temperature_of_the_teacher_is_positive_everywhere_and_the_gap_as_advised(seed):
    axes = DEFAULT_SPACES["distilled"].axes
    assert min(axes["loss.tau1"].dimension.extremes()) > max(axes["loss.gap"].dimension.extremes())
    assert axes["loss.gap"].dimension == Uniform(1, 2)
    sample = DEFAULT_SPACES["distilled"].sample(np.random.default_rng(seed), {})
    assert sample["loss.tau1"] - sample["loss.gap"] >= 0.5
    assert 0 < sample["loss.weight"] < 1


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"loss": {"name": "hinge"}}, "loss must be one of tempered, tampered, distilled for a default space"),
        ({"optimizer": {"name": "lion"}}, "optimizer must be one of sgd, adamw for a default space, got 'lion'"),
    ],
)
def test_unknown_loss_or_optimizer_has_no_default_space(recipe, message):
    with pytest.raises(SpaceError, match=message):
        default_space(recipe)


def test_grids_of_alpha_are_those_of_the_paper_and_the_second_refines_the_first():
    assert COARSE_ALPHA.values == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert FINE_ALPHA.values == (0.2, 0.25, 0.3, 0.35, 0.4)
    coarse = SearchSpace({"loss.alpha": Axis(COARSE_ALPHA)})
    assert coarse.refined({"loss.alpha": 0.3}) == SearchSpace({"loss.alpha": Axis(FINE_ALPHA)})


@pytest.mark.parametrize(("tau1", "gap", "holds"), [(4, 2, True), (4, 0, False), (4, -1, False), (2, 2, False)])
def test_temperatures_of_the_asymmetric_paper_are_ordered_and_positive(tau1, gap, holds):
    assert ORDERED_TEMPERATURES.evaluate({"loss.tau1": tau1, "loss.gap": gap}) is holds


def test_named_spaces_are_what_the_defaults_are_made_of():
    axes = {path: axis.dimension for path, axis in DEFAULT_SPACES["distilled"].axes.items()}
    assert (axes["loss.tau1"], axes["loss.gap"], axes["loss.weight"]) == (TAU1, GAP, LAMBDA)
    assert LOGIT_NORM.values[0] == 0
