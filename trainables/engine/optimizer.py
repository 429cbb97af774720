"""Stochastic gradient descent on flat tensors.

``torch.optim`` is not used: making its first optimiser imports the compiler, which takes seconds in every worker.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
