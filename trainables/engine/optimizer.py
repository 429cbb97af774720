"""Optimisers on flat tensors: stochastic gradient descent, AdamW, and clipping by norm.

``torch.optim`` is not used: making its first optimiser imports the compiler, which takes seconds in every worker.
Nothing here waits for the device.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from trainables.engine.state import LaneState
from trainables.recipe import AdamW, Sgd

_CLIP_EPS = 1e-6
"""Added to the norm before dividing, as ``torch.nn.utils.clip_grad_norm_`` does."""


def sgd_step(
    params: Tensor,
    velocity: Tensor,
    grads: Tensor,
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    decay: Tensor,
) -> None:
    """One step of SGD, in place on params, velocity and grads; the same numbers as ``torch.optim.SGD``.

    With g = grads + decay * params: velocity = momentum * velocity + g, and params move by -lr * velocity, or by
    -lr * (g + momentum * velocity) with Nesterov. Velocity starts at 0; there is no dampening.

    Args:
        params: (P,) or (K, P) float; overwritten.
        velocity: As params; overwritten.
        grads: As params; overwritten (they are not the gradients afterwards).
        lr: Learning rate.
        momentum: In [0, 1).
        nesterov: Whether to look ahead.
        decay: (P,) coupled L2 coefficient of every element; 0 where an element does not decay.
    """
    grads.addcmul_(params, decay)
    torch.add(grads, velocity, alpha=momentum, out=velocity)
    if nesterov:
        params.add_(grads.add_(velocity, alpha=momentum), alpha=-lr)
    else:
        params.add_(velocity, alpha=-lr)


def adamw_step(
    params: Tensor,
    mean: Tensor,
    square: Tensor,
    grads: Tensor,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: Tensor,
    step: int | Tensor,
) -> None:
    """One step of AdamW, in place on everything but decay; the same numbers as ``torch.optim.AdamW``.

    params shrink by lr * decay * params; mean and square move towards grads and grads^2 by 1 - beta1 and 1 - beta2; and
    params move by -lr * m / (sqrt(v) + eps), where m and v are mean and square without their bias towards the start
    at 0.

    Args:
        params: (P,) or (K, P) float; overwritten.
        mean: As params, running mean of the gradients; overwritten.
        square: As params, running mean of their squares; overwritten.
        grads: As params; overwritten (they are not the gradients afterwards).
        lr: Learning rate.
        beta1: In [0, 1).
        beta2: In [0, 1).
        eps: > 0.
        decay: (P,) decoupled coefficient of every element; 0 where an element does not decay.
        step: 1-based number of this step; a () tensor where only the device knows it.
    """
    params.addcmul_(params, decay, value=-lr)
    mean.lerp_(grads, 1 - beta1)
    square.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
    of_mean, of_square = 1 - beta1**step, (1 - beta2**step) ** 0.5
    torch.sqrt(square, out=grads).div_(of_square).add_(eps)
    params.addcdiv_(mean, grads.mul_(of_mean), value=-lr)


def clip_by_norm(grads: Tensor, clip_norm: float) -> None:
    """Shortens gradients to a norm if they are longer, in place, as ``torch.nn.utils.clip_grad_norm_`` does.

    Args:
        grads: (P,) all gradients of one network; gaps between them are zero. Overwritten.
        clip_norm: > 0.
    """
    norm = torch.linalg.vector_norm(grads)
    grads.mul_((clip_norm / (norm + _CLIP_EPS)).clamp_(max=1.0))


class Update(Protocol):
    """Moves the parameters of one lane along its gradients."""

    def __call__(self, lane: int, grads: Tensor, lr: float, step: int | Tensor) -> None:
        """Makes one step, in place on the state.

        Args:
            lane: 0-based.
            grads: (P,) of the lane; overwritten.
            lr: Learning rate.
            step: 1-based number of the step, those that were skipped not counted.
        """


def update_of(optimizer: Sgd | AdamW, state: LaneState) -> Update:
    """The step that a recipe asks for.

    Args:
        optimizer: Everything but the learning rate, which comes with each step.
        state: What is moved; it gets room for what the optimiser remembers.
    """
    return AdamWUpdate(optimizer, state) if isinstance(optimizer, AdamW) else SgdUpdate(optimizer, state)


class SgdUpdate:
    """Clipping, then SGD with coupled weight decay."""

    def __init__(self, optimizer: Sgd, state: LaneState) -> None:
        self._settings = optimizer
        self._decay = _decay_of(optimizer, state)
        # Updates go row by row: over (K, P) at once, the vector kernels would cut the rows at other places.
        self._params = list(state.params)
        self._velocity = list(state.momentum)

    def __call__(self, lane: int, grads: Tensor, lr: float, step: int | Tensor) -> None:
        """Makes one step."""
        if self._settings.clip_norm is not None:
            clip_by_norm(grads, self._settings.clip_norm)
        sgd_step(
            self._params[lane],
            self._velocity[lane],
            grads,
            lr=lr,
            momentum=self._settings.momentum,
            nesterov=self._settings.nesterov,
            decay=self._decay,
        )


class AdamWUpdate:
    """Clipping, then AdamW."""

    def __init__(self, optimizer: AdamW, state: LaneState) -> None:
        self._settings = optimizer
        self._decay = _decay_of(optimizer, state)
        self._params = list(state.params)
        self._mean = list(state.momentum)
        self._square = list(state.with_square())

    def __call__(self, lane: int, grads: Tensor, lr: float, step: int | Tensor) -> None:
        """Makes one step."""
        if self._settings.clip_norm is not None:
            clip_by_norm(grads, self._settings.clip_norm)
        adamw_step(
            self._params[lane],
            self._mean[lane],
            self._square[lane],
            grads,
            lr=lr,
            beta1=self._settings.beta1,
            beta2=self._settings.beta2,
            eps=self._settings.eps,
            decay=self._decay,
            step=step,
        )


def _decay_of(optimizer: Sgd | AdamW, state: LaneState) -> Tensor:
    return (optimizer.weight_decay * state.layout.decay_mask()).to(state.params.device)
