"""The loss that a recipe asks for at a moment of the run, and the probabilities that its network stands for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypedDict

from torch import Tensor

from trainables.loss_settings import DistilledLoss, Loss, TamperedLoss, TemperedLoss
from trainables.losses.distilled import asymmetric_distillation, distillation_term
from trainables.losses.legacy_hook import legacy_hook_cross_entropy
from trainables.losses.smoothing import in_reporting_precision
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

LossFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Of logits (N, C), target (N,) or (N, C), and the teacher's raw logits (N, C) where the loss has one: mean, nats."""


class _Settings(TypedDict):
    tau1: float
    tau2: float
    student_temperature: float
    center_logits: bool
    class_discriminability: bool


def loss_function(loss: Loss, epoch: float) -> LossFunction:
    """The loss at a point of the run, with its hyperparameters filled in.

    Args:
        loss: The ``loss`` part of a recipe.
        epoch: Epochs done, >= 0; 2.5 is the middle of the third epoch. Tampering may begin late, distillation may
            end early.

    Returns:
        Its value is the mean over the samples, in nats.
    """
    if isinstance(loss, TemperedLoss):
        return _without_teacher(partial(tempered_cross_entropy, beta=loss.beta, label_smoothing=loss.label_smoothing))
    if isinstance(loss, TamperedLoss):
        tampered = legacy_hook_cross_entropy if loss.legacy_hook else tampered_cross_entropy
        return _without_teacher(partial(tampered, alpha=alpha_at(loss, epoch), label_smoothing=loss.label_smoothing))
    if not distils_at(loss, epoch):
        return _without_teacher(partial(tempered_cross_entropy, beta=1.0))
    return _with_teacher(partial(asymmetric_distillation, weight=loss.weight, **_distillation_settings(loss)))


def distillation_parts(loss: DistilledLoss) -> tuple[LossFunction, LossFunction]:
    """Both parts of the distillation loss, not weighted: ``CE`` and ``s^2 KD``; lambda mixes them."""
    plain = partial(tempered_cross_entropy, beta=1.0)
    term = partial(distillation_term, **_distillation_settings(loss))

    def from_labels(logits: Tensor, target: Tensor, teacher_logits: Tensor | None) -> Tensor:
        return plain(logits, target)

    def from_teacher(logits: Tensor, target: Tensor, teacher_logits: Tensor | None) -> Tensor:
        return _with_teacher(term)(logits, target, teacher_logits)

    return from_labels, from_teacher


def alpha_at(loss: TamperedLoss, epoch: float) -> float:
    """The exponent alpha at a point of the run: 1 to ``start_epoch``, then in a line to its value.

    Tampering early is troublesome in half precision and with large batches (methods.md B.7).
    """
    if epoch < loss.start_epoch:
        return 1.0
    into = epoch - loss.start_epoch
    share = 1.0 if into >= loss.warmup_epochs else into / loss.warmup_epochs
    return 1.0 + share * (loss.alpha - 1.0) if share < 1 else loss.alpha


def distils_at(loss: Loss, epoch: float) -> bool:
    """Whether the teacher counts at a point of the run; early-stopped distillation ends at ``stop_epoch``."""
    if not isinstance(loss, DistilledLoss) or loss.weight == 0:
        return False
    return loss.stop_epoch is None or epoch < loss.stop_epoch


def predicted_log_probabilities(logits: Tensor, loss: Loss) -> Tensor:
    """What a network trained with ``loss`` predicts: log softmax(beta z) if tempered, log softmax(z) otherwise.

    The temperature of the tempered loss belongs to the model (arXiv 2010.07344 writes Z = beta z), so it also applies
    to likelihood and calibration. Tampering changes the backward pass only, and the student's temperature in
    distillation is for training.

    Args:
        logits: (N, C) float of any precision.
        loss: The ``loss`` part of the recipe.

    Returns:
        (N, C) log-probabilities in nats; float32, or float64 for float64 logits.
    """
    z = in_reporting_precision(logits)
    if isinstance(loss, TemperedLoss):
        z = loss.beta * z
    return z.log_softmax(dim=-1)


def _distillation_settings(loss: DistilledLoss) -> _Settings:
    return {
        "tau1": loss.tau1,
        "tau2": loss.tau2,
        "student_temperature": loss.tau1 if loss.student_temperature == "same" else loss.student_temperature,
        "center_logits": loss.center_logits,
        "class_discriminability": loss.class_discriminability,
    }


def _without_teacher(function: Callable[[Tensor, Tensor], Tensor]) -> LossFunction:
    return lambda logits, target, _: function(logits, target)


def _with_teacher(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> LossFunction:
    def of(logits: Tensor, target: Tensor, teacher_logits: Tensor | None) -> Tensor:
        assert teacher_logits is not None, "the engine gives the teacher's logits where the loss has a teacher"
        return function(logits, teacher_logits, target)

    return of
