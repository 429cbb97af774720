"""Rules by which the step follows the inverse temperature beta (methods.md A.5), spelled out as factors.

With logits z, the gradient of CE(beta * z) is ``beta * J^T (softmax(beta z) - y)``: at equal ``beta * z`` all
gradients are proportional to beta. What follows from it:

=============  ==============================  ====================
value          SGD                             AdamW
=============  ==============================  ====================
lr             1, 1/beta or 1/beta^2, by rule  as it is
weight_decay   1 over that of lr               as it is (decoupled)
clip_norm      beta                            beta
eps            (has none)                      beta
=============  ==============================  ====================

* The weight decay of SGD is part of the gradient and shrinks parameters by ``lr * weight_decay`` a step: that product
  stays what it is.
* The clipping threshold is compared with a gradient. Times beta, it cuts the same steps at every temperature, whatever
  the rule for lr, be it ``base``.
* AdamW divides the gradient by its own size: its step knows no beta, no rule changes its lr, and only eps, which stands
  beside that size, has to follow.
"""

from __future__ import annotations

from collections.abc import Mapping

from spaces.errors import SpaceError
from spaces.space import Scale

LEARNING_RATE_PATH = "optimizer.lr"
INVERSE_TEMPERATURE_PATH = "loss.beta"

RULES: Mapping[str, int] = {"base": 0, "base/beta": -1, "base/beta^2": -2}
"""Power of beta that the learning rate of SGD is multiplied by; the second keeps the best learning rate in place,
the third the speed of learning where it is linear, ``lr * beta^2``."""


def rescaled(axes: Mapping[str, object], recipe: Mapping[str, object]) -> dict[str, object]:
    """The space of a study file with every ``rule`` spelled out.

    ``optimizer.lr: {log: [0.001, 1], rule: base/beta}`` becomes ``{log: [0.001, 1], times: "loss.beta ** -1"}``, beside
    ``optimizer.weight_decay: {fixed: 5.0e-4, times: "loss.beta ** 1"}`` and the like for what else follows beta. The
    values of these come from the recipe; one that is 0 or null stays out. A path that the space has already is left as
    it is.

    Args:
        axes: The ``space`` of a study file as written; what is no axis is passed on for others to refuse.
        recipe: The whole recipe as nested plain values, defaults included.

    Returns:
        The space, without ``rule``.

    Raises:
        SpaceError: The rule is unknown, stands beside ``times`` or at another value than ``optimizer.lr``, or the loss
            has no beta.
    """
    expanded = dict(axes)
    for path, spec in axes.items():
        if not isinstance(spec, Mapping) or "rule" not in spec:
            continue
        rule = _checked_rule(path, spec, recipe)
        optimizer = _section(recipe, "optimizer")
        adaptive = optimizer.get("name", "sgd") == "adamw"
        exponent = 0 if adaptive else RULES[rule]
        plain = {key: value for key, value in spec.items() if key != "rule"}
        factor = exponent != 0 or "fixed" in spec  # what is fixed needs a factor, be it 1
        expanded[path] = {**plain, "times": _power_of_beta(exponent)} if factor else plain
        powers = {"clip_norm": 1, "eps": 1} if adaptive else {"clip_norm": 1, "weight_decay": -exponent}
        for name, power in powers.items():
            if power and optimizer.get(name):
                follower = {"fixed": optimizer[name], "times": _power_of_beta(power)}
                expanded.setdefault(f"optimizer.{name}", follower)
    return expanded


def _checked_rule(path: str, spec: Mapping[str, object], recipe: Mapping[str, object]) -> str:
    rule = spec["rule"]
    if path != LEARNING_RATE_PATH:
        raise SpaceError(
            f"a rule must stand at {LEARNING_RATE_PATH}, got {rule!r} at {path}; "
            f'let {path} follow beta by times: "{_power_of_beta(-1)}"'
        )
    if not isinstance(rule, str) or rule not in RULES:
        raise SpaceError(f"the rule of {path} must be one of {', '.join(RULES)}, got {rule!r}")
    if "times" in spec:
        raise SpaceError(
            f"{path} must have either a rule or times, got rule {rule} and times {spec['times']!r}; leave one out"
        )
    loss = _section(recipe, "loss")
    if "beta" not in loss:
        raise SpaceError(
            f"the rule {rule} of {path} must have a loss with an inverse temperature beta, "
            f"got loss {loss.get('name')}; leave the rule out"
        )
    return rule


def _power_of_beta(exponent: int) -> str:
    return Scale(INVERSE_TEMPERATURE_PATH, exponent).spec()


def _section(recipe: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = recipe.get(name)
    return section if isinstance(section, Mapping) else {}
