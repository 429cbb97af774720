"""Tempered cross-entropy: the temperature is part of the model, in the forward and the backward pass."""

from __future__ import annotations

from torch import Tensor

from trainables.losses.smoothing import (
    Reduction,
    Scalar,
    expected_negative,
    in_reporting_precision,
    require_positive,
)


def tempered_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    beta: Scalar,
    label_smoothing: Scalar = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of softmax(beta z), in nats; its gradient in z is beta (softmax(beta z) - q) a sample.

    Source: "Temperature check", arXiv 2010.07344; the page prints the loss without its minus sign (methods.md A.1).

    Args:
        logits: z, (N, C) float of any precision; computed in float32 (float64 stays float64). Finite, or -inf at
            classes that a sample cannot be of.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities that sum to 1.
        beta: Inverse temperature 1/T > 0, number or () tensor; the paper's good range is 0.01 to 10.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1), number or () tensor.
        reduction: ``mean`` or ``sum`` over N, or ``none``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64.

    Raises:
        ValueError: beta is a number that is not > 0 and finite, or target and reduction do not fit.
    """
    require_positive("beta", beta, "Use 0.01 to 10; 1 is plain cross-entropy.")
    log_probabilities = (beta * in_reporting_precision(logits)).log_softmax(dim=-1)
    return expected_negative(log_probabilities, target, label_smoothing, reduction)
