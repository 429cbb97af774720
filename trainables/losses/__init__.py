"""The training losses, and the probabilities that a loss stands for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from trainables.loss_settings import Loss, TemperedLoss
from trainables.losses.smoothing import in_reporting_precision
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

__all__ = ["loss_function", "predicted_log_probabilities", "tampered_cross_entropy", "tempered_cross_entropy"]


def loss_function(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a recipe asks for, with its hyperparameters filled in.

    Args:
        loss: The ``loss`` part of a recipe.

    Returns:
        A function of logits (N, C) float and target (N,) int64 or (N, C) float; its value is the mean over N, in nats.
    """
    if isinstance(loss, TemperedLoss):
        return partial(tempered_cross_entropy, beta=loss.beta, label_smoothing=loss.label_smoothing)
    return partial(tampered_cross_entropy, alpha=loss.alpha, label_smoothing=loss.label_smoothing)


def predicted_log_probabilities(logits: Tensor, loss: Loss) -> Tensor:
    """What a network trained with ``loss`` predicts: log softmax(beta z) if tempered, log softmax(z) if tampered.

    The temperature of the tempered loss belongs to the model (arXiv 2010.07344 writes Z = beta z), so it also applies
    to likelihood and calibration. Tampering changes the backward pass only.

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
