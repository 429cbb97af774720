"""Rules by which the step follows the inverse temperature beta (methods.md A.5), spelled out as formulas.

With logits z, the gradient of CE(beta * z) is ``beta * J^T (softmax(beta z) - y)``: at equal ``beta * z`` all
gradients are proportional to beta. What follows from it:

=============  ==============================  ====================
value          SGD                             AdamW
=============  ==============================  ====================
lr             a power of beta, by rule        as it is
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

import re
from collections.abc import Mapping

from spaces.errors import SpaceError

LEARNING_RATE_PATH = "optimizer.lr"
INVERSE_TEMPERATURE_PATH = "loss.beta"

RULES: Mapping[str, float] = {"base": 0, "base/beta": -1, "base/beta^2": -2}
"""Power of beta that the learning rate of SGD is multiplied by; the second keeps the best learning rate in place,
the third the speed of learning where it is linear, ``lr * beta^2``. Any other is written as ``base * beta ** -1.5``."""

_POWER = re.compile(r"base\s*\*\s*beta\s*(?:\*\*|\^)\s*([+-]?(?:\d+\.?\d*|\.\d+))")


def rescaled(axes: Mapping[str, object], recipe: Mapping[str, object]) -> dict[str, object]:
    """The space of a study file with every ``rule`` spelled out.

    ``optimizer.lr: {log: [0.001, 1], rule: base/beta}`` becomes ``{log: [0.001, 1], times: "loss.beta ** -1"}``, beside
    ``optimizer.weight_decay: {equals: "0.0005 * loss.beta"}`` and the like for what else follows beta. The values of
    these come from the recipe; one that is 0 or null stays out. A path that the space has already is left as it is.

    A rule alone, ``optimizer.lr: {rule: base/beta}``, has the learning rate of the recipe as its base.

    Args:
        axes: The ``space`` of a study file as written; what is no axis is passed on for others to refuse.
        recipe: The whole recipe as nested plain values, defaults included.

    Returns:
        The space, without ``rule``.

    Raises:
        SpaceError: The rule is unknown, stands beside ``times`` or ``equals`` or at another value than
            ``optimizer.lr``, or the loss has no beta.
    """
    expanded = dict(axes)
    for path, spec in axes.items():
        if not isinstance(spec, Mapping) or "rule" not in spec:
            continue
        exponent = _checked_exponent(path, spec, recipe)
        optimizer = _section(recipe, "optimizer")
        adaptive = optimizer.get("name", "sgd") == "adamw"
        power_of_lr = 0 if adaptive else exponent
        plain = {key: value for key, value in spec.items() if key != "rule"}
        if plain:
            expanded[path] = {**plain, "times": _power_of_beta(power_of_lr)} if power_of_lr else plain
        elif power_of_lr:
            expanded[path] = _following(optimizer["lr"], power_of_lr)
        else:
            del expanded[path]  # it is as the recipe has it
        powers = {"clip_norm": 1, "eps": 1} if adaptive else {"clip_norm": 1, "weight_decay": -exponent}
        for name, power in powers.items():
            if power and optimizer.get(name):
                expanded.setdefault(f"optimizer.{name}", _following(optimizer[name], power))
    return expanded


def _checked_exponent(path: str, spec: Mapping[str, object], recipe: Mapping[str, object]) -> float:
    """The power of beta that the rule of a path means."""
    rule = spec["rule"]
    if path != LEARNING_RATE_PATH:
        raise SpaceError(
            f"a rule must stand at {LEARNING_RATE_PATH}, got {rule!r} at {path}; "
            f'let {path} follow beta by times: "{_power_of_beta(-1)}"'
        )
    power = _POWER.fullmatch(rule.strip()) if isinstance(rule, str) else None
    if not isinstance(rule, str) or (rule not in RULES and power is None):
        raise SpaceError(
            f"the rule of {path} must be one of {', '.join(RULES)} or like base * beta ** -1.5, got {rule!r}"
        )
    for key in ("times", "equals"):
        if key in spec:
            raise SpaceError(
                f"{path} must have either a rule or {key}, got rule {rule} and {key} {spec[key]!r}; leave one out"
            )
    loss = _section(recipe, "loss")
    if "beta" not in loss:
        raise SpaceError(
            f"the rule {rule} of {path} must have a loss with an inverse temperature beta, "
            f"got loss {loss.get('name')}; leave the rule out"
        )
    return RULES[rule] if power is None else float(power[1])


def _following(value: object, exponent: float) -> dict[str, str]:
    """A value that is the recipe's at temperature 1."""
    return {"equals": f"{value!r} * {_power_of_beta(exponent)}"}


def _power_of_beta(exponent: float) -> str:
    if exponent == 1:
        return INVERSE_TEMPERATURE_PATH
    return f"{INVERSE_TEMPERATURE_PATH} ** {exponent if exponent % 1 else int(exponent)}"


def _section(recipe: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = recipe.get(name)
    return section if isinstance(section, Mapping) else {}
