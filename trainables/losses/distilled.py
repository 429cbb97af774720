"""Distillation with asymmetric temperatures: the teacher's true class is tempered more than its other classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainables.losses.smoothing import (
    Reduction,
    Scalar,
    advise_against,
    expected_negative,
    in_reporting_precision,
    of_true_class,
    reduce_samples,
    require_positive,
)


def asymmetric_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    tau1: Scalar,
    tau2: Scalar,
    weight: Scalar,
    student_temperature: Scalar = 1.0,
    center_logits: bool = False,
    class_discriminability: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy to the labels plus cross-entropy to an asymmetrically tempered teacher, in nats.

    ``(1 - lambda) CE(z, y) + lambda s^2 CE(z / s, p)`` a sample, with the student's logits z, its temperature s, the
    weight lambda, and the teacher's p from ``asymmetric_probabilities``. The second part is a cross-entropy, not a
    divergence, as in the authors' code: the gradients are the same, the values differ by ``s^2`` times the entropy of
    p. With ``tau1 == tau2`` it is plain distillation, and with ``weight`` 0 plain cross-entropy.

    Source: "Asymmetric Temperature Scaling Makes Larger Networks Teach Well Again", arXiv 2210.04427, with the
    student's temperature and the weights of its official code; methods.md C.1.

    Args:
        student_logits: z, (N, C) float of any precision; computed in float32 (float64 stays float64). Finite, or -inf
            at classes that a sample cannot be of; where p > 0 there, the loss is +inf.
        teacher_logits: (N, C) float of any precision, raw: never normalised (see ``asymmetric_probabilities``). No
            gradient flows into them.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities that sum to 1.
        tau1: Temperature > 0 of the teacher's logit of the true class, number or () tensor.
        tau2: Temperature > 0 of its other logits, number or () tensor; tau1 - 2 to tau1 - 1 is advised.
        weight: lambda in [0, 1], number or () tensor. The number 0 looks at nothing of the teacher, its temperatures
            included.
        student_temperature: s > 0, number or () tensor; 1 in the official code.
        center_logits: Whether the mean of the teacher's logits of a sample is subtracted from them.
        class_discriminability: False for the ablation of ``without_class_discriminability``.
        reduction: ``mean`` or ``sum`` over N, or ``none``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64.

    Raises:
        ValueError: A number is out of its range or NaN, or shapes, target and reduction do not fit.

    Warns:
        RecipeWarning: tau1 < tau2, both numbers.
    """
    if not isinstance(weight, Tensor) and not 0 <= weight <= 1:
        raise ValueError(f"weight must be in [0, 1], got {weight}. Use 0.5; 0 is plain cross-entropy.")
    z = in_reporting_precision(student_logits)  # once: two gradients would be rounded to half and then added in half

    def from_labels(over_samples: Reduction) -> Tensor:
        return expected_negative(z.log_softmax(dim=-1), target, 0.0, over_samples)

    def from_teacher(over_samples: Reduction) -> Tensor:
        return distillation_term(
            z,
            teacher_logits,
            target,
            tau1=tau1,
            tau2=tau2,
            student_temperature=student_temperature,
            center_logits=center_logits,
            class_discriminability=class_discriminability,
            reduction=over_samples,
        )

    if not isinstance(weight, Tensor) and weight in (0, 1):
        return from_teacher(reduction) if weight else from_labels(reduction)
    return reduce_samples((1 - weight) * from_labels("none") + weight * from_teacher("none"), reduction)


def distillation_term(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    *,
    tau1: Scalar,
    tau2: Scalar,
    student_temperature: Scalar = 1.0,
    center_logits: bool = False,
    class_discriminability: bool = True,
    reduction: Reduction = "mean",
) -> Tensor:
    """The teacher's part alone: ``-s^2 sum_c p_c ln softmax(z / s)_c`` a sample, in nats, not yet times its weight.

    Its gradient in z is ``s (softmax(z / s) - p)`` a sample. Source and arguments: ``asymmetric_distillation``.

    Returns:
        () for ``mean`` and ``sum``, (N,) for ``none``; float32 or float64.

    Raises:
        ValueError: A number is out of its range or NaN, or shapes, target and reduction do not fit.

    Warns:
        RecipeWarning: tau1 < tau2, both numbers.
    """
    require_positive("student_temperature", student_temperature, "Use 1, or tau1.")
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"teacher_logits must have the shape of student_logits, got {tuple(teacher_logits.shape)} for "
            f"{tuple(student_logits.shape)}. Use a teacher of the same classes, and give it the same samples."
        )
    p = asymmetric_probabilities(teacher_logits.detach(), target, tau1=tau1, tau2=tau2, center=center_logits)
    if not class_discriminability:
        p = without_class_discriminability(p, target)
    log_probabilities = (in_reporting_precision(student_logits) / student_temperature).log_softmax(dim=-1)
    per_sample = expected_negative(log_probabilities, p, 0.0, "none")
    return reduce_samples(student_temperature * student_temperature * per_sample, reduction)


def asymmetric_probabilities(
    teacher_logits: Tensor, target: Tensor, *, tau1: Scalar, tau2: Scalar, center: bool = False
) -> Tensor:
    """Probabilities softmax(f_c / tau_c), where tau_c is tau1 at the true class and tau2 elsewhere.

    ``tau1 == tau2`` gives softmax(f / tau) bit for bit. Otherwise a constant added to all logits matters: f + c is f
    with ``c (1 / tau1 - 1 / tau2)`` added to the true class after the division. Hence f are the raw logits that the
    teacher learnt, as in the official code, and log-probabilities cannot stand in for them.

    Source: arXiv 2210.04427; methods.md C.1 and C.3. For probabilities q as target, tau_c = tau2 + q_c (tau1 - tau2);
    this is ours: it equals the above on one-hot rows (up to the rounding of tau1) and is tau where both are equal.

    Args:
        teacher_logits: f, (N, C) float of any precision; computed in float32 (float64 stays float64). Finite, or -inf
            for probability 0.
        target: (N,) int64 class indices in 0..C-1, or (N, C) probabilities that sum to 1.
        tau1: Temperature > 0 of the true class, number or () tensor; 1 to 6 in the paper.
        tau2: Temperature > 0 of the other classes, number or () tensor; tau1 - 2 to tau1 - 1 is advised.
        center: Whether the mean of a sample's logits, over those that are not -inf, is subtracted first.

    Returns:
        (N, C) float32 or float64; rows sum to 1. Differentiable in f and in temperatures that are tensors.

    Raises:
        ValueError: A temperature is a number that is not > 0 and finite, or the shapes do not fit.

    Warns:
        RecipeWarning: tau1 < tau2, both numbers; the method wants the true class the flatter one.
    """
    _check_temperatures(tau1, tau2)
    f = in_reporting_precision(teacher_logits)
    if center:
        f = f - _mean_of_unmasked(f)
    if target.is_floating_point():
        _check_shape(target, f.shape)
        scaled = f / (tau2 + target.to(f.dtype) * (tau1 - tau2))
    else:
        _check_shape(target, f.shape[:-1])
        scaled = torch.where(of_true_class(target, f.shape[-1]), f / tau1, f / tau2)
    return scaled.softmax(dim=-1)


def without_class_discriminability(probabilities: Tensor, target: Tensor) -> Tensor:
    """The teacher's p_y at the true class y, and its mean wrong-class probability (1 - p_y) / (C - 1) elsewhere.

    Keeps correct guidance and smooth regularisation, the first two terms of the loss decomposition of the source, and
    drops the third: which wrong classes are more alike. Source: arXiv 2210.04427, Fig. 2; methods.md C.2.

    Only for class indices. A mixed target has no wrong classes to even out, and the argmax would choose one class of
    an even mixture by its position, so this ablation would measure something else there without a sign.

    Args:
        probabilities: p, (N, C) float, rows sum to 1.
        target: (N,) int64 class indices in 0..C-1.

    Returns:
        (N, C) of the type of ``probabilities``; rows sum to 1.

    Raises:
        ValueError: The target is probabilities, or of another shape.
    """
    if target.is_floating_point():
        raise ValueError(
            "class_discriminability=False must have class indices as target, got probabilities. "
            "Train without mixed labels for this ablation."
        )
    _check_shape(target, probabilities.shape[:-1])
    is_true = of_true_class(target, probabilities.shape[-1])
    wrong = probabilities.masked_fill(is_true, 0.0)  # not 1 - p_y, which cancels where the teacher is sure
    even = wrong.sum(dim=-1, keepdim=True) / max(probabilities.shape[-1] - 1, 1)
    return torch.where(is_true, probabilities, even)


def _check_temperatures(tau1: Scalar, tau2: Scalar) -> None:
    require_positive("tau1", tau1, "Use 1 to 6.")
    require_positive("tau2", tau2, "Use tau1 - 2 to tau1 - 1; tau1 is plain distillation.")
    if not isinstance(tau1, Tensor) and not isinstance(tau2, Tensor) and tau1 < tau2:
        advise_against(
            f"tau1 should be >= tau2, got {tau1:g} < {tau2:g}: the method wants the true class the flatter one"
        )


def _check_shape(target: Tensor, expected: torch.Size) -> None:
    if target.shape != expected:
        raise ValueError(
            f"target must be of shape {tuple(expected)}, got {tuple(target.shape)}. "
            "Give (N,) integers, or one row of C probabilities a sample."
        )


def _mean_of_unmasked(logits: Tensor) -> Tensor:
    masked = logits == -math.inf
    return logits.masked_fill(masked, 0.0).sum(dim=-1, keepdim=True) / (~masked).sum(dim=-1, keepdim=True)
