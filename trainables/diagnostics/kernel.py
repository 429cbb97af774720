"""Early learning by linearisation: tangent kernel, timescales, and the terms of the logits' equation of motion.

All functions are pure. Notation of "Temperature check" (arXiv 2010.07344) and methods.md A.2: z are the logits,
Z = beta z, J = dz/dtheta and Theta = J J^T, which holds no beta, and r = Y - softmax(Z). The learning time t is the sum
of the learning rates of the steps, with the gradient of the loss's mean over M samples; divide by lr to have steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import jacrev, jvp, vjp

from trainables.models.logit_norm import undisturbed_logits

Parameters = Mapping[str, Tensor]

RELATIVE_STEP = 1e-8
"""Of finite differences along a direction in float64, as a share of the parameters' norm."""

_ROWS_AT_ONCE = 32
"""Rows of J made in one batched backward pass; bounds the memory for activations."""


def trainable(network: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, by name; detached, but sharing their memory."""
    return {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}


def eta_tilde(lr: float, beta: float) -> float:
    """Effective learning rate lr * beta^2: with the kernel held constant, only it sets the speed of Z (A.2).

    Args:
        lr: Learning rate for the mean loss, > 0.
        beta: Inverse temperature, > 0.

    Returns:
        The product; of the unit of lr.
    """
    return lr * beta**2


def empirical_ntk(
    network: nn.Module, inputs: Tensor, *, parameters: Parameters | None = None, samples: int | None = None
) -> Tensor:
    """Tangent kernel Theta = J J^T of the logits z over the trainable parameters (A.2), in the network's present mode.

    Buffers, gradients and the global random state stay as they are; batch norms in training mode use the statistics of
    ``inputs``. Needs memory for J, which has M*K rows as long as the network has parameters.

    Args:
        network: From (N, ...) to logits (N, K).
        inputs: (N, ...).
        parameters: Used instead of the network's own: all trainable ones, by name.
        samples: M, the first samples, whose rows are wanted; default all N, which pass through the network anyway.

    Returns:
        (M*K, M*K) of the logits' type, symmetric; row m*K + k belongs to logit k of sample m.
    """
    jacobian: dict[str, Tensor] = jacrev(
        lambda values: undisturbed_logits(network, inputs, values)[:samples], chunk_size=_ROWS_AT_ONCE
    )(dict(parameters or trainable(network)))
    blocks = [block.flatten(2).flatten(0, 1) for block in jacobian.values()]
    kernel = blocks[0] @ blocks[0].T
    for block in blocks[1:]:
        kernel.addmm_(block, block.T)
    return kernel


def kernel_times(
    network: nn.Module, inputs: Tensor, vectors: Tensor, *, parameters: Parameters | None = None
) -> Tensor:
    """Theta v for given v, one backward and one forward derivative each: for networks whose J is too large.

    With random v of independent entries of mean 0 and variance 1, the mean of ||Theta v||^2 is ||Theta||_F^2; likewise
    for any difference of two kernels taken with the same v. Side effects as of :func:`empirical_ntk`: none.

    Args:
        network: From (N, ...) to logits (N, K).
        inputs: (N, ...).
        vectors: (V, N, K) of the logits' type.
        parameters: Used instead of the network's own: all trainable ones, by name.

    Returns:
        (V, N, K).
    """
    values = dict(parameters or trainable(network))

    def logits(values: dict[str, Tensor]) -> Tensor:
        return undisturbed_logits(network, inputs, values)

    pull = vjp(logits, values)[1]
    return torch.stack([jvp(logits, (values,), pull(vector))[1] for vector in vectors])


def logit_jvp(network: nn.Module, inputs: Tensor, direction: Parameters, *, parameters: Parameters) -> Tensor:
    """J times a direction of the parameters: how z moves when the parameters move so.

    Args:
        network: From (N, ...) to logits (N, K).
        inputs: (N, ...).
        direction: By name, in the shapes of the parameters.
        parameters: Where; by name, all of the direction's.

    Returns:
        (N, K), of z and not of Z: multiply by beta for that.
    """
    values = dict(parameters)
    moved: Tensor = jvp(
        lambda at: undisturbed_logits(network, inputs, at), (values,), ({name: direction[name] for name in values},)
    )[1]
    return moved


def kernel_velocity(
    kernel_of: Callable[[Parameters], Tensor],
    parameters: Parameters,
    direction: Parameters,
    relative_step: float = RELATIVE_STEP,
) -> Tensor:
    """Theta' of equation (3): the derivative of a kernel along theta', by a central difference.

    Give float64. The step must be so small that no ReLU changes its side within it: one that does adds a jump divided
    by the step, and with steps of 1e-4 to 1e-2 such jumps, not the derivative, decide the result. In float64 there is
    room for that: with 1e-8 rounding costs about 1e-7 of the result.

    Args:
        kernel_of: The kernel (or its product with fixed vectors) at given parameters.
        parameters: Where, by name.
        direction: theta', by name in the same shapes.
        relative_step: Length of the step to either side, as a share of the parameters' norm.

    Returns:
        Of the kernel's shape, per unit of the direction; 0 for a direction of length 0.
    """
    length = _norm(direction)
    if length == 0:
        return torch.zeros_like(kernel_of(parameters))
    step = relative_step * (_norm(parameters) or 1.0) / length
    ahead = kernel_of({name: value + step * direction[name] for name, value in parameters.items()})
    behind = kernel_of({name: value - step * direction[name] for name, value in parameters.items()})
    return (ahead - behind) / (2 * step)


def logit_velocity(kernel: Tensor, logits: Tensor, targets: Tensor, *, beta: float) -> Tensor:
    """Z' of equation (1): beta^2 Theta r / M, the motion under gradient flow on the mean loss of these M samples.

    Args:
        kernel: Theta, (M*K, M*K).
        logits: Z = beta z, (M, K).
        targets: Y, (M, K), rows sum to 1.
        beta: Inverse temperature.

    Returns:
        (M, K), per learning time.
    """
    residual = targets - logits.softmax(dim=1)
    return beta**2 / len(logits) * (kernel @ residual.flatten()).view_as(logits)


def acceleration_terms(
    kernel: Tensor, velocity_of_kernel: Tensor, logits: Tensor, targets: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    """The two terms of equation (2), Z'' = beta^2 / M (Theta' r - Theta S Z').

    The first is what the change of the kernel adds; the second, with S the covariances of the probabilities, is all
    there is in the linear regime. At equal Z the ratio of their norms goes as 1/beta.

    Args:
        kernel: Theta, (M*K, M*K).
        velocity_of_kernel: Theta', (M*K, M*K), per learning time.
        logits: Z = beta z, (M, K).
        targets: Y, (M, K), rows sum to 1.
        beta: Inverse temperature.

    Returns:
        Both (M, K), per learning time squared, with their signs: the sum is Z''.
    """
    rate = beta**2 / len(logits)
    probabilities = logits.softmax(dim=1)
    moved = logit_velocity(kernel, logits, targets, beta=beta)
    turned = probabilities * (moved - (probabilities * moved).sum(dim=1, keepdim=True))  # S Z'
    residual = targets - probabilities
    return (
        rate * (velocity_of_kernel @ residual.flatten()).view_as(logits),
        -rate * (kernel @ turned.flatten()).view_as(logits),
    )


def tau_z(logits: Tensor, velocity: Tensor) -> Tensor:
    """Learning time in which Z would change by its own norm, ||Z||_F / ||Z'||_F (A.2).

    Args:
        logits: Z, any shape.
        velocity: Z', the same shape, per learning time.

    Returns:
        () >= 0; 0 for Z = 0, inf where only Z' is 0.
    """
    return _time(logits, velocity)


def tau_nl(kernel: Tensor, velocity: Tensor) -> Tensor:
    """Learning time in which the kernel would change by its own norm, ||Theta||_F / ||Theta'||_F (A.2).

    Args:
        kernel: Theta, or its product with random vectors, any shape.
        velocity: Theta', or its product with the same vectors, the same shape, per learning time.

    Returns:
        () >= 0; 0 for Theta = 0, inf where only Theta' is 0.
    """
    return _time(kernel, velocity)


def _time(value: Tensor, velocity: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(value)
    return torch.where(size == 0, 0.0, size / torch.linalg.vector_norm(velocity))


def _norm(parameters: Parameters) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in parameters.values()))
