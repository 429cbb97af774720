"""The spaces of the papers, and where each method is the plain one: what a study gets if it names none."""

from __future__ import annotations

from collections.abc import Mapping

from spaces.dimensions import LogUniform, Scalar, Uniform
from spaces.space import Axis, Scale, SearchSpace

LEARNING_RATE = LogUniform(1e-3, 1.0)
"""Learning rates of SGD worth trying at temperature 1."""


def tempered() -> SearchSpace:
    """Inverse temperature beta and learning rate, after "Temperature check" (arXiv 2010.07344).

    beta covers the paper's good region [0.01, 10]. The best learning rate goes like 1/beta, so the sampler moves
    in lr * beta (methods.md A.5, rule 2).
    """
    return SearchSpace(
        {"loss.beta": Axis(LogUniform(0.01, 10.0)), "optimizer.lr": Axis(LEARNING_RATE, Scale("loss.beta", -1))}
    )


def tampered() -> SearchSpace:
    """Tampering exponent alpha and learning rate, after "Softmax Gradient Tampering".

    At a fixed learning rate tampering already walks along lr ~ 1/beta (methods.md B.4): nothing is rescaled.
    """
    return SearchSpace({"loss.alpha": Axis(Uniform(0.05, 1.0)), "optimizer.lr": Axis(LEARNING_RATE)})


DEFAULT_SPACES: Mapping[str, SearchSpace] = {"tempered": tempered(), "tampered": tampered()}
"""By the name of the loss."""

PLAIN: Mapping[str, Mapping[str, Scalar]] = {"tempered": {"loss.beta": 1.0}, "tampered": {"loss.alpha": 1.0}}
"""The values at which a loss is ordinary cross-entropy, by its name: the default baseline."""
