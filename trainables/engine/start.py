"""The start of learning, measured on the fixed probe: timescales as predicted, and as they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainables.diagnostics.kernel import eta_tilde
from trainables.diagnostics.theory import LearningProbe
from trainables.engine.batches import Batch, TrainingData, probe_positions
from trainables.engine.loop import Objective
from trainables.engine.network import beta_of
from trainables.recipe import Recipe, Sgd

DIRECTION_SAMPLES = 8192
"""The first direction of learning is the mean gradient over at most so many training samples."""

ObjectiveOfBatch = Callable[[float, Batch], Callable[[Tensor], Objective]]


class StartOfLearning:
    """One :class:`LearningProbe` for the first network of each seed.

    The timescales are those of gradient descent (methods.md A.2); momentum is accounted for, and for AdamW, whose steps
    do not follow the gradient's size, only the logit norms are given.
    """

    def __init__(self, recipe: Recipe, networks: Sequence[nn.Module], data: TrainingData) -> None:
        self._recipe = recipe
        self._networks = list(networks)
        self._data = data
        self._descends = isinstance(recipe.optimizer, Sgd)
        self._beta = beta_of(recipe)
        samples, _ = data.probe(recipe.diagnostics.probe_samples)
        momentum, nesterov = 0.0, False
        if isinstance(recipe.optimizer, Sgd):
            momentum, nesterov = recipe.optimizer.momentum, recipe.optimizer.nesterov
        self._probes = [
            LearningProbe(network, samples, beta=self._beta, momentum=momentum, nesterov=nesterov)
            for network in self._networks
        ]

    def predict(self, objective: ObjectiveOfBatch) -> list[dict[str, float]]:
        """Measures every network before its first step.

        Args:
            objective: Of epochs done and a batch: what a step minimises, as a function of its logits.

        Returns:
            ``theory/eta_tilde`` for each seed; the probes give the rest.
        """
        for network, probe in zip(self._networks, self._probes, strict=True):
            probe.start(self._direction(network, objective))
        if not self._descends:
            return [{} for _ in self._probes]
        return [{"theory/eta_tilde": eta_tilde(self._recipe.optimizer.lr, self._beta)} for _ in self._probes]

    def observe(self, lr: float) -> None:
        """A step was made with this learning rate."""
        if self._descends:
            for probe in self._probes:
                probe.observe(lr)

    def metrics(self) -> list[dict[str, float]]:
        """What is known by now, for each seed."""
        found = [probe.metrics() for probe in self._probes]
        if self._descends:
            return found
        return [{name: value for name, value in lane.items() if not name.startswith("theory/")} for lane in found]

    def state_dict(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [probe.state_dict() for probe in self._probes]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Goes on from a checkpoint."""
        for probe, saved in zip(self._probes, state, strict=True):
            probe.load_state_dict(saved)

    def _direction(self, network: nn.Module, objective: ObjectiveOfBatch) -> dict[str, Tensor]:
        """Minus the gradient of the mean training loss, by parameter; leaves the network as it was."""
        parameters = dict(network.named_parameters())
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        total = [torch.zeros_like(parameter) for parameter in parameters.values()]
        members = self._data.members  # in the order of the pack, which may go by classes
        chosen = members[probe_positions(len(members), DIRECTION_SAMPLES)]
        size = len(chosen)
        for positions in torch.split(torch.from_numpy(chosen).to(self._data.device), self._recipe.batch_size):
            samples, labels = self._data.batch("train", positions)
            batch = Batch(positions=positions, samples=samples, labels=labels, targets=labels, augmented=False)
            found = objective(0.0, batch)(network(samples))
            loss = found if isinstance(found, Tensor) else found[0] + found[1]
            for summed, gradient in zip(total, torch.autograd.grad(loss, list(parameters.values())), strict=True):
                summed.add_(gradient, alpha=len(positions) / size)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
        return {name: -gradient for name, gradient in zip(parameters, total, strict=True)}
