"""The network of a recipe: built by name, started at the wished logit norm, put on top of a frozen one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trainables.engine.batches import TrainingData
from trainables.loss_settings import TemperedLoss
from trainables.models import build
from trainables.models.frozen import OnTopOf
from trainables.models.logit_norm import with_logit_norm
from trainables.recipe import Recipe
from trainables.teachers import Shelf, StoredTeacher

_TWIN_SEED = 2**31
"""Added to a seed for the second network of logit_norm_mode twin."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """A trained network that another one stands on, and the inverse temperature that belongs to it."""

    network: nn.Module
    beta: float


def assemble(recipe: Recipe, seed: int, data: TrainingData, base: Base | None = None) -> nn.Module:
    """A new network for a recipe, in training mode on the CPU; equal arguments give bit-equal parameters.

    Args:
        recipe: What is to be trained.
        seed: Of the initial parameters.
        data: Gives shapes, and the probe on which a logit norm is measured.
        base: What ``recipe.base`` names; its parameters become buffers of the new network.

    Raises:
        ValueError: The logit norm cannot be reached in the chosen mode.
    """

    def plain(seed: int) -> nn.Module:
        return build(
            recipe.model,
            input_shape=data.input_shape,
            num_classes=data.packed.num_classes,
            seed=seed,
            vocabulary=data.packed.vocabulary,
        )

    network = plain(seed)
    loss = recipe.loss
    if isinstance(loss, TemperedLoss) and loss.logit_norm is not None:
        network = with_logit_norm(
            network,
            mode=loss.logit_norm_mode,
            norm=loss.logit_norm,
            beta=loss.beta,
            probe=data.probe(recipe.diagnostics.probe_samples)[0].cpu(),
            make_twin=lambda: plain(seed + _TWIN_SEED),
        )
    return network if base is None else OnTopOf(network, base.network, base.beta / beta_of(recipe))


def beta_of(recipe: Recipe) -> float:
    """The inverse temperature with which a recipe's logits stand in the softmax; 1 where its loss has none."""
    return recipe.loss.beta if isinstance(recipe.loss, TemperedLoss) else 1.0


def base_of(found: StoredTeacher, shelf: Shelf, data: TrainingData) -> Base:
    """A teacher from the shelf as a base."""
    return Base(network=restore(found, shelf, data), beta=beta_of(found.recipe))


def restore(teacher: StoredTeacher, shelf: Shelf, data: TrainingData) -> nn.Module:
    """A teacher from the shelf as a network in evaluation mode on the CPU, without gradients.

    Raises:
        ValueError: A network that it stands on is not on the shelf.
    """
    base = None
    if teacher.recipe.base is not None:
        below = shelf.get(teacher.needs[teacher.recipe.base])
        if below is None:
            raise ValueError(f"the base of teacher {teacher.name} must be on the shelf, but {teacher.needs} is not")
        base = base_of(below, shelf, data)
    network = assemble(teacher.recipe, teacher.seed, data, base)
    network.load_state_dict(teacher.weights())
    return network.requires_grad_(False).eval()


@torch.no_grad()
def logits_of(network: nn.Module, beta: float, data: TrainingData) -> torch.Tensor:
    """Raw logits beta * z, as they stand in the softmax: (N, C) float32 over the training split, on the CPU."""
    network = network.to(data.device).eval()
    return torch.cat([beta * network(samples).float().cpu() for samples, _ in data.chunks("train")])
