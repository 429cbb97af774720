import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import Axis, Fixed, LogUniform, Scale, SearchSpace, SpaceError, Uniform

BETA = Axis(LogUniform(0.01, 10))
DECAY = Axis(Fixed(5e-4), Scale("loss.beta", 1))
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


def test_space_does_not_contain_other_paths_or_values():
    space = SearchSpace({"loss.beta": BETA})
    assert not space.contains({})
    assert not space.contains({"loss.beta": 11.0})
    assert not space.contains({"loss.beta": 1.0, "optimizer.lr": 1.0})


@given(seed=st.integers(0, 2**32 - 1))
def test_samples_lie_in_the_space_and_know_nothing_of_derived_values(seed):
    space = SearchSpace({"optimizer.weight_decay": DECAY, "loss.beta": BETA, "optimizer.lr": RESCALED})
    coordinates = space.sample(np.random.default_rng(seed))
    assert list(coordinates) == list(space.axes) == ["loss.beta", "optimizer.lr"]
    assert space.contains(coordinates)
    assert not space.contains({**coordinates, "optimizer.weight_decay": 5e-4})
    assert coordinates == space.without({"optimizer.weight_decay"}).sample(np.random.default_rng(seed))


@given(beta=st.floats(0.01, 10), exponent=st.sampled_from([-1, 0, 0.5, 1, 2]))
def test_derived_value_is_its_number_times_the_power_of_what_it_follows(beta, exponent):
    space = SearchSpace({"loss.beta": BETA, "optimizer.clip_norm": Axis(Fixed(2), Scale("loss.beta", exponent))})
    params = space.resolve({"loss.beta": beta}, {})
    assert params == {"loss.beta": beta, "optimizer.clip_norm": pytest.approx(2 * beta**exponent)}


def test_derived_value_follows_the_fixed_value_where_nothing_varies():
    space = SearchSpace({"loss.beta": BETA, "optimizer.weight_decay": DECAY}).without({"loss.beta"})
    assert space.axes == {}
    assert space.derived == {"optimizer.weight_decay": DECAY}
    assert space.contains({})
    assert space.resolve({}, {"loss.beta": 0.5}) == {"optimizer.weight_decay": 2.5e-4}


def test_derived_value_that_is_set_elsewhere_follows_no_more():
    space = SearchSpace({"loss.beta": BETA, "optimizer.weight_decay": DECAY}).without({"optimizer.weight_decay"})
    assert space.resolve({"loss.beta": 2.0}, {}) == {"loss.beta": 2.0}


def test_factor_on_a_derived_value_is_refused():
    with pytest.raises(SpaceError, match="not rescaled itself"):
        SearchSpace({"a": Axis(Uniform(0, 1), Scale("b", 1)), "b": Axis(Fixed(1.0), Scale("c", 1))})


def test_derived_value_without_a_number_to_follow_is_refused():
    with pytest.raises(SpaceError, match=r"times of optimizer\.weight_decay must name a number .* loss\.beta = None"):
        SearchSpace({"optimizer.weight_decay": DECAY}).resolve({}, {})


@pytest.mark.parametrize("make", [lambda: Axis.parse({"fixed": 0.1}), lambda: Axis(Fixed(0.1))])
def test_fixed_value_that_follows_nothing_belongs_in_the_recipe(make):
    with pytest.raises(SpaceError, match=r"must have times, got \{fixed: 0\.1\} alone; .* belongs in the recipe"):
        make()


@pytest.mark.parametrize(
    "spec", [{"fixed": 5e-4, "times": "loss.beta ** 1"}, {"log": [0.1, 1.0], "times": "loss.beta ** -2"}]
)
def test_axis_is_written_as_it_was_read(spec):
    assert Axis.parse(spec).spec() == spec
