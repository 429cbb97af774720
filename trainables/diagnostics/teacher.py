"""What a teacher tells its student beside the label: statistics of its logits and of its tempered probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from trainables.losses.distilled import asymmetric_probabilities
from trainables.losses.smoothing import of_true_class

_CHUNK = 1 << 17
"""Logits that the means are taken over at a time: 1 MiB in float64, and about ten times that at the peak."""


@dataclass(frozen=True, kw_only=True)
class TeacherStatistics:
    """Statistics of N samples. Every attribute is (N,) and float64, except ``flipped``.

    f are the teacher's logits, y is the true class, p the probabilities at tau1 and tau2; g and q are f and p without
    y, of C - 1 classes each. All variances and deviations have ddof 0.

    Attributes:
        target_logit: f_y, as given (not centred).
        wrong_logit_std: Standard deviation of g.
        target_probability: p_y, in 0..1.
        derived_average: Mean of q, ``(1 - p_y) / (C - 1)``.
        derived_variance: Variance of q, ``(1 - p_y)^2`` times the inherent one.
        derived_std: Its root.
        inherent_variance: Variance of softmax(g / tau2), in 0..(C - 2) / (C - 1)^2.
        flipped: bool, whether the most probable class of p is another than that of f (the first of equals).
    """

    target_logit: Tensor
    wrong_logit_std: Tensor
    target_probability: Tensor
    derived_average: Tensor
    derived_variance: Tensor
    derived_std: Tensor
    inherent_variance: Tensor
    flipped: Tensor


def teacher_statistics(
    teacher_logits: Tensor, target: Tensor, *, tau1: float, tau2: float, center: bool = False
) -> TeacherStatistics:
    """Statistics of a teacher, sample by sample.

    Source: "Asymmetric Temperature Scaling Makes Larger Networks Teach Well Again", arXiv 2210.04427, with the ddof of
    its official code; methods.md C.2.

    Args:
        teacher_logits: f, (N, C) float of any precision, raw, finite, C >= 2; computed in float64.
        target: y, (N,) int64 in 0..C-1, on the device of the logits.
        tau1: Temperature > 0 of the true class.
        tau2: Temperature > 0 of the other classes; tau1 gives the statistics of plain temperature scaling.
        center: Whether the mean of a sample's logits is subtracted before they are tempered.

    Returns:
        The statistics, on the device of the logits, without gradients.

    Raises:
        ValueError: A temperature is not > 0 and finite, shapes do not fit, or a logit is not finite.

    Warns:
        RecipeWarning: tau1 < tau2; the method wants the true class the flatter one.
    """
    if teacher_logits.ndim != 2 or teacher_logits.shape[1] < 2 or target.shape != teacher_logits.shape[:1]:
        raise ValueError(
            f"teacher_logits must be (N, C) with C >= 2 and target (N,), got {tuple(teacher_logits.shape)} and "
            f"{tuple(target.shape)}. Give one row of logits and one label a sample."
        )
    if target.is_floating_point():
        raise ValueError("target must be class indices, got probabilities. Use the labels of the samples.")
    f = teacher_logits.detach().double()
    if not f.isfinite().all():
        raise ValueError("teacher_logits must be finite, got NaN or an infinity. Check the teacher's training.")
    p = asymmetric_probabilities(f, target, tau1=tau1, tau2=tau2, center=center)
    is_true = of_true_class(target, f.shape[1])
    wrong = p.masked_fill(is_true, 0.0)
    derived_average, derived_variance = _moments(wrong, is_true)
    _, wrong_logit_variance = _moments(f, is_true)
    _, inherent_variance = _moments((f / tau2).masked_fill(is_true, -math.inf).softmax(dim=1), is_true)
    return TeacherStatistics(
        target_logit=_at(f, target),
        wrong_logit_std=wrong_logit_variance.sqrt(),
        target_probability=_at(p, target),
        derived_average=derived_average,
        derived_variance=derived_variance,
        derived_std=derived_variance.sqrt(),
        inherent_variance=inherent_variance,
        flipped=p.argmax(dim=1) != f.argmax(dim=1),
    )


def mean_teacher_statistics(
    teacher_logits: Tensor, target: Tensor, *, tau1: float, tau2: float, center: bool = False
) -> dict[str, float]:
    """Means of ``teacher_statistics`` over the samples; source, arguments and errors are the same.

    The samples are taken in chunks, so that a whole training split needs little memory beside its logits. Statistics
    are those of a sample: the derived deviation is the mean of deviations, not the root of the mean variance.

    Returns:
        ``teacher/<attribute>`` for every attribute of ``TeacherStatistics``, ``teacher/flip_rate`` (0..1) for
        ``flipped``.

    Raises:
        ValueError: As there, or there are no samples.

    Warns:
        RecipeWarning: tau1 < tau2.
    """
    if teacher_logits.numel() == 0:
        raise ValueError(f"teacher_logits must hold samples, got {tuple(teacher_logits.shape)}. Give a whole split.")
    if len(target) != len(teacher_logits):
        raise ValueError(
            f"target must have a label a sample, got {len(target)} for {len(teacher_logits)}. "
            "Give logits and labels of the same split, in the same order."
        )
    rows = max(1, _CHUNK // teacher_logits.shape[-1])
    sums: list[Tensor] = []
    for logits, labels in zip(torch.split(teacher_logits, rows), torch.split(target, rows), strict=True):
        chunk = teacher_statistics(logits, labels, tau1=tau1, tau2=tau2, center=center)
        sums.append(torch.stack([getattr(chunk, name).double().sum() for name in _NAMES]))
    means = torch.stack(sums).sum(dim=0) / len(target)
    return {
        "teacher/flip_rate" if name == "flipped" else f"teacher/{name}": mean
        for name, mean in zip(_NAMES, means.tolist(), strict=True)
    }


_NAMES = tuple(field.name for field in fields(TeacherStatistics))


def _at(values: Tensor, target: Tensor) -> Tensor:
    """The value (N,) of every sample at its true class."""
    return values.gather(1, target.unsqueeze(1)).squeeze(1)


def _moments(values: Tensor, is_true: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (N,), ddof 0, of (N, C) values over the wrong classes of a sample."""
    wrong = values.shape[1] - 1
    mean = values.masked_fill(is_true, 0.0).sum(dim=1) / wrong
    deviations = (values - mean.unsqueeze(1)).masked_fill(is_true, 0.0)
    return mean, deviations.square().sum(dim=1) / wrong
