"""The spaces of the papers, and where each method is the plain one: what a study gets if it names none."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.axis import Axis
from spaces.dimensions import Dimension, Grid
from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.learning_rate import LEARNING_RATE_PATH, rescaled
from spaces.ranges import LogUniform, Uniform
from spaces.scalars import Scalar
from spaces.space import SearchSpace

BETA = LogUniform(0.01, 10.0)
"""The good region of inverse temperatures in "Temperature check" (arXiv 2010.07344)."""

LOGIT_NORM = Grid((0.0, 0.01, 0.1, 1.0, 10.0, 100.0))
"""Norms of beta * logits at the start, the other axis of "Temperature check"; the values are ours (methods.md A.7)."""

ALPHA = Uniform(0.05, 1.0)
"""Exponents of "Softmax Gradient Tampering" (arXiv 2111.12495), from the lowest of its figures to the plain one."""

COARSE_ALPHA = Uniform(0.1, 0.9, step=0.1)
"""The first grid of that paper."""

FINE_ALPHA = Uniform(0.2, 0.4, step=0.05)
"""Its second grid: what ``refine`` makes of the first one around 0.3."""

TAU1 = Uniform(2.5, 8.0)
"""Temperatures of the true class for "Asymmetric Temperature Scaling ..." (arXiv 2210.04427).

Its grid is 1 to 6; the range, ours, begins where tau2 is at least 0.5 for every gap, and leaves room above.
"""

GAP = Uniform(1.0, 2.0)
"""tau1 - tau2, as that paper advises."""

ORDERED_TEMPERATURES = Expression.parse("loss.tau1 > loss.tau2 and loss.tau2 > 0")
"""What that paper requires, for ranges of tau1 and gap in which it does not hold everywhere."""

LAMBDA = Uniform(0.1, 0.9)
"""Share of distillation around that paper's 0.5, without the ends, where one part of the loss hardly counts."""

LEARNING_RATES: Mapping[str, Dimension] = {"sgd": LogUniform(1e-3, 1.0), "adamw": LogUniform(1e-4, 0.1)}
"""Learning rates worth trying at temperature 1, by the name of the optimizer."""

TEMPERATURES: Mapping[str, Mapping[str, Dimension]] = {
    "tempered": {"loss.beta": BETA},
    "tampered": {"loss.alpha": ALPHA},
    "distilled": {"loss.tau1": TAU1, "loss.gap": GAP, "loss.weight": LAMBDA},
}
"""What is the method's own, by the name of the loss."""

PLAIN: Mapping[str, Mapping[str, Scalar]] = {
    "tempered": {"loss.beta": 1.0},
    "tampered": {"loss.alpha": 1.0},
    "distilled": {"loss.gap": 0.0},
}
"""The default baseline by the name of the loss: ordinary cross-entropy, or distillation with tau1 = tau2."""


def default_space(recipe: Mapping[str, object]) -> dict[str, object]:
    """The space of a study that names none, as a study file writes it: temperatures and learning rate.

    With inverse temperature beta the best learning rate goes like 1/beta: the sampler moves in lr * beta (methods.md
    A.5, rule 2), and weight decay and clipping follow. Tampering walks along that rule by itself (B.4), and
    distillation leaves the scale of the gradient nearly alone: nothing is rescaled there.

    Args:
        recipe: The whole recipe as nested plain values, defaults included.

    Raises:
        SpaceError: There is no default for its loss or optimizer.
    """
    loss, optimizer = (_name(recipe, "loss", "tempered"), _name(recipe, "optimizer", "sgd"))
    for kind, name, known in (("loss", loss, TEMPERATURES), ("optimizer", optimizer, LEARNING_RATES)):
        if name not in known:
            raise SpaceError(f"{kind} must be one of {', '.join(known)} for a default space, got {name!r}; write space")
    rule = {"rule": "base/beta"} if loss == "tempered" else {}
    space: dict[str, object] = {path: dimension.spec() for path, dimension in TEMPERATURES[loss].items()}
    return rescaled({**space, LEARNING_RATE_PATH: {**LEARNING_RATES[optimizer].spec(), **rule}}, recipe)


def _name(recipe: Mapping[str, object], section: str, default: str) -> str:
    values = recipe.get(section)
    return str(values.get("name", default)) if isinstance(values, Mapping) else default


def _with_sgd(loss: str) -> SearchSpace:
    plain = {path.removeprefix("loss."): value for path, value in PLAIN[loss].items()}
    space = default_space({"loss": {"name": loss, **plain}, "optimizer": {"name": "sgd"}})
    return SearchSpace({path: Axis.parse(spec) for path, spec in space.items()})


DEFAULT_SPACES: Mapping[str, SearchSpace] = {loss: _with_sgd(loss) for loss in TEMPERATURES}
"""What varies by default with SGD, by the name of the loss; :func:`default_space` also knows what follows."""
