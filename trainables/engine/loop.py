"""The loop executor: K lanes one after another, each as a plain network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trainables.engine.optimizer import sgd_step
from trainables.engine.state import LaneState
from trainables.recipe import Sgd


class LoopExecutor:
    """Trains every lane with operations that do not depend on the other lanes: bit-equal to K solo runs."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        state: LaneState,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Sgd,
    ) -> None:
        """Binds the networks to the state: their parameters, gradients and buffers become views of its rows.

        Args:
            modules: K networks of the state's layout.
            state: Where the numbers live.
            loss: Function of logits (N, C) and target; its value is a mean over N.
            optimizer: Momentum and weight decay; the learning rate comes with each step.
        """
        self._modules = list(modules)
        self._loss = loss
        self._momentum = optimizer.momentum
        self._nesterov = optimizer.nesterov
        self._decay = (optimizer.weight_decay * state.layout.decay_mask()).to(state.params.device)
        # The update also goes row by row: over (K, P) at once, the vector kernels would cut the rows at other places.
        self._params = list(state.params)
        self._velocity = list(state.momentum)
        self._grads = [torch.zeros_like(row) for row in self._params]
        for lane, module in enumerate(self._modules):
            module.to(state.params.device)
            values, grads = state.views(lane), state.layout.views(self._grads[lane])
            for name, parameter in module.named_parameters():
                parameter.data = values[name]
                parameter.grad = grads[name]
            for name, _ in list(module.named_buffers()):
                owner, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(owner), leaf, values[name])

    def train_step(
        self, inputs: Sequence[Tensor], targets: Sequence[Tensor], lr: float
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One optimiser step of every lane.

        Args:
            inputs: For each lane, (B, ...) float.
            targets: For each lane, (B,) int64.
            lr: Learning rate.

        Returns:
            For each lane the loss () before the step, and the logits (B, C); both detached and on the device.
        """
        losses, outputs = [], []
        for lane, module in enumerate(self._modules):
            logits = module(inputs[lane])
            loss = self._loss(logits, targets[lane])
            self._grads[lane].zero_()
            loss.backward()  # type: ignore[no-untyped-call]
            sgd_step(
                self._params[lane],
                self._velocity[lane],
                self._grads[lane],
                lr=lr,
                momentum=self._momentum,
                nesterov=self._nesterov,
                decay=self._decay,
            )
            losses.append(loss.detach())
            outputs.append(logits.detach())
        return losses, outputs

    def predict(self, inputs: Tensor) -> list[Tensor]:
        """Logits (B, C) of every lane for the same inputs (B, ...), in evaluation mode and without gradients."""
        outputs = []
        with torch.no_grad():
            for module in self._modules:
                module.eval()
                outputs.append(module(inputs))
                module.train()
        return outputs
