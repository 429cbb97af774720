"""One state format for K lanes: flat parameters and moments of the gradients, stacked buffers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.engine.ranks import Ranks

_ALIGNMENT_BYTES = 64
"""Every tensor starts on a cache line, as tensors of their own do: matrix kernels may round differently otherwise."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where one parameter lies in a flat row."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a network's parameters lie in a flat row of ``size`` elements; gaps between them stay zero."""

    slots: tuple[Slot, ...]
    size: int
    dtype: torch.dtype

    @classmethod
    def of(cls, module: nn.Module) -> Layout:
        """The layout of a network.

        Args:
            module: Any network whose parameters share one float type.

        Raises:
            ValueError: The parameters have several types.
        """
        parameters = dict(module.named_parameters())
        dtypes = {parameter.dtype for parameter in parameters.values()}
        if len(dtypes) != 1:
            raise ValueError(f"all parameters must have one dtype, got {sorted(map(str, dtypes))}. Convert the module.")
        dtype = dtypes.pop()
        step = _ALIGNMENT_BYTES // dtype.itemsize
        slots = []
        offset = 0
        for name, parameter in parameters.items():
            slots.append(Slot(name=name, shape=tuple(parameter.shape), offset=offset))
            offset += math.ceil(parameter.numel() / step) * step
        return cls(slots=tuple(slots), size=offset, dtype=dtype)

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """The parameters inside a flat row (P,), by name and in their shapes; they share its memory."""
        return {slot.name: row[slot.offset : slot.offset + slot.size].view(slot.shape) for slot in self.slots}

    def last_module(self) -> slice:
        """Where the parameters of the module that holds the last parameter lie in a row."""
        owner = self.slots[-1].name.rpartition(".")[0]
        return slice(next(slot.offset for slot in self.slots if slot.name.rpartition(".")[0] == owner), self.size)

    def decay_mask(self) -> Tensor:
        """(P,) with 1 where weight decay applies: not on biases and norms, which have fewer than two dimensions."""
        mask = torch.zeros(self.size, dtype=self.dtype)
        for view in self.views(mask).values():
            if view.ndim >= 2:
                view.fill_(1)
        return mask


class LaneState:
    """Parameters, buffers and what the optimiser remembers of K networks of one architecture.

    Attributes:
        layout: How a row is laid out.
        params: (K, P) parameters.
        momentum: (K, P) velocity of SGD, or AdamW's mean of the gradients; zero at the start.
        square: (K, P) AdamW's mean of the squared gradients; None if the optimiser needs none.
        steps: Optimiser steps done.
        buffers: By name, (K, ...) buffers such as running statistics.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device) -> None:
        """Copies the networks' parameters and buffers.

        Args:
            modules: K >= 1 networks of one architecture; not changed.
            device: Where the state lives.
        """
        self.layout = Layout.of(modules[0])
        shape = (len(modules), self.layout.size)
        self.params = torch.zeros(shape, dtype=self.layout.dtype, device=device)
        self.momentum = torch.zeros_like(self.params)
        self.square: Tensor | None = None
        self.steps = 0
        self.buffers = {
            name: _aligned_stack(len(modules), buffer, device) for name, buffer in modules[0].named_buffers()
        }
        for lane, module in enumerate(modules):
            self.load_lane(lane, module.state_dict())

    def with_square(self) -> Tensor:
        """:attr:`square`, made with zeros if there was none."""
        if self.square is None:
            self.square = torch.zeros_like(self.params)
        return self.square

    @contextmanager
    def kept_unless(self, good: Tensor, lane: int) -> Iterator[None]:
        """Takes back what happens to a lane's parameters and moments meanwhile unless it is good, without waiting.

        Args:
            good: () bool.
            lane: 0-based.
        """
        rows = [self.params[lane], self.momentum[lane], *([] if self.square is None else [self.square[lane]])]
        before = [row.clone() for row in rows]
        yield
        for row, old in zip(rows, before, strict=True):
            row.copy_(torch.where(good, row, old))

    def views(self, lane: int) -> dict[str, Tensor]:
        """Parameters and buffers of one lane by name; they share the state's memory."""
        return self.layout.views(self.params[lane]) | {name: stack[lane] for name, stack in self.buffers.items()}

    def lane(self, lane: int) -> dict[str, Tensor]:
        """A copy of one lane as a plain ``state_dict`` on the CPU, which a network of its own loads strictly."""
        return {name: view.to("cpu", copy=True) for name, view in self.views(lane).items()}

    def load_lane(self, lane: int, state_dict: Mapping[str, Tensor]) -> None:
        """Overwrites the parameters and buffers of one lane; what the optimiser remembers stays.

        Args:
            lane: 0-based.
            state_dict: As of a plain network of this architecture; entries it does not know as parameter or buffer
                (tied copies) are left out.

        Raises:
            KeyError: An entry is missing.
        """
        for name, view in self.views(lane).items():
            view.copy_(state_dict[name].detach())

    @torch.no_grad()
    def start_as_first(self, ranks: Ranks) -> None:
        """Takes over parameters and buffers of rank 0: other machines may have computed theirs a little differently."""
        for values in (self.params, *self.buffers.values()):
            whole = values.contiguous()  # rows of buffers have gaps between them, which NCCL does not like
            ranks.copy_first(whole)
            values.copy_(whole)

    @torch.no_grad()
    def average_buffers(self, ranks: Ranks) -> None:
        """Replaces running statistics, which every rank took from its own shares, by the means over the ranks."""
        floats = [stack for stack in self.buffers.values() if stack.is_floating_point()]
        if not floats:
            return
        # In float64, in which the mean of equal float32 numbers is that number: a frozen network's weights are buffers.
        flat = ranks.add_up(torch.cat([stack.double().flatten() for stack in floats])).div_(ranks.count)
        for stack, mean in zip(floats, torch.split(flat, [stack.numel() for stack in floats]), strict=True):
            stack.copy_(mean.view(stack.shape))

    def state_dict(self) -> dict[str, object]:
        """A copy of everything, on the CPU, for a checkpoint; ``square`` is in it only if the optimiser needs it."""
        square = {} if self.square is None else {"square": self.square.to("cpu", copy=True)}
        return {
            "params": self.params.to("cpu", copy=True),
            "momentum": self.momentum.to("cpu", copy=True),
            **square,
            "steps": self.steps,
            "buffers": {name: stack.to("cpu", copy=True) for name, stack in self.buffers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Overwrites everything with what :meth:`state_dict` gave.

        Raises:
            ValueError: The state is of another network, another optimiser or another number of lanes; nothing is
                changed then.
        """
        if (state.get("square") is None) != (self.square is None):
            have, need = ("no second moments", "AdamW") if self.square is not None else ("second moments", "SGD")
            raise ValueError(f"the state must fit the optimiser, got {have} for {need}. Train afresh.")
        pairs = [(self.params, state["params"]), (self.momentum, state["momentum"])]
        pairs += [] if self.square is None else [(self.square, state["square"])]
        pairs += [(stack, state["buffers"].get(name)) for name, stack in self.buffers.items()]
        for mine, theirs in pairs:
            if theirs is None or theirs.shape != mine.shape:
                found = "nothing" if theirs is None else tuple(theirs.shape)
                raise ValueError(
                    f"the state must fit the network and the lanes, got {found} for {tuple(mine.shape)}. Train afresh."
                )
        for mine, theirs in pairs:
            mine.copy_(theirs)
        self.steps = int(state.get("steps", 0))


def _aligned_stack(lanes: int, buffer: Tensor, device: torch.device) -> Tensor:
    """Zeros (K, ...) of a buffer's shape and type, every row of which starts on a cache line: it may be a weight."""
    step = _ALIGNMENT_BYTES // buffer.element_size()
    room = max(math.ceil(buffer.numel() / step) * step, step)
    rows = torch.zeros((lanes, room), dtype=buffer.dtype, device=device)
    return rows[:, : buffer.numel()].view(lanes, *buffer.shape)
