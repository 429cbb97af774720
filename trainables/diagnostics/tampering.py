"""What tampering does to a distribution: the tampered probabilities, and which of them it leaves as they are.

Everything is float64. Where p = 0, its logarithm is -inf: such a class stays out, at every alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_AROUND_ONE = 1e-6
"""Exponents as close to 1 count as 1: the threshold is a limit there."""
_SUM_TOLERANCE = 1e-3
"""Probabilities in half precision may add up to 1 no better."""


def stationary_threshold(log_probabilities: Tensor, alpha: float) -> Tensor:
    """The probability t(alpha) that tampering with this exponent leaves as it is: ``(sum p^alpha)^(1 / (alpha - 1))``.

    For alpha < 1 tampering raises the probabilities below t and lowers those above it; for alpha > 1 the reverse. t is
    one over the Hill number of order alpha, and never decreases in alpha.

    Source: "Softmax Gradient Tampering" (later arXiv 2111.12495), Theorem 1; methods.md B.6.

    Args:
        log_probabilities: ln p, (..., C) float of any precision; -inf for p = 0, at most C - 1 of them a row. They are
            normalised once more, in float64: an error in their sum would grow by 1 / (alpha - 1).
        alpha: Exponent >= 0, inf included. 0 gives 1 / (number of classes with p > 0); 1, or closer to it than 1e-6,
            gives exp(-entropy), the limit; inf gives max p.

    Returns:
        (...) float64 in 1/C..1.

    Raises:
        ValueError: alpha is negative or NaN.

    Example:
        >>> p = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
        >>> [round(float(stationary_threshold(p.log(), alpha)), 4) for alpha in (0, 1, 2, math.inf)]
        [0.3333, 0.3536, 0.375, 0.5]
    """
    _check_exponent(alpha)
    logs = log_probabilities.double().log_softmax(dim=-1)
    if alpha == math.inf:
        return logs.amax(dim=-1).exp()
    if abs(alpha - 1) < _AROUND_ONE:
        p = logs.exp()
        return torch.xlogy(p, p).sum(dim=-1).exp()
    return (_powers(logs, alpha).logsumexp(dim=-1) / (alpha - 1)).exp()


def tampered_probabilities(log_probabilities: Tensor, alpha: float) -> Tensor:
    """The probabilities p' = p^alpha / sum p^alpha that tampering puts in place of p in the gradient.

    Computed as softmax(alpha ln p); p^alpha itself would lose small classes to underflow.

    Source: "Softmax Gradient Tampering" (later arXiv 2111.12495), eq. of p'; methods.md B.1, B.2.

    Args:
        log_probabilities: ln p, or logits, (..., C) float of any precision; -inf for p = 0, at most C - 1 of them a
            row.
        alpha: Exponent >= 0, finite; 1 gives p, 0 the same for every class with p > 0.

    Returns:
        (..., C) float64, in the order of the classes; rows sum to 1.

    Raises:
        ValueError: alpha is negative, infinite or NaN.
    """
    _check_exponent(alpha)
    if alpha == math.inf:
        raise ValueError("alpha must be finite, got inf. Use stationary_threshold for the limit of the threshold.")
    return _powers(log_probabilities.double(), alpha).softmax(dim=-1)


def transformation_curves(probabilities: Tensor, alphas: Sequence[float]) -> Tensor:
    """One distribution as tampering transforms it, for several exponents.

    Source: "Softmax Gradient Tampering" (later arXiv 2111.12495), Fig. 1; methods.md D.

    Args:
        probabilities: p, (C,) float of any precision, >= 0, sum 1 to within 0.001; normalised once more.
        alphas: A exponents, each >= 0 and finite.

    Returns:
        (A, C) float64, a row for every exponent, in the order of the classes; order them by rank for Fig. 1b.

    Raises:
        ValueError: The probabilities are no distribution, or an exponent is out of range.

    Example:
        >>> transformation_curves(torch.tensor([0.8, 0.2]), [1.0, 0.5, 0.0]).numpy().round(3).tolist()
        [[0.8, 0.2], [0.667, 0.333], [0.5, 0.5]]
    """
    p = probabilities.double()
    if p.ndim != 1 or not ((p >= 0).all() and (p.sum() - 1).abs() <= _SUM_TOLERANCE):
        raise ValueError(
            f"probabilities must be (C,), >= 0 and add up to 1, got shape {tuple(p.shape)} and sum {float(p.sum()):g}. "
            "Use the softmax of one sample's logits."
        )
    if not alphas:
        return p.new_empty(0, len(p))
    return torch.stack([tampered_probabilities(p.log(), alpha) for alpha in alphas])


def _powers(logs: Tensor, alpha: float) -> Tensor:
    """``alpha ln p``, with -inf kept at alpha = 0, where the product is not a number."""
    return torch.where(logs == -math.inf, logs, alpha * logs)


def _check_exponent(alpha: float) -> None:
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}. Use 0 to 1; 1 leaves the probabilities as they are.")
