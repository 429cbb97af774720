"""The loop executor: K lanes one after another, each as a plain network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainables.engine.optimizer import update_of
from trainables.engine.state import LaneState
from trainables.recipe import AdamW, Sgd


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """When the second part of an objective counts: in steps in which its gradient agrees with that of the first.

    The objective is ``(1 - share) * first + share * second`` where the gate is open, and ``first`` alone where it is
    closed. This is the rule of SCKD (methods.md C.5) with the weights of the other methods here, which add up to 1.

    Attributes:
        share: Weight of the second part, in [0, 1].
        cosine: The gradients agree if their cosine is at least this, in [-1, 1]. A gradient of zero agrees with all.
        last_layer_only: Take the cosine over the parameters of the last module that has any, not over all.
    """

    cosine: float
    share: float
    last_layer_only: bool = False


Objective = Tensor | tuple[Tensor, Tensor, Gate]
"""What a step minimises: a loss (), or two of which the second counts where the gate is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What is known of one step of every lane; all of it detached and on the device.

    Attributes:
        losses: For each lane () before the step; what a closed gate shuts out is not in it.
        logits: For each lane (B, C).
        gates: For each lane () 1 where the gate was open and 0 where it was closed; None where there is none.
    """

    losses: list[Tensor]
    logits: list[Tensor]
    gates: list[Tensor | None]


class LoopExecutor:
    """Trains every lane with operations that do not depend on the other lanes: bit-equal to K solo runs."""

    def __init__(self, modules: Sequence[nn.Module], state: LaneState, optimizer: Sgd | AdamW) -> None:
        """Binds the networks to the state: their parameters, gradients and buffers become views of its rows.

        Args:
            modules: K networks of the state's layout.
            state: Where the numbers live; it gets room for what the optimiser remembers.
            optimizer: Everything but the learning rate, which comes with each step.
        """
        self._modules = list(modules)
        self._state = state
        self._last_module = state.layout.last_module()
        self._update = update_of(optimizer, state)
        self._grads = [torch.zeros_like(row) for row in state.params]
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
        self, inputs: Sequence[Tensor], objectives: Sequence[Callable[[Tensor], Objective]], lr: float
    ) -> Step:
        """One optimiser step of every lane.

        Args:
            inputs: For each lane, (B, ...) float.
            objectives: For each lane, what it minimises as a function of its logits (B, C).
            lr: Learning rate.
        """
        self._state.steps += 1
        done = Step(losses=[], logits=[], gates=[])
        for lane, module in enumerate(self._modules):
            logits = module(inputs[lane])
            objective = objectives[lane](logits)
            grads = self._grads[lane].zero_()
            if isinstance(objective, Tensor):
                objective.backward()  # type: ignore[no-untyped-call]
                loss, is_open = objective, None
            else:
                loss, is_open = self._backward_through_gate(grads, *objective)
            self._update(lane, grads, lr)
            done.losses.append(loss.detach())
            done.logits.append(logits.detach())
            done.gates.append(is_open)
        return done

    def predict(self, inputs: Tensor) -> list[Tensor]:
        """Logits (B, C) of every lane for the same inputs (B, ...), in evaluation mode and without gradients."""
        outputs = []
        with torch.no_grad():
            for module in self._modules:
                module.eval()
                outputs.append(module(inputs))
                module.train()
        return outputs

    def _backward_through_gate(self, grads: Tensor, first: Tensor, second: Tensor, gate: Gate) -> tuple[Tensor, Tensor]:
        """Fills grads (P,), which are zero, with those of the gated sum.

        Returns:
            The gated sum, and 1 or 0 for open or closed.
        """
        first.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        of_first = grads.clone()
        grads.zero_()
        second.backward()  # type: ignore[no-untyped-call]
        part = self._last_module if gate.last_layer_only else slice(None)
        is_open = _agree(of_first[part], grads[part], gate.cosine).to(grads.dtype)
        share = gate.share * is_open
        grads.mul_(share).add_(of_first.mul_(1 - share))
        return (1 - share) * first + share * second, is_open


def _agree(one: Tensor, other: Tensor, cosine: float) -> Tensor:
    """Whether cos(one, other) >= cosine, as () bool; without a division, so that zero agrees with everything."""
    norms = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    agree: Tensor = torch.dot(one, other) >= cosine * norms
    return agree
