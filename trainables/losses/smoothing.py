"""What the losses share: precision, checks of numbers, label smoothing and reduction.

Everything here works inside ``torch.func.vmap(torch.func.grad(...))`` with one hyperparameter a lane: no ``.item()``,
no ``F.one_hot``, and ``F.cross_entropy`` only without its ``label_smoothing``, which must be a Python number there.

Masked classes. A logit of -inf means that the sample cannot be of this class (methods.md E.14). In every loss such a
class has probability 0, gets no gradient and adds nothing, as long as its share q of the target is 0; where q > 0, by
label smoothing for instance, the loss is +inf, as the formula says. No branch looks at the data for it.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.loss_settings import RecipeWarning

Reduction = Literal["mean", "none", "sum"]
Scalar = float | Tensor
"""A hyperparameter: a Python number, or a tensor without dimensions."""


def in_reporting_precision(logits: Tensor) -> Tensor:
    """The logits in float32; float64 stays as it is, so that checks can be made in double precision."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def require_positive(name: str, value: Scalar, advice: str) -> None:
    """Refuses a number that is not finite and > 0; a tensor passes, because its value may differ from lane to lane.

    Args:
        name: The hyperparameter, as the caller knows it.
        value: Number, or () tensor.
        advice: What to do about it: the end of the message.

    Raises:
        ValueError: The number is 0, negative, infinite or NaN.
    """
    if not isinstance(value, Tensor) and not 0 < value < math.inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value}. {advice}")


def advise_against(message: str) -> None:
    """Warns the caller of the loss function that calls this through a check of its own.

    Nothing happens while ``torch.compile`` traces the loss, which cannot trace a warning.

    Warns:
        RecipeWarning: Outside of ``torch.compile``, always.
    """
    if not torch.compiler.is_compiling():
        warnings.warn(message, RecipeWarning, stacklevel=4)


def of_true_class(target: Tensor, classes: int) -> Tensor:
    """Where the true class is: (N,) int64 indices as (N, C) bool. Unlike ``F.one_hot`` it works in ``vmap``."""
    return target.unsqueeze(-1) == torch.arange(classes, device=target.device)


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
        scores: (N, C) float32 or float64; -inf counts for nothing where the target probability is 0.
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
        q = target.to(scores.dtype)
        on_target = -(q * scores.masked_fill(q == 0, 0.0)).sum(dim=-1)  # 0 * -inf would be NaN
    else:
        raise ValueError(
            f"target probabilities must have the shape of the logits, got {tuple(target.shape)} for "
            f"{tuple(scores.shape)}. Give one row of C probabilities a sample, or (N,) integers."
        )
    if plain:
        return reduce_samples(on_target, reduction)
    smoothed = (1 - label_smoothing) * on_target - label_smoothing * scores.mean(dim=-1)
    return reduce_samples(smoothed, reduction)
