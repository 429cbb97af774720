"""The loop executor: K lanes one after another, each as a plain network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.engine.optimizer import update_of
from trainables.engine.precision import LossScale, compute_logits
from trainables.engine.ranks import Ranks, Share
from trainables.engine.state import LaneState
from trainables.recipe import AdamW, Compute, Sgd

_GOLDEN = 0x9E3779B97F4A7C15
"""An odd number of 64 bits: multiplied by it, neighbouring seeds lie far apart."""
_RANK_STRIDE = 0xD1342543DE82EF95
"""Another one, for the ranks."""


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
        losses: For each lane () before the step; what a closed gate shuts out is not in it. Of a share of a batch, what
            it adds to the mean over the batch.
        logits: For each lane (B, C), of the share.
        gates: For each lane () 1 where the gate was open and 0 where it was closed; None where there is none.
    """

    losses: list[Tensor]
    logits: list[Tensor]
    gates: list[Tensor | None]


class LoopExecutor:
    """Trains every lane with operations that do not depend on the other lanes: bit-equal to K solo runs."""

    def __init__(
        self,
        modules: Sequence[nn.Module],
        state: LaneState,
        optimizer: Sgd | AdamW,
        *,
        compute: Compute | None = None,
        seeds: Sequence[int] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Binds the networks to the state: their parameters, gradients and buffers become views of its rows.

        Args:
            modules: K networks of the state's layout.
            state: Where the numbers live; it gets room for what the optimiser remembers.
            optimizer: Everything but the learning rate, which comes with each step.
            compute: Precision, memory layout, compilation; default as of a recipe.
            seeds: For each lane, with which random layers such as dropout draw; the global generators are then set
                before every call. None leaves these as they are. Ranks draw independently of each other.
            ranks: Who trains together, each a share of every batch; None for this process alone.
        """
        self._modules = list(modules)
        self._state = state
        self._compute = compute or Compute()
        self._seeds = seeds
        self._ranks = ranks
        self._offset = 0 if ranks is None else ranks.rank * _RANK_STRIDE
        self._device = state.params.device
        self._last_module = state.layout.last_module()
        self._update = update_of(optimizer, state)
        self._scale = LossScale(len(self._modules), self._device) if self._compute.precision == "fp16" else None
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
        self._calls: list[Callable[[Tensor], Tensor]] = list(self._modules)
        if self._compute.compile:
            from trainables.engine.compiling import compiled  # loads the compiler

            self._calls = compiled(self._modules)

    def train_step(
        self,
        inputs: Sequence[Tensor],
        objectives: Sequence[Callable[[Tensor], Objective]],
        lr: float,
        share: Share | None = None,
    ) -> Step:
        """One optimiser step of every lane.

        Args:
            inputs: For each lane, (B, ...) float.
            objectives: For each lane, what it minimises as a function of its logits (B, C), a mean over them.
            lr: Learning rate.
            share: What the inputs are of the batch; None for all of it.

        Raises:
            RankLost: Another process that has a share does not answer.
        """
        if self._ranks is None or share is None:
            return self._step(inputs, objectives, lr)
        with self._ranks.in_step(share):
            return self._step(inputs, objectives, lr)

    def _step(self, inputs: Sequence[Tensor], objectives: Sequence[Callable[[Tensor], Objective]], lr: float) -> Step:
        self._state.steps += 1
        done = Step(losses=[], logits=[], gates=[])
        for lane in range(len(self._modules)):
            self._seed_random_layers(lane)
            logits = self._logits(lane, inputs[lane])
            objective = objectives[lane](logits)
            grads = self._grads[lane].zero_()
            factor = None if self._scale is None else self._scale.of(lane)
            if isinstance(objective, Tensor):
                self._backward(objective, grads, factor)
                loss, is_open = objective, None
            else:
                loss, is_open = self._backward_through_gate(grads, *objective, factor)
            if self._scale is None:
                self._update(lane, grads, lr, self._state.steps)
            else:
                finite = self._scale.unscaled(lane, grads)
                with self._state.kept_unless(finite, lane):
                    self._update(lane, grads, lr, self._state.steps - self._scale.skipped(lane))
            done.losses.append(self._of_batch(loss.detach()))
            done.logits.append(logits.detach())
            done.gates.append(is_open)
        return done

    def predict(self, inputs: Tensor) -> list[Tensor]:
        """Logits (B, C) of every lane for the same inputs (B, ...), in evaluation mode and without gradients."""
        outputs = []
        with torch.no_grad():
            for lane, module in enumerate(self._modules):
                module.eval()
                outputs.append(self._logits(lane, inputs))
                module.train()
        return outputs

    def state_dict(self) -> dict[str, Tensor] | None:
        """What is to be kept in a checkpoint besides the state; None if there is nothing."""
        return None if self._scale is None else self._scale.state_dict()

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:  # Any: what a checkpoint holds
        """Goes on from a checkpoint."""
        if self._scale is not None and state is not None:
            self._scale.load_state_dict(state)

    def _logits(self, lane: int, inputs: Tensor) -> Tensor:
        """(B, C) in the type of the parameters."""
        return compute_logits(self._calls[lane], inputs, self._compute).to(self._state.params.dtype)

    def _seed_random_layers(self, lane: int) -> None:
        if self._seeds is None:
            return
        seed = (self._seeds[lane] * _GOLDEN + self._state.steps + self._offset) % 2**63
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            torch.cuda.default_generators[self._device.index or 0].manual_seed(seed)

    def _backward_through_gate(
        self, grads: Tensor, first: Tensor, second: Tensor, gate: Gate, factor: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Fills grads (P,), which are zero, with those of the gated sum, times a factor.

        Returns:
            The gated sum, and 1 or 0 for open or closed.
        """
        self._backward(first, grads, factor, retain_graph=True)
        of_first = grads.clone()
        grads.zero_()
        self._backward(second, grads, factor)
        part = self._last_module if gate.last_layer_only else slice(None)
        is_open = _agree(of_first[part], grads[part], gate.cosine).to(grads.dtype)
        share = gate.share * is_open
        grads.mul_(share).add_(of_first.mul_(1 - share))
        return (1 - share) * first + share * second, is_open

    def _backward(self, loss: Tensor, grads: Tensor, factor: Tensor | None, retain_graph: bool = False) -> None:
        """Fills grads (P,), which are zero, with those of a loss over the batch, times a factor."""
        scaled = loss if factor is None else loss * factor
        scaled.backward(retain_graph=retain_graph)  # type: ignore[no-untyped-call]
        if self._ranks is not None and self._ranks.share is not None:
            self._ranks.mean_over_batch(grads)

    def _of_batch(self, loss: Tensor) -> Tensor:
        """What a mean over this process's share adds to that over the batch."""
        if self._ranks is None or self._ranks.share is None:
            return loss
        return loss * self._ranks.share.weight


def _agree(one: Tensor, other: Tensor, cosine: float) -> Tensor:
    """Whether cos(one, other) >= cosine, as () bool; without a division, so that zero agrees with everything."""
    norms = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    agree: Tensor = torch.dot(one, other) >= cosine * norms
    return agree
