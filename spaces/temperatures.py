"""The spaces of the papers, and where each method is the plain one: what a study gets if it names none."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.dimensions import Dimension, LogUniform, Scalar, Uniform
from spaces.errors import SpaceError
from spaces.learning_rate import LEARNING_RATE_PATH, rescaled
from spaces.space import Axis, SearchSpace

LEARNING_RATES: Mapping[str, Dimension] = {"sgd": LogUniform(1e-3, 1.0), "adamw": LogUniform(1e-4, 0.1)}
"""Learning rates worth trying at temperature 1, by the name of the optimizer."""

TEMPERATURES: Mapping[str, Mapping[str, Dimension]] = {
    "tempered": {"loss.beta": LogUniform(0.01, 10.0)},
    "tampered": {"loss.alpha": Uniform(0.05, 1.0)},
    "distilled": {
        "loss.tau1": Uniform(2.5, 8.0),
        "loss.gap": Uniform(1.0, 2.0),
        "loss.weight": Uniform(0.1, 0.9),
    },
}
"""What is the method's own, by the name of the loss.

* ``tempered``: the good region of inverse temperatures in "Temperature check" (arXiv 2010.07344).
* ``tampered``: exponents of "Softmax Gradient Tampering" (arXiv 2111.12495), the lowest and the plain one its ends.
* ``distilled``: gap = tau1 - tau2 as "Asymmetric Temperature Scaling ..." (arXiv 2210.04427) advises. Its grid of tau1
  is 1 to 6; the range begins where tau2 is at least 0.5 for every gap, and leaves room above. weight is lambda around
  the paper's 0.5, without the ends, where one of both parts of the loss hardly counts. The ranges of tau1 and weight
  are ours.
"""

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
