import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spaces import Choice, Fixed, LogUniform, SpaceError, Uniform
from spaces.dimensions import parse_dimension, sample

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
units = st.floats(0, 1)


@given(low=finite, high=finite, unit=units)
def test_uniform_decodes_into_its_range_and_encodes_back(low, high, unit):
    if not low < high - 1e-9 * max(abs(low), abs(high), 1):
        return
    dimension = Uniform(low, high)
    value = dimension.decode(unit)
    assert low <= value <= high
    assert math.isclose(dimension.encode(value), unit, abs_tol=1e-5)


@given(low=positive, factor=st.floats(1.1, 1e6), unit=units)
def test_log_uniform_decodes_into_its_range_and_encodes_back(low, factor, unit):
    dimension = LogUniform(low, low * factor)
    value = dimension.decode(unit)
    assert dimension.contains(value)
    assert math.isclose(dimension.encode(value), unit, abs_tol=1e-6)


@given(values=st.lists(st.integers(), min_size=1, max_size=8, unique=True), unit=units)
def test_choice_decodes_to_a_value_and_encodes_into_its_share(values, unit):
    dimension = Choice(tuple(values))
    value = dimension.decode(unit)
    assert dimension.contains(value)
    assert dimension.decode(dimension.encode(value)) == value


def test_log_uniform_samples_have_a_uniform_logarithm():
    rng = np.random.default_rng(0)
    logs = [math.log10(sample(LogUniform(0.01, 10), rng)) for _ in range(2000)]
    assert stats.kstest(logs, stats.uniform(-2, 3).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"log": [-0.01, 10]}, "low > 0, got [-0.01, 10]"),
        ({"log": [10, 0.01]}, "low < high, got [10, 0.01]"),
        ({"uniform": [1, 1]}, "low < high"),
        ({"uniform": [0, float("inf")]}, "must be finite"),
        ({"uniform": [0, float("nan")]}, "must be finite"),
        ({"uniform": ["a", 1]}, "two numbers"),
        ({"log": [0.1]}, "two numbers"),
        ({"log": 3}, "must have a list"),
        ({"choice": []}, "at least one"),
        ({"choice": [1, 1]}, "every value once"),
        ({"choice": [[1]]}, "plain values"),
        ({"gauss": [0, 1]}, "exactly one kind"),
        ({"fixed": "5e-4"}, "YAML reads 1e-3 as text"),
        ({"fixed": True}, "must be a finite number, got True"),
        ({"fixed": [1.0]}, "must be a finite number"),
        ({"fixed": float("nan")}, "must be a finite number"),
        ({"fixed": 1.0, "log": [0.1, 1]}, "exactly one kind"),
        ({"log": [0.1, 1], "uniform": [0, 1]}, "exactly one kind"),
        (3, "exactly one kind"),
    ],
)
def test_impossible_dimension_is_refused_with_its_rule(spec, rule):
    with pytest.raises(SpaceError) as error:
        parse_dimension(spec)
    assert rule in str(error.value)


@pytest.mark.parametrize(
    "spec", [{"log": [0.01, 10.0]}, {"uniform": [-1.0, 1.0]}, {"choice": ["a", 2, True]}, {"fixed": 5e-4}]
)
def test_dimension_is_written_as_it_was_read(spec):
    assert parse_dimension(spec).spec() == spec


@pytest.mark.parametrize("dimension", [Uniform(0, 1), LogUniform(0.1, 1)])
@pytest.mark.parametrize("value", ["0.5", True, float("nan"), 1.5])
def test_range_does_not_contain_what_is_no_number_in_it(dimension, value):
    assert not dimension.contains(value)


@given(value=finite, unit=units)
def test_fixed_is_one_value_wherever_one_looks(value, unit):
    dimension = Fixed(value)
    assert dimension.decode(unit) == value
    assert dimension.extremes() == (value,)
    assert dimension.contains(value)
    assert not dimension.contains(value + 1)
    assert dimension.decode(dimension.encode(value)) == value
