import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces import RULES, Axis, SearchSpace, SpaceError, rescaled

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "clip_norm": None}
ADAMW = {"name": "adamw", "lr": 1e-3, "eps": 1e-8, "weight_decay": 1e-2, "clip_norm": None}
BETA = {"log": [0.01, 10.0]}
LR = {"log": [0.001, 1.0]}


def recipe(optimizer, loss=None, **changes):
    return {"loss": loss or {"name": "tempered", "beta": 1.0}, "optimizer": {**optimizer, **changes}}


def written(rule, **more):
    return {"loss.beta": BETA, "optimizer.lr": {**LR, "rule": rule}, **more}


def params(space, coordinates, fixed=None):
    return SearchSpace({path: Axis.parse(spec) for path, spec in space.items()}).resolve(coordinates, fixed or {})


@pytest.mark.parametrize(
    ("rule", "followers"),
    [
        ("base", {}),
        ("base/beta", {"optimizer.weight_decay": {"equals": "0.0005 * loss.beta"}}),
        ("base/beta^2", {"optimizer.weight_decay": {"equals": "0.0005 * loss.beta ** 2"}}),
        ("base * beta ** -1.5", {"optimizer.weight_decay": {"equals": "0.0005 * loss.beta ** 1.5"}}),
    ],
)
@pytest.mark.parametrize("clip_norm", [None, 1.5])
def test_rule_of_sgd_scales_lr_and_inversely_decay_and_clipping_with_beta(rule, followers, clip_norm):
    power = {"base": 0, "base/beta": -1, "base/beta^2": -2, "base * beta ** -1.5": -1.5}[rule]
    times = {"times": f"loss.beta ** {power}"} if power else {}
    clipping = {"optimizer.clip_norm": {"equals": f"{clip_norm} * loss.beta"}} if clip_norm else {}
    space = rescaled(written(rule), recipe(SGD, clip_norm=clip_norm))
    assert space == {"loss.beta": BETA, "optimizer.lr": {**LR, **times}, **followers, **clipping}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("clip_norm", [None, 1.5])
def test_every_rule_leaves_the_lr_and_decay_of_adamw_and_scales_eps_and_clipping(rule, clip_norm):
    clipping = {"optimizer.clip_norm": {"equals": f"{clip_norm} * loss.beta"}} if clip_norm else {}
    space = rescaled(written(rule), recipe(ADAMW, clip_norm=clip_norm))
    eps = {"optimizer.eps": {"equals": "1e-08 * loss.beta"}}
    assert space == {"loss.beta": BETA, "optimizer.lr": LR, **eps, **clipping}


@given(
    beta=st.floats(0.01, 10),
    lr=st.floats(0.001, 1),
    decay=st.floats(1e-6, 1),
    clip=st.floats(1e-3, 1e3),
    power=st.one_of(st.sampled_from([-1, -2]), st.floats(-3, 3).map(lambda power: round(power, 2))),
)
def test_lr_times_decay_does_not_depend_on_beta_along_a_rule_nor_does_the_clipped_gradient(
    beta, lr, decay, clip, power
):
    rule = {-1: "base/beta", -2: "base/beta^2"}.get(power, f"base * beta ** {power}")
    space = rescaled(written(rule), recipe(SGD, weight_decay=decay, clip_norm=clip))
    found = params(space, {"loss.beta": beta, "optimizer.lr": lr})
    assert found["optimizer.lr"] == pytest.approx(lr * beta**power)
    assert found["optimizer.lr"] * found.get("optimizer.weight_decay", decay) == pytest.approx(lr * decay)
    assert found["optimizer.clip_norm"] / beta == pytest.approx(clip)


def test_rule_at_temperature_one_is_the_recipe():
    space = rescaled(written("base/beta"), recipe(SGD, clip_norm=2.0))
    assert params(space, {"optimizer.lr": 0.1, "loss.beta": 1.0}) == {
        "loss.beta": 1.0,
        "optimizer.lr": 0.1,
        "optimizer.weight_decay": 5e-4,
        "optimizer.clip_norm": 2.0,
    }


def test_optimizer_without_a_name_is_sgd():
    unnamed = {key: value for key, value in SGD.items() if key != "name"}
    assert rescaled(written("base/beta"), recipe(unnamed)) == rescaled(written("base/beta"), recipe(SGD))


@pytest.mark.parametrize("decay", [{"log": [1e-5, 1e-2]}, {"equals": "loss.beta ** 3"}])
def test_path_that_the_space_has_is_left_as_it_is(decay):
    axes = written("base/beta", **{"optimizer.weight_decay": decay})
    assert rescaled(axes, recipe(SGD))["optimizer.weight_decay"] == decay


def test_decay_of_zero_stays_out():
    assert "optimizer.weight_decay" not in rescaled(written("base/beta"), recipe(SGD, weight_decay=0.0))


@pytest.mark.parametrize("optimizer", [SGD, ADAMW])
@pytest.mark.parametrize("rule", RULES)
def test_rule_alone_has_the_recipes_learning_rate_as_its_base(rule, optimizer):
    space = rescaled({"loss.beta": BETA, "optimizer.lr": {"rule": rule}}, recipe(optimizer))
    power = RULES[rule] if optimizer is SGD else 0
    found = params(space, {"loss.beta": 0.5}).get("optimizer.lr", optimizer["lr"])
    assert found == pytest.approx(optimizer["lr"] * 0.5**power)


@pytest.mark.parametrize("rule", ["base * beta ** -1", "base*beta^-1", "base * beta ** -1.0"])
def test_exponent_is_a_setting(rule):
    assert rescaled(written(rule), recipe(SGD)) == rescaled(written("base/beta"), recipe(SGD))


@pytest.mark.parametrize(
    "axes",
    [{}, {"loss.beta": BETA, "optimizer.lr": {**LR, "times": "loss.beta ** -1"}}, {"a": 3, "optimizer.lr": None}],
)
def test_space_without_a_rule_is_left_as_it_is(axes):
    assert rescaled(axes, recipe(SGD)) == axes


def test_expanding_twice_is_expanding_once_and_the_written_space_is_kept():
    axes = written("base/beta")
    once = rescaled(axes, recipe(SGD))
    assert rescaled(once, recipe(SGD)) == once
    assert axes == written("base/beta")


@pytest.mark.parametrize(
    ("axes", "loss", "message"),
    [
        (written("base*beta"), None, "base, base/beta, base/beta^2 or like base * beta ** -1.5, got 'base*beta'"),
        (written(["base"]), None, "base, base/beta, base/beta^2 or like base * beta ** -1.5, got ['base']"),
        (
            {"optimizer.lr": {"equals": "0.1", "rule": "base"}},
            None,
            "either a rule or equals, got rule base and equals '0.1'; leave one out",
        ),
        (
            {"optimizer.lr": {**LR, "rule": "base", "times": "loss.beta ** -1"}},
            None,
            "either a rule or times, got rule base and times 'loss.beta ** -1'; leave one out",
        ),
        (
            {"optimizer.weight_decay": {**LR, "rule": "base"}},
            None,
            "a rule must stand at optimizer.lr, got 'base' at optimizer.weight_decay",
        ),
        (
            written("base/beta"),
            {"name": "tampered", "alpha": 0.5},
            "must have a loss with an inverse temperature beta, got loss tampered; leave the rule out",
        ),
    ],
)
def test_impossible_rule_is_refused_with_what_to_do(axes, loss, message):
    with pytest.raises(SpaceError) as error:
        rescaled(axes, recipe(SGD, loss))
    assert message in str(error.value)
