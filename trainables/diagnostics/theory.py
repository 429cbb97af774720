"""The start of learning of one network, followed while it trains: its timescales as predicted, and as they came."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.diagnostics.kernel import (
    Parameters,
    empirical_ntk,
    eta_tilde,
    kernel_times,
    kernel_velocity,
    logit_jvp,
    tau_nl,
    tau_z,
    trainable,
)
from trainables.models.logit_norm import logit_norm, undisturbed_logits

__all__ = ["LearningProbe", "eta_tilde"]

_JACOBIAN_ELEMENTS = 30_000_000
"""Largest J held in memory (240 MB in float64); above it the kernel is known by its products with random vectors."""
_VECTORS = 4
_KERNEL_CHANGE = 0.1
"""Relative change of the kernel that is waited for; the time is extrapolated from it to 1 (A.3)."""


class LearningProbe:
    """Measures the timescales of early learning on fixed inputs, before training and while it goes on.

    tau_z is the learning time (sum of lr, see ``trainables.diagnostics.kernel``) in which Z = beta z changes by its own
    norm, tau_nl the one in which the tangent kernel does. :meth:`start` predicts both from derivatives at theta0,
    :meth:`observe` finds when they came true: Z by ||Z_k - Z_0|| >= ||Z_0||, the kernel by a change of a tenth, times
    ten. For ReLU networks the predicted tau_nl leaves out, as the derivative does, that units switch on and off.

    Never changes parameters, buffers, gradients or the global random state. All is measured in the mode that the
    network is in, which should be training mode, as in its steps. Source: arXiv 2010.07344; methods.md A.2, A.3.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: Tensor,
        *,
        beta: float,
        momentum: float,
        nesterov: bool,
        ntk_rows_max: int = 200,
    ) -> None:
        """Prepares; measures nothing yet.

        Args:
            network: From (N, ...) to logits (N, K); the one that is trained, whose present parameters are always used.
            inputs: (M, ...), the probe, on the network's device.
            beta: Inverse temperature, > 0; 1 for losses without one.
            momentum: Of the optimiser, in [0, 1).
            nesterov: Whether it looks ahead.
            ntk_rows_max: The exact kernel is of at most so many logits, of whole samples, but of one sample at least.

        Raises:
            ValueError: beta or momentum are out of range, or there is no input.
        """
        if not beta > 0:
            raise ValueError(f"beta must be > 0, got {beta}. Use 1 for a loss without temperature.")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}. Use 0.9, or 0 for none.")
        if len(inputs) == 0:
            raise ValueError("the probe must have at least one input, got none. Use 16.")
        self._network = network
        self._inputs = inputs
        self._beta = beta
        self._momentum = momentum
        self._nesterov = nesterov
        self._rows_max = ntk_rows_max
        self._steps = 0
        self._time = 0.0
        self._velocity = 0.0
        self._logits: Tensor | None = None
        self._kernel: Tensor | None = None
        self._predicted: dict[str, float] = {}
        self._reported = False
        self._moved = Crossing(math.inf)
        self._turned = Crossing(math.inf)

    def start(self, direction: Mapping[str, Tensor]) -> None:
        """Measures the network before its first step, and predicts the timescales.

        Derivatives are taken in float64 whatever the network's type: see ``kernel_velocity``.

        Args:
            direction: theta', minus the gradient of the mean training loss over the train split, by parameter name.

        Raises:
            KeyError: A trainable parameter is missing in the direction.
        """
        parameters = trainable(self._network)
        self._logits = undisturbed_logits(self._network, self._inputs).detach()
        self._kernel = self._kernel_at(self._network, parameters)
        network = copy.deepcopy(self._network).double()
        parameters = trainable(network)
        inputs = self._inputs.double() if self._inputs.is_floating_point() else self._inputs
        towards = {name: direction[name].detach().double() for name in parameters}
        logits = self._beta * undisturbed_logits(network, inputs).detach()
        velocity = self._beta * logit_jvp(network, inputs, towards, parameters=parameters)
        turning = kernel_velocity(lambda at: self._kernel_at(network, at, inputs), parameters, towards)
        times = {
            "theory/tau_z": float(tau_z(logits, velocity)),
            "theory/tau_nl": float(tau_nl(self._kernel_at(network, parameters, inputs), turning)),
        }
        self._predicted = {"probe/logit_norm_start": float(logit_norm(logits))}
        self._predicted |= {name: time for name, time in times.items() if math.isfinite(time)}
        self._moved = Crossing(_distance(logits) / self._beta)
        self._turned = Crossing(_KERNEL_CHANGE * _distance(self._kernel))

    def observe(self, lr: float) -> None:
        """Counts an optimiser step that was made; at steps 1, 2, 3, 4, 6, 8, 11, 16, ... looks how far things went.

        The learning time of a step is how far a constant gradient of 1 would have moved a parameter, so that momentum,
        its slow beginning and a varying learning rate are accounted for exactly; clipping is not.

        Args:
            lr: Learning rate of the step.

        Raises:
            RuntimeError: The start was not measured.
        """
        if self._logits is None or self._kernel is None:
            raise RuntimeError("the start must be measured before steps are observed. Call start() first.")
        self._steps += 1
        self._velocity = self._momentum * self._velocity + 1
        self._time += lr * (1 + self._momentum * self._velocity if self._nesterov else self._velocity)
        if self._steps != round(2 ** (round(2 * math.log2(self._steps)) / 2)):
            return
        if self._moved.time is None:
            logits = undisturbed_logits(self._network, self._inputs).detach()
            self._moved.see(self._time, _distance(logits, self._logits))
        if self._turned.time is None:
            kernel = self._kernel_at(self._network, trainable(self._network))
            self._turned.see(self._time, _distance(kernel, self._kernel))

    def metrics(self) -> dict[str, float]:
        """What is known by now, by the names in ``results.schema.METRICS``.

        Returns:
            ``probe/logit_norm`` and ``probe/raw_logit_norm`` as they are now; in the first call after :meth:`start`
            also ``probe/logit_norm_start``, ``theory/tau_z`` and ``theory/tau_nl``, of the last two what is finite;
            ``theory/tau_z_measured`` and ``theory/tau_nl_measured`` from when they are known.
        """
        norm = float(logit_norm(undisturbed_logits(self._network, self._inputs).detach().double()))
        found = {"probe/logit_norm": self._beta * norm, "probe/raw_logit_norm": norm}
        if not self._reported:
            found |= self._predicted
            self._reported = bool(self._predicted)
        if self._moved.time is not None:
            found["theory/tau_z_measured"] = self._moved.time
        if self._turned.time is not None:
            found["theory/tau_nl_measured"] = self._turned.time / _KERNEL_CHANGE
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on, on the CPU, in types that ``torch.load(weights_only=True)`` reads."""
        return {
            "steps": self._steps,
            "time": self._time,
            "velocity": self._velocity,
            "logits": None if self._logits is None else self._logits.to("cpu", copy=True),
            "kernel": None if self._kernel is None else self._kernel.to("cpu", copy=True),
            "predicted": dict(self._predicted),
            "reported": self._reported,
            "moved": asdict(self._moved),
            "turned": asdict(self._turned),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Goes back (or forward) to a state of a probe with the same arguments."""
        self._steps, self._time, self._velocity = state["steps"], state["time"], state["velocity"]
        device = self._inputs.device
        self._logits = None if state["logits"] is None else state["logits"].to(device, copy=True)
        self._kernel = None if state["kernel"] is None else state["kernel"].to(device, copy=True)
        self._predicted, self._reported = dict(state["predicted"]), state["reported"]
        self._moved, self._turned = Crossing(**state["moved"]), Crossing(**state["turned"])

    def _kernel_at(self, network: nn.Module, parameters: Parameters, inputs: Tensor | None = None) -> Tensor:
        """The kernel of the first samples, or its products with the random vectors over all."""
        assert self._logits is not None
        inputs = self._inputs if inputs is None else inputs
        classes = self._logits.shape[1]
        samples = min(max(self._rows_max // classes, 1), len(inputs))
        if samples * classes * sum(value.numel() for value in parameters.values()) <= _JACOBIAN_ELEMENTS:
            if not any(isinstance(module, _BatchNorm) for module in network.modules()):
                inputs = inputs[:samples]  # otherwise a sample's logits depend on all others
            return empirical_ntk(network, inputs, parameters=parameters, samples=samples)
        signs = torch.randint(2, (_VECTORS, *self._logits.shape), generator=torch.Generator().manual_seed(0))
        vectors = (2 * signs - 1).to(next(iter(parameters.values()))) / math.sqrt(_VECTORS)
        return kernel_times(network, inputs, vectors, parameters=parameters)


@dataclass
class Crossing:
    """When a distance that starts at 0 first reaches a threshold; between two looks it is taken to grow linearly.

    Attributes:
        threshold: >= 0; 0 is reached at time 0.
        last_time: Of the last look.
        last_distance: Then.
        time: Of the crossing; None as long as it was not seen.
    """

    threshold: float
    last_time: float = 0.0
    last_distance: float = 0.0
    time: float | None = None

    def __post_init__(self) -> None:
        if self.threshold == 0:
            self.time = 0.0

    def see(self, time: float, distance: float) -> None:
        """A look: the distance at a time not before the last one; what is not finite is passed over."""
        if self.time is not None or not math.isfinite(distance):
            return
        if distance >= self.threshold:
            share = (self.threshold - self.last_distance) / (distance - self.last_distance)
            self.time = self.last_time + share * (time - self.last_time)
        self.last_time, self.last_distance = time, distance


def _distance(now: Tensor, then: Tensor | None = None) -> float:
    return float(torch.linalg.vector_norm((now if then is None else now - then).double()))
