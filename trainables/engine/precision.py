"""Half precision: where it applies, and the scale that keeps small fp16 gradients from vanishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from trainables.recipe import Compute

_FIRST_SCALE = 2.0**16
_GROWTH_STEPS = 2000
"""Steps without an overflow after which the scale is doubled; an overflow halves it (as in torch.amp.GradScaler)."""


def _in_precision(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """In which networks run: convolutions and matrix products in half precision, sums and norms in fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def compute_logits(network: Callable[[Tensor], Tensor], inputs: Tensor, compute: Compute) -> Tensor:
    """Logits (B, C) of a network for inputs (B, ...), in the type in which it computes.

    Args:
        network: With parameters in fp32.
        inputs: Images (B, C, H, W) are laid out with the channels innermost first if that is asked for.
        compute: Precision and memory layout.
    """
    if inputs.ndim == 4 and compute.channels_last:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    with _in_precision(compute.precision, inputs.device):
        return network(inputs)


class LossScale:
    """The factors on the losses of K lanes; they live on the device, and nothing here waits for it.

    A step whose gradients overflow is skipped: everything it would change stays, and it does not count.
    """

    def __init__(self, lanes: int, device: torch.device) -> None:
        self._scale = torch.full((lanes,), _FIRST_SCALE, device=device)
        self._good_steps = torch.zeros(lanes, device=device)
        self._skipped = torch.zeros(lanes, dtype=torch.int64, device=device)

    def of(self, lane: int) -> Tensor:
        """() factor of a lane."""
        return self._scale[lane].clone()

    def skipped(self, lane: int) -> Tensor:
        """() int64, how many steps of a lane were skipped."""
        return self._skipped[lane]

    def unscaled(self, lane: int, grads: Tensor) -> Tensor:
        """Divides gradients (P,) by the factor in place, and learns from whether they overflowed.

        Returns:
            () bool, whether all are finite.
        """
        grads.div_(self._scale[lane])
        finite = grads.isfinite().all()
        steps = torch.where(finite, self._good_steps[lane] + 1, 0.0)
        grown = steps >= _GROWTH_STEPS
        self._scale[lane] *= torch.where(finite, torch.where(grown, 2.0, 1.0), 0.5)
        self._good_steps[lane] = torch.where(grown, 0.0, steps)
        self._skipped[lane] += ~finite
        return finite

    def state_dict(self) -> dict[str, Tensor]:
        """A copy on the CPU, for a checkpoint."""
        parts = {"scale": self._scale, "good_steps": self._good_steps, "skipped": self._skipped}
        return {name: part.to("cpu", copy=True) for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # Any: what a checkpoint holds
        """Goes on from a checkpoint."""
        self._scale.copy_(state["scale"])
        self._good_steps.copy_(state["good_steps"])
        self._skipped.copy_(state["skipped"])
