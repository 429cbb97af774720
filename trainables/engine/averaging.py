"""Running means of parameters (exponential moving average), which often predict better than the last parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainables.engine.state import LaneState


class RunningMean:
    """The mean of the parameters and running statistics of K lanes: mean <- d * mean + (1 - d) * parameters.

    d is min(decay, (1 + t) / (10 + t)) after t steps, so that a short run is not held back by its beginning.
    """

    def __init__(self, state: LaneState, decay: float) -> None:
        """Starts at the state's present numbers.

        Args:
            state: What is averaged.
            decay: In (0, 1).
        """
        self._state = state
        self._decay = decay
        self._means = {name: value.clone() for name, value in self._averaged().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the state after a step."""
        steps = self._state.steps
        weight = 1 - min(self._decay, (1 + steps) / (10 + steps))
        for name, value in self._averaged().items():
            self._means[name].lerp_(value, weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The state holds the means for the time being."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def settle(self) -> None:
        """The state takes over the means; for the end of a run."""
        for name, value in self._averaged().items():
            value.copy_(self._means[name])

    def state_dict(self) -> dict[str, Tensor]:
        """A copy on the CPU, for a checkpoint."""
        return {name: mean.to("cpu", copy=True) for name, mean in self._means.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Goes on from a checkpoint."""
        for name, mean in self._means.items():
            mean.copy_(state[name])

    def _averaged(self) -> dict[str, Tensor]:
        floats = {name: stack for name, stack in self._state.buffers.items() if stack.is_floating_point()}
        return {"params": self._state.params, **floats}

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._averaged().items():
            kept = value.clone()
            value.copy_(self._means[name])
            self._means[name].copy_(kept)
