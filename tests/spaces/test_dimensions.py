import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from spaces import Choice, Grid, Integer, LogUniform, SpaceError, Uniform, parse_dimension
from spaces.dimensions import sample

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
units = st.floats(0, 1)
words_and_numbers = st.one_of(st.integers(), st.floats(-1e6, 1e6), st.text(max_size=3))


@st.composite
def finite_dimensions(draw):
    match draw(st.sampled_from(["uniform", "int", "log_int", "choice", "grid"])):
        case "uniform":
            low, step, steps = draw(st.integers(-50, 50)) / 10, draw(st.integers(1, 50)) / 100, draw(st.integers(1, 20))
            return Uniform(low, low + steps * step, step)
        case "int":
            low, step, steps = draw(st.integers(-99, 99)), draw(st.integers(1, 9)), draw(st.integers(1, 20))
            return Integer(low, low + steps * step, step)
        case "log_int":
            low = draw(st.integers(1, 20))
            return Integer(low, low + draw(st.integers(1, 40)), log=True)
        case kind:
            values = tuple(draw(st.lists(words_and_numbers, min_size=1, max_size=6, unique=True)))
            return Choice(values) if kind == "choice" else Grid(values)


@given(low=finite, high=finite, unit=units)
def test_uniform_decodes_into_its_range_and_encodes_back(low, high, unit):
    assume(low < high - 1e-9 * max(abs(low), abs(high), 1))
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


@given(dimension=finite_dimensions(), unit=units)
def test_finite_dimension_decodes_to_a_value_and_encodes_into_its_share(dimension, unit):
    value = dimension.decode(unit)
    assert dimension.contains(value)
    assert 0 < dimension.encode(value) < 1
    assert dimension.decode(dimension.encode(value)) == value


@given(dimension=finite_dimensions())
def test_values_are_all_there_are_in_rising_places(dimension):
    values = dimension.values
    assert len(values) == len(set(values)) == dimension.count
    assert all(dimension.contains(value) and dimension.snap(value) == value for value in values)
    places = [dimension.encode(value) for value in values]
    assert places == sorted(places)
    assert {values[0], values[-1]} <= set(dimension.extremes()) <= set(values)


@given(dimension=finite_dimensions())
def test_every_value_of_a_finite_dimension_is_drawn(dimension):
    assume(not (isinstance(dimension, Integer) and dimension.log))
    places = (np.arange(dimension.count) + 0.5) / dimension.count
    assert [dimension.decode(place) for place in places] == list(dimension.values)


@given(dimension=finite_dimensions(), sign=st.sampled_from([-1, 1]))
def test_number_that_is_off_by_rounding_is_the_value(dimension, sign):
    for value in dimension.values:
        if isinstance(value, float | int) and abs(value) < 1e12:
            assert dimension.snap(value * (1 + sign * 1e-12)) == value


@pytest.mark.parametrize(
    ("dimension", "value", "snapped"),
    [
        (Uniform(0.1, 0.9, 0.1), 0.1 + 0.1 + 0.1, 0.3),
        (Uniform(0.1, 0.9, 0.1), 0.31, None),
        (Uniform(0.1, 0.9, 0.1), 1.0, None),
        (Uniform(0, 1), 1 + 1e-12, 1.0),
        (Uniform(0, 1), -1e-12, 0.0),
        (Uniform(0, 1), 0.37, 0.37),
        (Uniform(0, 1), 1.01, None),
        (LogUniform(1e-5, 1), 1e-5 * (1 - 1e-12), 1e-5),
        (LogUniform(1e-5, 1), 0.99e-5, None),
        (Integer(1, 9), 3.0000000000001, 3),
        (Integer(1, 9), 3.5, None),
        (Integer(1, 9), 10, None),
        (Integer(1, 9), True, None),
        (Grid((1, 2.5)), 2.5000000000001, 2.5),
        (Choice((1, "a")), True, None),
        (Choice((True, "a")), 1, None),
        (Choice(("a",)), "b", None),
        (Uniform(0, 1), "0.5", None),
        (LogUniform(0.1, 1), float("nan"), None),
        (Integer(1, 9), float("inf"), None),
        (Integer(1, 9), 10**400, None),
        (LogUniform(0.1, 1), 10**400, None),
    ],
)
def test_value_is_snapped_to_the_possible_one_or_refused(dimension, value, snapped):
    found = dimension.snap(value)
    assert found == snapped
    assert type(found) is type(snapped)


def test_steps_are_the_decimals_that_one_would_write():
    assert Uniform(0.1, 0.9, 0.1).values == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert Uniform(0, 1, 1 / 3).values == (0.0, 1 / 3, pytest.approx(2 / 3), 1.0)
    assert Uniform(-1, 0, 0.25).values == (-1.0, -0.75, -0.5, -0.25, 0.0)


def test_log_uniform_samples_have_a_uniform_logarithm():
    rng = np.random.default_rng(0)
    logs = [math.log10(sample(LogUniform(0.01, 10), rng)) for _ in range(2000)]
    assert stats.kstest(logs, stats.uniform(-2, 3).cdf).pvalue > 0.01


def test_whole_numbers_with_a_logarithm_are_drawn_by_its_share():
    dimension, rng = Integer(1, 4, log=True), np.random.default_rng(0)
    drawn = [sample(dimension, rng) for _ in range(4000)]
    expected = [4000 * math.log((n + 0.5) / (n - 0.5)) / math.log(9) for n in dimension.values]
    assert stats.chisquare([drawn.count(n) for n in dimension.values], expected).pvalue > 0.01


@pytest.mark.parametrize(
    ("dimension", "ordered", "count"),
    [
        (Uniform(0, 1), True, None),
        (Uniform(0, 1, 0.5), True, 3),
        (LogUniform(1, 2), True, None),
        (Integer(0, 2**31), True, 2**31 + 1),
        (Grid(("small", "large")), True, 2),
        (Choice((1, 2)), False, 2),
    ],
)
def test_dimension_knows_its_order_and_how_many_values_it_has(dimension, ordered, count):
    assert dimension.is_ordered is ordered
    assert dimension.count == count


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"log": [-0.01, 10]}, "low > 0, got [-0.01, 10]"),
        ({"log": [10, 0.01]}, "low < high, got [10, 0.01]"),
        ({"uniform": [1, 1]}, "low < high"),
        ({"uniform": [0, float("inf")]}, "must be finite"),
        ({"uniform": [0, float("nan")]}, "must be finite"),
        ({"uniform": ["a", 1]}, "two numbers"),
        ({"uniform": ["1e-3", 1]}, "two numbers, got '1e-3'; YAML reads 1e-3 as text"),
        ({"log": [0.1]}, "two numbers"),
        ({"log": 3}, "must have a list"),
        ({"uniform": [0.1, 0.95], "step": 0.1}, "must meet the high end, got 0.95; the nearest that they meet is 0.9"),
        ({"uniform": [0, 1], "step": 2}, "at most high - low = 1, got 2"),
        ({"uniform": [0, 1], "step": 0}, "a step must be > 0"),
        ({"uniform": [0, 1], "step": float("nan")}, "a step must be > 0"),
        ({"uniform": [0, 1], "step": 1e-9}, "at most 1,000,000 steps"),
        ({"uniform": [0, 1], "step": "a"}, "a step must be a number, got 'a'"),
        ({"log": [0.1, 1], "step": 0.1}, "must stand beside uniform or int"),
        ({"step": 0.1}, "exactly one kind"),
        ({"int": [1, 9.5]}, "two whole numbers, got 9.5; use uniform"),
        ({"int": [1, True]}, "two whole numbers, got True"),
        ({"int": [1, float("inf")]}, "two whole numbers, got inf"),
        ({"int": [1, 10**400]}, "two whole numbers, got 1000"),
        ({"log": [1, 10**400]}, "must be finite, got [1.0, inf]"),
        ({"uniform": [0, 1], "step": 10**400}, "at most high - low = 1, got inf"),
        ({"choice": [1, 10**400]}, "must name finite numbers"),
        ({"uniform": [-1e308, 1e308]}, "must have a finite width"),
        ({"log": [1e-300, 1e300]}, "must have a finite high / low"),
        ({"int": [9, 1]}, "low < high"),
        ({"int": [16, 500], "step": 16}, "must meet the high end, got 500; the nearest that they meet is 496"),
        ({"int": [1, 9], "step": 0}, "step of an int range must be >= 1, got 0"),
        ({"int": [1, 9], "step": 0.5}, "a whole number, got 0.5"),
        ({"log_int": [0, 9]}, "low >= 1 and no step, got [0, 9]"),
        ({"choice": []}, "at least one"),
        ({"choice": [1, 1]}, "every value once"),
        ({"choice": [[1]]}, "plain values"),
        ({"choice": [None]}, "plain values"),
        ({"grid": []}, "a grid must name at least one"),
        ({"grid": [1, 2, 1]}, "a grid must name every value once, got [1, 2, 1]"),
        ({"grid": [1, True]}, "numbers or words"),
        ({"grid": [1.0, float("inf")]}, "finite numbers"),
        ({"gauss": [0, 1]}, "exactly one kind"),
        ({"unifrom": [0, 1]}, "did you mean uniform?"),
        ({"fixed": 1.0}, "exactly one kind, got fixed"),
        ({"log": [0.1, 1], "uniform": [0, 1]}, "exactly one kind"),
        (3, "exactly one kind, got 3; write it as {log: [low, high]}"),
    ],
)
def test_impossible_dimension_is_refused_with_its_rule(spec, rule):
    with pytest.raises(SpaceError) as error:
        parse_dimension(spec)
    assert rule in str(error.value)


@pytest.mark.parametrize(
    "spec",
    [
        {"log": [0.01, 10.0]},
        {"uniform": [-1.0, 1.0]},
        {"uniform": [0.1, 0.9], "step": 0.1},
        {"int": [1, 9]},
        {"int": [16, 512], "step": 16},
        {"log_int": [1, 1024]},
        {"choice": ["a", 2, True]},
        {"grid": [1, 2.5, "x"]},
    ],
)
def test_dimension_is_written_as_it_was_read(spec):
    assert parse_dimension(spec).spec() == spec
    assert parse_dimension(parse_dimension(spec).spec()) == parse_dimension(spec)


@pytest.mark.parametrize("dimension", [Uniform(0, 1), LogUniform(0.1, 1), Integer(0, 1), Uniform(0, 1, 0.25)])
@pytest.mark.parametrize("value", ["0.5", True, float("nan"), 1.5, 0.3333])
def test_range_does_not_contain_what_is_no_number_in_it(dimension, value):
    inside = value == 0.3333 and dimension in (Uniform(0, 1), LogUniform(0.1, 1))
    assert dimension.contains(value) is inside
