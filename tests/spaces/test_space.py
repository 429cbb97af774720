import time
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spaces import Axis, Choice, Expression, Grid, Integer, LogUniform, SearchSpace, SpaceError, Uniform


def space_of(entries, require=()):
    return SearchSpace(
        {path: Axis.parse(spec) for path, spec in entries.items()}, [Expression.parse(text) for text in require]
    )


BETA = {"log": [0.01, 10]}
DECAY = {"equals": "0.0005 * loss.beta"}
LR = {"log": [0.001, 1], "times": "loss.beta ** -1"}
STEPS = {"uniform": [0.1, 0.9], "step": 0.1}

CONDITIONAL = space_of(
    {
        "loss.alpha": {**STEPS, "when": {"loss.name": "tampered"}},  # before its parent
        "loss.name": {"choice": ["tempered", "tampered", "distilled"]},
        "loss.beta": {"grid": [0.1, 1.0, 10.0], "when": {"loss.name": "tempered"}},
        "loss.tau1": {"int": [1, 6], "when": {"loss.name": "distilled"}},
        "loss.gap": {"int": [1, 3], "when": {"loss.name": "distilled"}},
        "optimizer.lr": {"grid": [0.1, 0.2], "times": "loss.beta ** -1"},
        "optimizer.weight_decay": {"equals": "0.0005 * loss.beta", "when": {"loss.name": "tempered"}},
        "depth": {"choice": [1, 2], "when": {"optimizer.name": "sgd", "loss.tau1": [5, 6]}},
    },
    ["loss.tau2 > 0"],
).given({"optimizer.name": "sgd"})
FIXED = {"optimizer.name": "sgd", "optimizer.momentum": 0.9}
seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds)
def test_of_values_for_all_axes_only_those_stay_whose_conditions_hold_and_those_of_their_parents(seed):
    rng = np.random.default_rng(seed)
    full = {path: rng.choice(axis.dimension.values).item() for path, axis in CONDITIONAL.axes.items()}
    kept = CONDITIONAL.only_active(full)
    assert CONDITIONAL.contains(kept)
    assert kept.items() <= full.items()
    assert ("depth" in kept) == (full["loss.name"] == "distilled" and full["loss.tau1"] >= 5)


@given(beta=st.floats(0.01, 10), lr=st.floats(0.001, 1), exponent=st.sampled_from([-2, -1, -0.5, 0, 1]))
def test_rescaled_coordinate_times_power_of_beta_is_the_recipe_value(beta, lr, exponent):
    space = space_of({"loss.beta": BETA, "optimizer.lr": {**LR, "times": f"loss.beta ** {exponent}"}})
    params = space.resolve({"loss.beta": beta, "optimizer.lr": lr}, {})
    assert params["loss.beta"] == beta
    assert params["optimizer.lr"] == lr * beta**exponent


@given(beta=st.floats(0.01, 10), exponent=st.sampled_from([-1, 0, 0.5, 1, 2]))
def test_derived_value_is_its_formula(beta, exponent):
    space = space_of({"loss.beta": BETA, "optimizer.clip_norm": {"equals": f"2 * loss.beta ** {exponent}"}})
    assert space.resolve({"loss.beta": beta}, {}) == {"loss.beta": beta, "optimizer.clip_norm": 2 * beta**exponent}


def test_formulas_use_the_fixed_value_where_a_path_does_not_vary():
    space = space_of({"optimizer.lr": LR, "optimizer.weight_decay": DECAY})
    assert list(space.axes) == ["optimizer.lr"]
    assert list(space.derived) == ["optimizer.weight_decay"]
    assert space.resolve({"optimizer.lr": 0.1}, {"loss.beta": 0.5}) == {
        "optimizer.lr": 0.2,
        "optimizer.weight_decay": 2.5e-4,
    }


@pytest.mark.parametrize(
    ("spec", "fixed", "message"),
    [
        (LR, {}, "times of x must name values of the recipe, got loss.beta, which has none"),
        (DECAY, {"loss.beta": None}, "equals of x must name values of the recipe, got loss.beta, which has none"),
        (LR, {"loss.beta": 0.0}, "cannot be computed at loss.beta = 0.0"),
        (LR, {"loss.beta": -1.0}, "times of x must be > 0, got 'loss.beta ** -1' = -1.0 at loss.beta = -1.0"),
        (LR, {"loss.beta": "high"}, "loss.beta must be a number there, got high"),
    ],
)
def test_formula_without_a_value_is_refused(spec, fixed, message):
    space = space_of({"x": spec})
    with pytest.raises(SpaceError) as error:
        space.resolve({path: 0.1 for path in space.axes}, fixed)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("entries", "require", "message"),
    [
        ({"a": {**LR, "times": "b"}, "b": {**LR, "times": "c"}}, [], "not rescaled itself, got b for a"),
        ({"a": {**LR, "times": "b"}, "b": DECAY}, [], "times must name a value that is not rescaled itself"),
        ({"a": {"equals": "b"}, "b": {"equals": "c"}}, [], "equals must name a value that is not rescaled itself"),
        ({"a": {"equals": "a + 1"}}, [], "got a for a"),
        ({"a": {**BETA, "times": "a"}}, [], "got a for a"),
        (
            {"a": {"choice": [1, 2], "when": {"b": 1}}, "b": {"choice": [1, 2], "when": {"a": 1}}},
            [],
            "conditions must not form a circle, got a -> b -> a",
        ),
        ({"a": {"choice": [1, 2], "when": {"a": 1}}}, [], "must not form a circle, got a -> a"),
        (
            {"a": {**BETA, "when": {"b": 1}}, "b": {"grid": [1, 2], "times": "a"}},
            [],
            "when must name a value that is not rescaled itself, got b for a",
        ),
        ({"a": {**BETA, "when": {"b": 1}}, "b": DECAY}, [], "when must name a value that is not rescaled itself"),
        ({"a": {**BETA, "when": {"b": 1}}, "b": BETA}, [], "at most 1,000 choices, got b: {log: [0.01, 10.0]} for a"),
        ({"a": BETA}, ["a + 1"], "require must be a condition such as 'tau1 > tau2', got 'a + 1'"),
    ],
)
def test_axes_that_do_not_fit_together_are_refused(entries, require, message):
    with pytest.raises(SpaceError) as error:
        space_of(entries, require)
    assert message in str(error.value)


# Conditions


@pytest.mark.parametrize(
    ("coordinates", "active"),
    [
        ({"loss.name": "tempered"}, ["loss.name", "loss.beta", "optimizer.lr"]),
        ({"loss.name": "tampered"}, ["loss.alpha", "loss.name", "optimizer.lr"]),
        ({"loss.name": "distilled"}, ["loss.name", "loss.tau1", "loss.gap", "optimizer.lr"]),
        (
            {"loss.name": "distilled", "loss.tau1": 6},
            ["loss.name", "loss.tau1", "loss.gap", "optimizer.lr", "depth"],
        ),
        ({"loss.name": "tempered", "loss.tau1": 6}, ["loss.name", "loss.beta", "optimizer.lr"]),
    ],
)
def test_active_axes_are_those_whose_conditions_hold_in_order(coordinates, active):
    assert list(CONDITIONAL.active(coordinates)) == active


@given(seed=seeds)
def test_samples_lie_in_the_space_and_meet_what_is_required(seed):
    coordinates = CONDITIONAL.sample(np.random.default_rng(seed), FIXED)
    assert list(coordinates) == list(CONDITIONAL.active(coordinates))
    assert CONDITIONAL.contains(coordinates)
    assert CONDITIONAL.feasible(coordinates, FIXED)
    assert coordinates.get("loss.tau1", 2) > coordinates.get("loss.gap", 1)
    assert coordinates == CONDITIONAL.sample(np.random.default_rng(seed), FIXED)


@given(seed=seeds)
def test_coordinates_are_found_again_from_the_recipe_values(seed):
    coordinates = CONDITIONAL.sample(np.random.default_rng(seed), FIXED)
    params = CONDITIONAL.resolve(coordinates, FIXED)
    assert CONDITIONAL.coordinates_of(params, FIXED) == coordinates
    assert ("optimizer.weight_decay" in params) == (coordinates["loss.name"] == "tempered")


@given(seed=seeds)
def test_continuous_coordinates_are_found_again_but_for_rounding(seed):
    space = space_of({"optimizer.lr": LR, "loss.beta": BETA, "optimizer.weight_decay": DECAY})
    coordinates = space.sample(np.random.default_rng(seed), {})
    found = space.coordinates_of(space.resolve(coordinates, {}), {})
    assert space.contains(found)
    assert list(found) == list(coordinates)
    assert found == pytest.approx(coordinates, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "coordinates"),
    [
        ({"loss.name": "tampered", "loss.alpha": 0.1 + 0.2}, {"loss.alpha": 0.3, "loss.name": "tampered"}),
        ({"loss.name": "tampered", "loss.alpha": 0.31}, None),
        ({"loss.name": "hinge"}, None),
        ({"loss.name": "tempered", "loss.alpha": 0.31}, {"loss.name": "tempered"}),  # no alpha there
        ({"loss.alpha": 0.3}, {}),  # whether there is an alpha is not known
        (
            {"loss.name": "tempered", "optimizer.lr": 0.1},
            {"loss.name": "tempered"},
        ),  # beta, that it is divided by, is not
        (
            {"loss.name": "tempered", "loss.beta": 10, "optimizer.lr": 0.02},
            {"loss.name": "tempered", "loss.beta": 10.0, "optimizer.lr": 0.2},
        ),
        ({"loss.name": "tempered", "loss.beta": 10, "optimizer.lr": 0.2}, None),
        ({"loss.name": "tempered", "loss.beta": 10, "optimizer.lr": "high"}, None),
        ({"loss.name": "tampered", "optimizer.lr": 0.2}, {"loss.name": "tampered", "optimizer.lr": 0.2}),
        ({"epochs": 9}, {}),
    ],
)
def test_recipe_values_are_turned_into_coordinates_as_far_as_they_go(values, coordinates):
    assert CONDITIONAL.coordinates_of(values, FIXED) == coordinates


def test_factor_is_that_of_a_fixed_value_and_of_none_where_a_condition_takes_the_value_away():
    varying = {"optimizer.lr": LR, "loss.beta": {**BETA, "when": {"model": "mlp"}}, "model": {"choice": ["mlp", "cnn"]}}
    space = space_of(varying)
    cnn = {"optimizer.lr": 0.1, "model": "cnn"}
    assert space.resolve(cnn, {"loss.beta": 0.5})["optimizer.lr"] == 0.2
    assert space.resolve(cnn, {})["optimizer.lr"] == 0.1
    assert space.coordinates_of({"optimizer.lr": 0.2, "model": "cnn"}, {"loss.beta": 0.5}) == cnn


def test_variant_without_the_value_of_a_formula_is_not_rescaled():
    space = space_of(
        {"loss.name": {"choice": ["tempered", "tampered"]}, "optimizer.lr": LR, "optimizer.weight_decay": DECAY}
    )
    coordinates = {"loss.name": "tampered", "optimizer.lr": 0.1}
    assert space.resolve(coordinates, {}) == coordinates


def test_condition_on_what_does_not_vary_is_settled():
    entries = {
        "loss.alpha": {**STEPS, "when": {"loss.name": "tampered", "model": "mlp"}},
        "loss.beta": {**BETA, "when": {"loss.name": "tempered"}},
        "model": {"choice": ["mlp", "cnn"]},
        "optimizer.lr": LR,
        "optimizer.weight_decay": DECAY,
    }
    tampered = space_of(entries).given({"loss.name": "tampered"})
    assert list(tampered.entries) == ["loss.alpha", "model", "optimizer.lr"]  # nothing is rescaled by a missing beta
    assert tampered.entries["loss.alpha"].when == {"model": ("mlp",)}
    assert tampered.entries["optimizer.lr"].times is None
    tempered = space_of(entries).given({"loss.name": "tempered"})
    assert list(tempered.entries) == ["loss.beta", "model", "optimizer.lr", "optimizer.weight_decay"]
    assert tempered.entries["optimizer.lr"] == Axis.parse(LR)


def test_axis_goes_with_its_parent():
    entries = {"a": {"choice": [1, 2], "when": {"c": 1}}, "b": {"choice": [1, 2], "when": {"a": 1}}}
    assert space_of(entries).given({"c": 2, "a": 1}).entries == {}
    assert list(space_of(entries).given({"c": 1}).entries) == ["a", "b"]
    assert space_of(entries).given({}).entries == {}


def test_condition_that_is_not_settled_is_said():
    with pytest.raises(SpaceError, match=r"when of a must name a value that varies, got b; settle it with given"):
        space_of({"a": {"choice": [1, 2], "when": {"b": 1}}}).active({})


@pytest.mark.parametrize(
    "coordinates",
    [
        {},
        {"loss.name": "tempered", "optimizer.lr": 0.1},
        {"loss.name": "tempered", "loss.beta": 0.5, "optimizer.lr": 0.1},
        {"loss.name": "tempered", "loss.beta": 0.1, "optimizer.lr": 0.1, "loss.alpha": 0.3},
        {"loss.name": "tempered", "loss.beta": 0.1, "optimizer.lr": 0.1, "optimizer.weight_decay": 5e-4},
    ],
)
def test_space_does_not_contain_other_paths_or_values(coordinates):
    assert not CONDITIONAL.contains(coordinates)


# Requirements


@pytest.mark.parametrize(
    ("coordinates", "fixed", "holds"),
    [
        ({"loss.tau1": 3, "loss.gap": 1}, {}, True),
        ({"loss.tau1": 3, "loss.gap": 3}, {}, False),
        ({"loss.tau1": 3}, {"loss.gap": 3}, False),
        ({"loss.tau1": 3}, {"loss.gap": None}, True),
        ({"loss.tau1": 3}, {}, True),
    ],
)
def test_requirement_holds_where_what_it_names_is_missing(coordinates, fixed, holds):
    specs = {"loss.tau1": {"int": [1, 6]}, "loss.gap": {"int": [0, 3]}}
    space = space_of({path: specs[path] for path in coordinates}, ["loss.tau1 > loss.tau2 and loss.tau2 > 0"])
    assert space.feasible(coordinates, fixed) is holds


def test_requirement_is_on_recipe_values_not_on_coordinates():
    space = space_of({"loss.beta": BETA, "optimizer.lr": LR}, ["optimizer.lr <= 1"])
    assert space.feasible({"loss.beta": 1.0, "optimizer.lr": 0.5}, {})
    assert not space.feasible({"loss.beta": 0.1, "optimizer.lr": 0.5}, {})


def test_requirement_that_no_point_meets_is_said_with_its_text():
    space = space_of({"loss.beta": BETA}, ["loss.beta > 20", "loss.beta != 1"])
    with pytest.raises(SpaceError, match=r"none in 10,000 draws that meets 'loss\.beta > 20' and 'loss\.beta != 1'"):
        space.sample(np.random.default_rng(0), {})


# Grids


def test_grid_has_every_feasible_point_of_every_variant_once():
    points = CONDITIONAL.grid(FIXED)
    ordered = sum((tau1 - gap > 0) * (2 if tau1 > 4 else 1) for tau1, gap in product(range(1, 7), range(1, 4)))
    everything = sum(2 if tau1 > 4 else 1 for tau1 in range(1, 7)) * 3
    assert CONDITIONAL.size == 2 * (3 + 9 + everything)
    assert len(points) == len({tuple(point.items()) for point in points}) == 2 * (3 + 9 + ordered)
    assert all(CONDITIONAL.contains(point) and CONDITIONAL.feasible(point, FIXED) for point in points)


def test_grid_varies_the_last_value_fastest():
    space = space_of({"a": {"grid": [2, 1]}, "b": {"uniform": [0, 1], "step": 0.5}})
    assert [tuple(point.values()) for point in space.grid({})] == list(product([2, 1], [0.0, 0.5, 1.0]))


def test_empty_space_has_one_point():
    assert SearchSpace({}).size == 1
    assert SearchSpace({}).grid({}) == [{}]
    assert SearchSpace({}).contains({})


@pytest.mark.parametrize(
    ("entries", "size", "message"),
    [
        ({"a": {"grid": [1, 2]}, "b": BETA}, None, "a grid must have listed values or a step everywhere, .* at b"),
        ({"a": {"int": [1, 2**31]}, "b": {"int": [1, 2]}}, 2**32, "at most 100,000 points, got 4,294,967,296"),
    ],
)
def test_space_without_an_end_is_no_grid(entries, size, message):
    started = time.perf_counter()
    assert space_of(entries).size == size
    with pytest.raises(SpaceError, match=message):
        space_of(entries).grid({})
    assert time.perf_counter() - started < 1


# Finer grids


@pytest.mark.parametrize(
    ("dimension", "best", "finer"),
    [
        (Uniform(0.1, 0.9, 0.1), 0.3, Uniform(0.2, 0.4, 0.05)),
        (Uniform(0.1, 0.9, 0.1), 0.1, Uniform(0.1, 0.2, 0.05)),
        (Uniform(0.1, 0.9, 0.1), 0.9, Uniform(0.8, 0.9, 0.05)),
        (Uniform(0.2, 0.4, 0.05), 0.25, Uniform(0.2, 0.3, 0.025)),
        (Integer(16, 512, 16), 64, Integer(48, 80, 8)),
        (Integer(0, 9, 3), 3, Integer(0, 6, 1)),
        (Integer(0, 18, 9), 0, Integer(0, 9, 3)),
        (Integer(1, 9), 4, Choice((4,))),
        (Integer(1, 9, log=True), 4, Choice((4,))),
        (Grid((1.0, 2.0, 4.0, 8.0)), 4.0, Grid((2.0, 3.0, 4.0, 6.0, 8.0))),
        (Grid((1.0, 2.0, 4.0, 8.0)), 1.0, Grid((1.0, 1.5, 2.0))),
        (Grid((16, 32, 64)), 64, Grid((32, 48, 64))),
        (Grid((1, 2, 3)), 2, Grid((1, 2, 3))),
        (Grid((0.1, 0.3)), 0.1, Grid((0.1, 0.2, 0.3))),
        (Grid(("small", "large")), "small", Choice(("small",))),
        (Grid((1.0,)), 1.0, Choice((1.0,))),
        (Choice((1, 2)), 2, Choice((2,))),
        (LogUniform(0.01, 10), 0.5, Choice((0.5,))),
        (Uniform(0, 1), 0.5, Choice((0.5,))),
    ],
)
def test_finer_grid_reaches_one_step_to_each_side_at_half_the_step(dimension, best, finer):
    space = SearchSpace({"x": Axis(dimension, Expression.parse("y")) if best != "small" else Axis(dimension)})
    refined = space.refined({"x": best})
    assert refined.axes["x"].dimension == finer
    assert refined.axes["x"].times == space.axes["x"].times


@given(low=st.integers(-20, 20), step=st.integers(1, 30), steps=st.integers(1, 12), data=st.data())
def test_rounds_of_refinement_halve_the_step_and_keep_the_best(low, step, steps, data):
    first = Uniform(low / 10, (low + step * steps) / 10, step / 10)
    assume(first.count is not None)
    space = SearchSpace({"x": Axis(first)})
    for rounds in range(3):
        best = data.draw(st.sampled_from(space.axes["x"].dimension.values))
        space = space.refined({"x": best})
        finer = space.axes["x"].dimension
        assert finer.step == pytest.approx(step / 10 / 2 ** (rounds + 1))
        assert best in finer.values
        assert first.low <= finer.low < finer.high <= first.high
        assert finer.count in (3, 5)


def test_what_is_not_active_at_the_best_stays_so_in_the_finer_grid():
    refined = CONDITIONAL.refined({"loss.name": "tampered", "loss.alpha": 0.3, "optimizer.lr": 0.2})
    points = refined.grid(FIXED)
    assert {point["loss.alpha"] for point in points} == {0.2, 0.25, 0.3, 0.35, 0.4}
    assert all(list(point) == ["loss.alpha", "loss.name", "optimizer.lr"] for point in points)
    assert refined.require == CONDITIONAL.require


# Amendments


@pytest.mark.parametrize(
    ("former", "now", "is_narrower"),
    [
        (BETA, BETA, True),
        (BETA, {"log": [0.1, 1]}, True),
        (BETA, {"log": [0.001, 1]}, False),
        (BETA, {"uniform": [0.1, 1]}, False),
        (STEPS, {"uniform": [0.2, 0.4], "step": 0.1}, True),
        (STEPS, {"uniform": [0.1, 0.9], "step": 0.2}, True),
        (STEPS, {"uniform": [0.2, 0.4], "step": 0.05}, False),
        (STEPS, {"uniform": [0.15, 0.35], "step": 0.1}, False),
        (STEPS, {"uniform": [0.2, 0.4]}, False),
        ({"uniform": [0, 1]}, {"uniform": [0.2, 0.4], "step": 0.1}, True),
        ({"int": [1, 9]}, {"int": [3, 9], "step": 3}, True),
        ({"int": [1, 9]}, {"int": [0, 9]}, False),
        ({"int": [1, 9]}, {"log_int": [1, 9]}, False),
        ({"int": [0, 8], "step": 2}, {"int": [2, 8], "step": 3}, False),
        ({"choice": ["a", "b"]}, {"choice": ["b"]}, True),
        ({"choice": ["a", "b"]}, {"choice": ["c"]}, False),
        ({"grid": [1, 2, 3]}, {"grid": [1, 3]}, True),
        ({"grid": [1, 2, 3]}, {"grid": [3, 1]}, False),
        ({"grid": [1, 2, 3]}, {"choice": [1]}, False),
        (LR, {"log": [0.01, 1], "times": "loss.beta ** -1"}, True),
        (LR, {"log": [0.01, 1]}, False),
        (DECAY, DECAY, True),
        (DECAY, {"equals": "loss.beta"}, False),
    ],
)
def test_narrower_space_lies_inside_the_former(former, now, is_narrower):
    mistakes = space_of({"x": now}).narrower_than(space_of({"x": former}))
    assert (mistakes == []) is is_narrower


def test_widening_is_said_in_words():
    former = space_of({"a": BETA, "b": STEPS}, ["a > 0.1"])
    assert space_of({"a": {"log": [0.001, 1]}, "c": BETA}, ["a > 0.2"]).narrower_than(former) == [
        "b must stay in the space, got none; narrow its range instead",
        "a must lie inside {log: [0.01, 10.0]}, got {log: [0.001, 1.0]}",
        "c must be a path of the former space (a, b), got a new one",
        "require must keep 'a > 0.1', got a > 0.2",
    ]
    assert space_of({"a": BETA, "b": STEPS}, ["a > 0.1", "b > 0.1"]).narrower_than(former) == []


def test_path_that_can_never_be_active_any_more_may_go():
    former = space_of({"n": {"choice": ["a", "b"]}, "x": {**BETA, "when": {"n": "b"}}})
    assert space_of({"n": {"choice": ["a"]}}).narrower_than(former) == []
    assert space_of({"n": {"choice": ["b"]}}).narrower_than(former) != []


def test_pinned_space_has_its_points_at_these_coordinates():
    pinned = CONDITIONAL.pinned({"loss.name": "tempered", "optimizer.lr": 0.2})
    rng = np.random.default_rng(0)
    for _ in range(20):
        point = pinned.sample(rng, FIXED)
        assert (point["loss.name"], point["optimizer.lr"]) == ("tempered", 0.2)
        assert CONDITIONAL.contains(point)


@pytest.mark.parametrize(
    ("coordinates", "allowed"),
    [
        ({"a": 1, "b": 2}, True),
        ({"a": 2, "b": 1}, False),
        ({"a": 2}, True),
        ({"a": 3}, False),
        ({"b": 1}, False),
        ({}, True),
    ],
)
def test_coordinates_are_allowed_if_a_feasible_point_has_them(coordinates, allowed):
    space = space_of({"a": {"int": [1, 3]}, "b": {"int": [1, 3]}}, ["b > a"])
    assert space.allows(coordinates, {}) is allowed


def test_only_configuration_that_breaks_a_requirement_is_said_at_once():
    with pytest.raises(SpaceError, match=r"the only configuration there is must meet require, and does not: 'x > 1'"):
        space_of({}, ["x > 1"]).sample(np.random.default_rng(0), {"x": 0.5})


def test_conditions_on_more_combinations_than_can_be_counted_are_refused():
    parents = {f"p{i}": {"int": [1, 1000]} for i in range(3)}
    children = {f"c{i}": {"grid": [1, 2], "when": {f"p{i}": 3}} for i in range(3)}
    with pytest.raises(SpaceError, match=r"at most 10,000 combinations of values, got 1,000,000,000 of p0, p1, p2"):
        space_of(parents | children)


def test_conditions_that_share_parents_are_put_in_order_at_once():
    entries = {f"a{i}": {"grid": [1, 2], "when": {f"a{i + 1}": 1, f"a{i + 2}": 1}} for i in range(10)}
    chain = {f"b{i}": {"grid": [1, 2], "when": {f"b{i + 1}": 1, f"b{i + 2}": 1}} for i in range(60)}
    assert space_of(entries).parents_first[0] == "a9"
    with pytest.raises(SpaceError, match="combinations"):
        space_of(chain)
