"""Networks that start at a wished norm of Z0 = beta * z0, so that this norm can be varied independently of beta.

A factor on the logits would be the same thing as beta. The ways here leave the tangent kernel at the start as it is,
except ``twin_head``, which weakens the hidden layers' part, and ``head_scale``, an ablation. Constructions: methods.md
A.4; "Temperature check" (arXiv 2010.07344) asks for such a start, but its own formula is not known to us.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainables.models.frozen import frozen

LogitNormMode = Literal["subtract", "twin", "twin_head", "head_scale"]

_TOLERANCE = 1e-6
"""Relative error of the norm at which the search for a correlation stops."""
_ACCEPTED = 1e-3
"""Relative error of the norm above which the start counts as missed."""


def logit_norm(logits: Tensor) -> Tensor:
    """Root mean square over the samples of a sample's Euclidean norm: ||Z||_F / sqrt(M).

    The paper writes ||Z0||_2 without saying over what; this form does not grow with the size of the probe.

    Args:
        logits: (M, C) float, M >= 1.

    Returns:
        () float of the same type, >= 0.
    """
    size: Tensor = torch.linalg.vector_norm(logits)
    return size / math.sqrt(len(logits))


def undisturbed_logits(network: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
    """The logits of a call in the network's present mode, which leaves its buffers and the global random state alone.

    Works inside the transforms of ``torch.func``. Random layers draw the same numbers in every call.

    Args:
        network: From (N, ...) to logits (N, C).
        inputs: (N, ...).
        parameters: Used instead of the network's own, by name.

    Returns:
        (N, C) float, with a graph where gradients are on.
    """
    cuda = inputs.is_cuda
    with torch.random.fork_rng(devices=[inputs.device] if cuda else []):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would also touch the accelerators' generators
        if cuda:
            torch.cuda.default_generators[inputs.device.index].manual_seed(0)
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}  # cloned inside the transforms
        logits: Tensor = functional_call(network, {**buffers, **(parameters or {})}, (inputs,))
    return logits


class SubtractedStart(nn.Module):
    """A network minus its own start but for a share (), >= 0: z = f(theta) - f(theta0) + share * f(theta0).

    The start is a frozen copy whose parameters are buffers: no optimiser sees them, and a saved network is whole. It
    follows the mode of the network and runs without gradients. Running statistics of its batch norms follow the data as
    the network's own do, without which it would be another function in evaluation than in training.
    """

    share: Tensor

    def __init__(self, network: nn.Module, share: Tensor) -> None:
        super().__init__()
        self.network = network
        self.start = frozen(copy.deepcopy(network))
        self.register_buffer("share", share)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) for inputs (N, ...)."""
        with torch.no_grad():
            start = self.start(inputs)
        logits: Tensor = self.network(inputs) - start + self.share * start  # in this order exact at the start
        return logits


class Twin(nn.Module):
    """The difference of two networks, or of two heads: z = (f(theta1) - f(theta2)) / sqrt(2); both are trained."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C) for inputs (N, ...)."""
        difference: Tensor = (self.first(inputs) - self.second(inputs)) / math.sqrt(2)
        return difference


def with_logit_norm(
    network: nn.Module,
    *,
    mode: LogitNormMode,
    norm: float,
    beta: float,
    probe: Tensor,
    make_twin: Callable[[], nn.Module],
) -> nn.Module:
    """A network whose Z0 = beta * z0 has the wished norm on the probe, measured in the mode the network is in.

    Modes: ``subtract`` takes off the frozen start but for a share (exact; the tangent kernel at the start is bit-equal
    to the plain one). ``twin`` trains the difference of two networks with correlated parameters,
    theta2 = rho theta1 + sqrt(1 - rho^2) theta', with rho in [0, 1] found by measuring; parameters in which theta1 and
    theta' agree, such as the constants of norms, stay. Near rho = 1 the halves move against each other and the first
    changes of their kernels cancel, so that tau_nl is longer than with ``subtract``. ``twin_head`` does so with the
    last linear layer only, whereby the kernel's part of the hidden layers falls to 0 with the norm. ``head_scale``
    multiplies the last linear layer by a factor c, and that part of the kernel by c^2: an ablation.

    Source: methods.md A.4; arXiv 2010.07344 for the purpose.

    Args:
        network: From (N, ...) to logits (N, C), deterministic; it is taken over and may be changed.
        mode: As above.
        norm: Wished :func:`logit_norm` of Z0, >= 0.
        beta: Inverse temperature, > 0.
        probe: (M, ...) inputs on which the norm is measured, of the network's type and on its device.
        make_twin: Gives a fresh network of the same architecture with other random parameters; called for ``twin`` and
            ``twin_head`` only.

    Returns:
        The network itself for ``head_scale``, otherwise one around it or with another head.

    Raises:
        ValueError: norm or beta are out of range, the mode cannot reach the norm, or the network lacks what it needs.
    """
    if not (norm >= 0 and math.isfinite(norm)):
        raise ValueError(f"logit_norm must be finite and >= 0, got {norm}. Use 0.01 to 100, or 0.")
    if not (beta > 0 and math.isfinite(beta)):
        raise ValueError(f"beta must be finite and > 0, got {beta}. Use 0.01 to 10.")
    with torch.no_grad():
        if mode == "subtract":
            start = _of_start(network, norm, beta, probe)
            result: nn.Module = SubtractedStart(network, torch.as_tensor(norm / beta, dtype=start.dtype) / start)
        elif mode == "twin":
            result = _correlated(Twin(network, make_twin()), norm, beta, lambda twin: undisturbed_logits(twin, probe))
        elif mode == "twin_head":
            result = _with_twin_head(network, make_twin(), norm, beta, probe)
        elif mode == "head_scale":
            result = network
            scale = norm / beta / float(_of_start(network, norm, beta, probe))
            for parameter in _head(network, probe)[1].parameters():
                parameter.mul_(scale)
        else:
            raise ValueError(f"logit_norm_mode must be one of {get_args(LogitNormMode)}, got {mode!r}. Use subtract.")
        found = beta * float(logit_norm(undisturbed_logits(result, probe)))
    if not abs(found - norm) <= _ACCEPTED * norm:
        raise ValueError(
            f"logit_norm must be reached to {_ACCEPTED:g} of {norm:g}, got {found:g}. Use logit_norm_mode subtract "
            "and a network without random layers, or a larger norm."
        )
    return result


def _of_start(network: nn.Module, norm: float, beta: float, probe: Tensor) -> Tensor:
    """() norm of z0 on the probe, of the network's type; 1 where neither it nor the wished one differs from 0."""
    start = logit_norm(undisturbed_logits(network, probe))
    if not torch.isfinite(start):
        raise ValueError(f"the logits at the start must be finite, got norm {float(start)}. Check data and network.")
    if start > 0:
        return start
    if norm > 0:
        raise ValueError(
            f"logit_norm above 0 needs logits that are not all 0 at the start, got {norm:g} (beta {beta:g}). "
            "Use logit_norm 0, or logit_norm_mode twin."
        )
    return torch.ones_like(start)


def _correlated(twin: Twin, norm: float, beta: float, logits_of: Callable[[Twin], Tensor]) -> Twin:
    """Mixes the second half with the first until the norm is met: at the angle a, rho = cos a."""
    first, second = dict(twin.first.named_parameters()), dict(twin.second.named_parameters())
    if {n: p.shape for n, p in first.items()} != {n: p.shape for n, p in second.items()}:
        raise ValueError(
            f"the twin must have the architecture of the network, got parameters {sorted(second)} for {sorted(first)}. "
            "Build both alike, with two seeds."
        )
    fresh = {name: p.clone() for name, p in second.items() if not torch.equal(p, first[name])}

    def surplus(angle: float) -> float:
        for name, drawn in fresh.items():
            second[name].copy_(first[name] * math.cos(angle) + drawn * math.sin(angle))
        return beta * float(logit_norm(logits_of(twin))) - norm

    if norm == 0:
        surplus(0.0)
        return twin
    low, high = 0.0, math.pi / 2
    below, above = -norm, surplus(high)
    if not above >= -_TOLERANCE * norm:
        raise ValueError(
            f"logit_norm must be at most {norm + above:.4g} with independent halves at beta {beta:g}, got {norm:g}. "
            "Lower it, or use logit_norm_mode subtract."
        )
    side = 0
    for _ in range(60):  # bisection by the secant (Illinois), because the norm is nearly linear in the angle
        if above <= _TOLERANCE * norm and side == 0:
            break
        angle = (low * above - high * below) / (above - below)
        found = surplus(angle)
        if abs(found) <= _TOLERANCE * norm:
            break
        if found < 0:
            low, below, above = angle, found, above / 2 if side < 0 else above
        else:
            high, above, below = angle, found, below / 2 if side > 0 else below
        side = -1 if found < 0 else 1
    return twin


def _with_twin_head(network: nn.Module, other: nn.Module, norm: float, beta: float, probe: Tensor) -> nn.Module:
    name, head, features = _head(network, probe)
    twin = Twin(head, _head(other, probe)[1])
    _correlated(twin, norm, beta, lambda twin: twin(features))
    if not name:
        return twin
    owner, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(owner), leaf, twin)
    return network


def _head(network: nn.Module, probe: Tensor) -> tuple[str, nn.Linear, Tensor]:
    """Name and module of the last linear layer, which must be the one that gives the logits, and its inputs."""
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    seen: list[tuple[Tensor, Tensor]] = []
    if linear:
        handle = linear[-1][1].register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
        logits = undisturbed_logits(network, probe)
        handle.remove()
    if not seen or not torch.equal(seen[-1][1], logits):
        raise ValueError(
            "logit_norm_mode twin_head and head_scale need a last nn.Linear whose output the logits are, got "
            f"{f'{linear[-1][0]!r}, which is not so' if linear else 'none'} in {type(network).__name__}. "
            "Use subtract or twin."
        )
    return *linear[-1], seen[-1][0]
