"""Ablation: the gradient hook as the paper of tampering prints it, with its mistake. Not for training in earnest."""

from __future__ import annotations

from torch import Tensor

from trainables.losses.smoothing import (
    Reduction,
    Scalar,
    expected_negative,
    in_reporting_precision,
    of_true_class,
)
from trainables.losses.tampered import check_alpha


def legacy_hook_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: Scalar,
    label_smoothing: Scalar = 0.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of softmax(z) with the printed hook on z: wrong on purpose, for comparison only.

    The hook wants p back from the gradient g that arrives at the logits. The mean over N samples makes it (p - q) / N,
    so p = g N + q, and p' - q has to go on divided by N. The printed snippet has both the wrong way round:

        pred = g / N + q;  p' = pred**alpha / sum pred**alpha;  g' = (p' - q) N

    Hence pred is q but for an N^2-th of the difference, and the result is up to N^2 times too large. It depends on the
    batch size, so that a short last batch weighs differently and parts of a batch do not add up to the whole. The one
    exception: a gradient scaler of exactly S = N^2 cancels the mistake (GradScaler's first S, 65536, fits the
    authors' 256 samples a device). Below that the gradient is too large by up to N^2 / S; above it, pred is negative
    for hard samples, and alpha < 1 makes them NaN until the scaler has halved S down to N^2. With ``sum`` or ``none``
    it is wrong as well. Use ``tampered_cross_entropy``, which needs neither N nor S.

    Source: "Softmax Gradient Tampering" (ICLR 2022 submission), Fig. 5, and the sample code of arXiv 2111.12495;
    methods.md B.5. Written anew from the formulas.

    Args:
        logits: z, (N, C) float of any precision, finite. The hook sits on a view, so other uses of z are safe; in half
            precision it sees gradients in half precision, as the original does.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities that sum to 1.
        alpha: Exponent >= 0, number or () tensor; the source has 0 to 1.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1), number or () tensor.
        reduction: ``mean`` or ``sum`` over N, or ``none``; the snippet is meant for ``mean``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64. The value is the plain cross-entropy.

    Raises:
        ValueError: alpha is a number that is negative, infinite or NaN, or target and reduction do not fit.

    Warns:
        RecipeWarning: alpha is a number above 1.
    """
    check_alpha(alpha)
    hooked = logits.view_as(logits)
    samples, classes = logits.shape
    q = (target if target.is_floating_point() else of_true_class(target, classes)).to(logits.dtype)
    q = (1 - label_smoothing) * q + label_smoothing / classes

    def as_printed(gradient: Tensor) -> Tensor:
        raised = (gradient / samples + q) ** alpha
        return (raised / raised.sum(dim=-1, keepdim=True) - q) * samples

    if hooked.requires_grad:
        hooked.register_hook(as_printed)  # type: ignore[no-untyped-call]  # torch has no types here
    return expected_negative(in_reporting_precision(hooked).log_softmax(dim=-1), target, label_smoothing, reduction)
