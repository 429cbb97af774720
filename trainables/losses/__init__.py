"""The training losses: pure functions of logits and target, whose hyperparameters may be tensors."""

from trainables.losses.distilled import asymmetric_distillation, asymmetric_probabilities
from trainables.losses.of_recipe import loss_function, predicted_log_probabilities
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

__all__ = [
    "asymmetric_distillation",
    "asymmetric_probabilities",
    "loss_function",
    "predicted_log_probabilities",
    "tampered_cross_entropy",
    "tempered_cross_entropy",
]
