"""What the losses share: precision, label smoothing and reduction.

Everything here works inside ``torch.func.vmap(torch.func.grad(...))`` with one hyperparameter a lane: no ``.item()``,
no ``F.one_hot``, and ``F.cross_entropy`` only without its ``label_smoothing``, which must be a Python number there.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["mean", "none", "sum"]
Scalar = float | Tensor
"""A hyperparameter: a Python number, or a tensor without dimensions."""


def in_reporting_precision(logits: Tensor) -> Tensor:
    """The logits in float32; float64 stays as it is, so that checks can be made in double precision."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def reduce_samples(per_sample: Tensor, reduction: Reduction) -> Tensor:
    """Mean, sum or none over the samples.

    Args:
        per_sample: (N,) float.
        reduction: How to combine.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``.

    Raises:
        ValueError: The reduction is unknown.
    """
    if reduction == "mean":
        return per_sample.mean()
    if reduction == "sum":
        return per_sample.sum()
    if reduction == "none":
        return per_sample
    raise ValueError(f"reduction must be one of mean, none, sum, got {reduction!r}. Use mean for training.")


def expected_negative(scores: Tensor, target: Tensor, label_smoothing: Scalar, reduction: Reduction) -> Tensor:
    """``-sum_c q_c scores_c``, where q is the target with label smoothing.

    With log-probabilities as scores this is the cross-entropy.

    Smoothing gives ``q' = (1 - eps) q + eps / C``, over all classes and as in ``F.cross_entropy``; q is never built
    for class indices.

    Args:
        scores: (N, C) float32 or float64, finite.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities of any float type.
        label_smoothing: eps in [0, 1), number or () tensor.
        reduction: Over the N samples.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; the type of ``scores``.

    Raises:
        ValueError: Probabilities of another shape than the scores, or an unknown reduction.
    """
    plain = not isinstance(label_smoothing, Tensor) and label_smoothing == 0
    if not target.is_floating_point():
        if plain:  # the hot path: one kernel forward, one backward
            return F.nll_loss(scores, target, reduction=reduction)
        on_target = F.nll_loss(scores, target, reduction="none")
    elif target.shape == scores.shape:
        on_target = -(target.to(scores.dtype) * scores).sum(dim=-1)
    else:
        raise ValueError(
            f"target probabilities must have the shape of the logits, got {tuple(target.shape)} for "
            f"{tuple(scores.shape)}. Give one row of C probabilities a sample, or (N,) integers."
        )
    if plain:
        return reduce_samples(on_target, reduction)
    smoothed = (1 - label_smoothing) * on_target - label_smoothing * scores.mean(dim=-1)
    return reduce_samples(smoothed, reduction)
