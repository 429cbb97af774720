"""One data set on the device: its splits, normalised batches, and the fixed probe."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from trainables.data import PackedDataset, Split

EVALUATION_BATCH = 1024


class ResidentData:
    """Gives batches of a packed data set as a network takes them.

    Attributes:
        packed: The data set.
        device: Where batches live.
    """

    def __init__(self, packed: PackedDataset, device: torch.device) -> None:
        self.packed = packed
        self.device = device
        channels = (-1, *[1] * (len(packed.input_shape) - 1))
        self._mean = torch.tensor(packed.mean, device=device).view(channels)
        self._std = torch.tensor(packed.std, device=device).view(channels)

    def targets(self, split: Split) -> Tensor:
        """(N,) int64 of a split."""
        return _resident(self.packed, split, self.device)[1]

    def batch(self, split: Split, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised samples (B, ...) float32 and labels (B,) int64 at positions (B,) of a split."""
        inputs, targets = _resident(self.packed, split, self.device)
        return self._normalised(inputs.index_select(0, positions)), targets.index_select(0, positions)

    def chunks(self, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in its order: normalised samples (B, ...) and labels (B,), B at most EVALUATION_BATCH."""
        inputs, targets = _resident(self.packed, split, self.device)
        for start in range(0, len(targets), EVALUATION_BATCH):
            stop = start + EVALUATION_BATCH
            yield self._normalised(inputs[start:stop]), targets[start:stop]

    def probe(self, samples: int) -> tuple[Tensor, Tensor]:
        """The same few training samples in every trial: normalised (M, ...) and labels (M,)."""
        size = self.packed.sizes["train"]
        chosen = np.random.Generator(np.random.PCG64(0)).permutation(size)[:samples]
        return self.batch("train", torch.from_numpy(chosen).to(self.device))

    def _normalised(self, samples: Tensor) -> Tensor:
        return samples.float().sub_(self._mean).div_(self._std)


@lru_cache(maxsize=3)
def _resident(data: PackedDataset, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """One split on the device, kept for the next trials of this process; on the CPU these are the shared pages."""
    inputs, targets = data.load(split)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
