"""Tampered cross-entropy: plain in the forward pass, tempered probabilities in the gradient."""

from __future__ import annotations

import math

from torch import Tensor

from trainables.losses.smoothing import (
    Reduction,
    Scalar,
    advise_against,
    expected_negative,
    in_reporting_precision,
    reduce_samples,
)

_FLOOR = -1e30  # stands for a logit of -inf in the surrogate: its value is never seen, but 0 * -inf would be NaN
_ALMOST_ZERO = 1.2e-38  # stands for alpha = 0 for the same reason; the same uniform p' at all logits below 1e30


def tampered_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Scalar,
    label_smoothing: Scalar = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of softmax(z) whose gradient in z is softmax(alpha z) - q a sample.

    The probabilities p' = p**alpha / sum p**alpha of the source are softmax(alpha z), because the normaliser of p
    cancels; p**alpha itself would lose small classes to underflow. The gradient comes from a surrogate, the linear form
    sum_c (p'_c - q_c) z_c with p' held constant, which is added and subtracted. The hook that the paper prints is not
    used: it mixes up division and multiplication by N (see ``legacy_hook``).

    Only the first derivative means something: the surrogate is linear, so a Hessian of this loss is 0.

    Source: "Softmax Gradient Tampering" (ICLR 2022 submission; later arXiv 2111.12495); methods.md B.1 to B.3.

    Args:
        logits: z, (N, C) float of any precision; computed in float32 (float64 stays float64). Finite, or -inf at
            classes that a sample cannot be of; p' is 0 there for every alpha, 0 too.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities that sum to 1.
        alpha: Exponent >= 0, number or () tensor; 1 is plain, 0 takes p' uniform. The source has 0 to 1: above 1 the
            gradient looks away from hard samples, so a number warns.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1), number or () tensor.
        reduction: ``mean`` or ``sum`` over N, or ``none``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64. The value is the plain cross-entropy.

    Raises:
        ValueError: alpha is a number that is negative, infinite or NaN, or target and reduction do not fit.

    Warns:
        RecipeWarning: alpha is a number above 1.
    """
    check_alpha(alpha)
    z = in_reporting_precision(logits)
    constant = z.detach()
    value = expected_negative(constant.log_softmax(dim=-1), target, label_smoothing, reduction)
    tampered = (_at_least(_ALMOST_ZERO, alpha) * constant).softmax(dim=-1)
    z = z.clamp_min(_FLOOR)
    surrogate = reduce_samples((tampered * z).sum(dim=-1), reduction)
    surrogate = surrogate + expected_negative(z, target, label_smoothing, reduction)
    return value + (surrogate - surrogate.detach())


def check_alpha(alpha: Scalar) -> None:
    """Refuses an impossible exponent and warns of an unusual one; for the loss functions, whose caller it names.

    Args:
        alpha: Number >= 0; a tensor passes, because its value may differ from lane to lane.

    Raises:
        ValueError: The number is negative, infinite or NaN.

    Warns:
        RecipeWarning: The number is above 1.
    """
    if isinstance(alpha, Tensor):
        return
    if not 0 <= alpha < math.inf:
        raise ValueError(
            f"alpha must be >= 0 and finite, got {alpha}. Use 0.05 to 0.5; 1 is plain cross-entropy, 0 is uniform."
        )
    if alpha > 1:
        advise_against(f"alpha should be in [0, 1], got {alpha:g}: above 1 the gradient looks away from hard samples")


def _at_least(least: float, value: Scalar) -> Scalar:
    return value.clamp_min(least) if isinstance(value, Tensor) else max(value, least)
