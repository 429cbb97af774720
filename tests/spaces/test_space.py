import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import DEFAULT_SPACES, PLAIN, Axis, LogUniform, Scale, SearchSpace, SpaceError, Uniform

BETA = Axis(LogUniform(0.01, 10))
RESCALED = Axis(LogUniform(0.001, 1), Scale("loss.beta", -1))


@given(beta=st.floats(0.01, 10), lr=st.floats(0.001, 1), exponent=st.sampled_from([-2, -1, -0.5, 0, 1]))
def test_rescaled_coordinate_times_power_of_beta_is_the_recipe_value(beta, lr, exponent):
    space = SearchSpace({"loss.beta": BETA, "optimizer.lr": Axis(LogUniform(0.001, 1), Scale("loss.beta", exponent))})
    params = space.resolve({"loss.beta": beta, "optimizer.lr": lr}, {})
    assert params["loss.beta"] == beta
    assert params["optimizer.lr"] == pytest.approx(lr * beta**exponent)


def test_factor_uses_the_fixed_value_where_the_path_does_not_vary():
    space = SearchSpace({"loss.beta": BETA, "optimizer.lr": RESCALED}).without({"loss.beta"})
    assert space.resolve({"optimizer.lr": 0.1}, {"loss.beta": 0.5}) == {"optimizer.lr": 0.2}


def test_factor_without_a_number_is_refused():
    with pytest.raises(SpaceError, match=r"must name a number of the recipe, got loss\.beta = None"):
        SearchSpace({"optimizer.lr": RESCALED}).resolve({"optimizer.lr": 0.1}, {})


def test_factor_on_a_rescaled_value_is_refused():
    with pytest.raises(SpaceError, match="not rescaled"):
        SearchSpace({"a": Axis(Uniform(0, 1), Scale("b", 1)), "b": Axis(Uniform(0, 1), Scale("c", 1))})


@pytest.mark.parametrize("text", ["loss.beta ** -1", "loss.beta ** 0.5", "loss.beta ** 1"])
def test_factor_is_written_as_it_was_read(text):
    assert Scale.parse(text).spec() == text


def test_bare_path_is_the_first_power():
    assert Scale.parse("loss.beta") == Scale("loss.beta", 1)


@pytest.mark.parametrize("text", ["loss.beta * 2", "__import__('os')", "", "2 ** loss.beta", None, 3])
def test_factor_that_is_no_power_of_a_path_is_refused(text):
    with pytest.raises(SpaceError, match="must be a recipe path to a power"):
        Scale.parse(text)


@given(seed=st.integers(0, 2**32 - 1))
def test_samples_lie_in_the_space(seed):
    for space in DEFAULT_SPACES.values():
        assert space.contains(space.sample(np.random.default_rng(seed)))


def test_space_does_not_contain_other_paths_or_values():
    space = SearchSpace({"loss.beta": BETA})
    assert not space.contains({})
    assert not space.contains({"loss.beta": 11.0})
    assert not space.contains({"loss.beta": 1.0, "optimizer.lr": 1.0})


def test_every_paper_space_has_its_plain_value_for_a_baseline():
    for name, plain in PLAIN.items():
        assert DEFAULT_SPACES[name].axes[next(iter(plain))].dimension.contains(1.0)


def test_space_of_temperature_check_is_the_papers():
    axes = DEFAULT_SPACES["tempered"].axes
    assert axes["loss.beta"].dimension == LogUniform(0.01, 10)
    assert axes["optimizer.lr"].times == Scale("loss.beta", -1)
