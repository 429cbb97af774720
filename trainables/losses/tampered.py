"""Tampered cross-entropy: plain in the forward pass, tempered probabilities in the gradient."""

from __future__ import annotations

from torch import Tensor

from trainables.losses.smoothing import Reduction, Scalar, expected_negative, in_reporting_precision, reduce_samples


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
    used: it mixes up division and multiplication by N.

    Source: "Softmax Gradient Tampering" (ICLR 2022 submission; later arXiv 2111.12495).

    Args:
        logits: z, (N, C) float of any precision, finite; computed in float32 (float64 stays float64).
        target: (N,) int64 class indices, or (N, C) probabilities that sum to 1.
        alpha: Exponent in [0, 1], number or () tensor; 1 is plain, 0 takes p' uniform.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1), number or () tensor.
        reduction: ``mean`` or ``sum`` over N, or ``none``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64. The value is the plain cross-entropy.

    Raises:
        ValueError: alpha is a number outside [0, 1], or target and reduction do not fit.
    """
    if not isinstance(alpha, Tensor) and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}. Use 0.05 to 0.5; 1 is plain cross-entropy.")
    z = in_reporting_precision(logits)
    constant = z.detach()
    value = expected_negative(constant.log_softmax(dim=-1), target, label_smoothing, reduction)
    tampered = (alpha * constant).softmax(dim=-1)
    surrogate = reduce_samples((tampered * z).sum(dim=-1), reduction)
    surrogate = surrogate + expected_negative(z, target, label_smoothing, reduction)
    return value + (surrogate - surrogate.detach())
