"""A packed data set on the device: its splits, normalised batches, and the fixed probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data import PackedDataset, Split
from trainables.data.augment import Draws, crop_and_mirror
from trainables.engine.batches import (
    EVERYTHING,
    Batch,
    ClosedTestSplit,
    batch_of,
    draws_of,
    evaluation_batch,
    members_of,
    order_of,
    probe_positions,
)
from trainables.engine.ranks import Ranks, Share, turns_of
from trainables.recipe import Recipe

_TEXT_STEP = 16
"""Batches of text end at the next multiple of so many tokens after their longest one."""


class ResidentData:
    """Gives batches of a packed data set; on the CPU its arrays are the pages that all processes share.

    Attributes:
        packed: The data set.
        device: Where batches live.
        input_shape: Of one sample.
        evaluation_batch: Samples that are measured at once.
    """

    def __init__(
        self, packed: PackedDataset, recipe: Recipe, device: torch.device, *, test: bool, ranks: Ranks | None
    ) -> None:
        """Opens nothing yet.

        Args:
            packed: The data set.
            recipe: Says how large batches are, and what is done to the samples.
            device: Where batches are to live.
            test: Whether the test split may be read.
            ranks: Who trains together; None for this process alone.
        """
        self.packed = packed
        self._test = test
        self._ranks = ranks
        self._recipe = recipe
        self.device = device
        self.input_shape = packed.input_shape
        self.evaluation_batch = evaluation_batch(packed, packed.input_shape)
        channels = (-1, *[1] * (len(packed.input_shape) - 1))
        if packed.kind == "images":
            self._mean = torch.tensor(packed.mean, device=device).view(channels)
            self._std = torch.tensor(packed.std, device=device).view(channels)

    @property
    def members(self) -> NDArray[np.int64]:
        """(N,) positions in the training split that are trained on."""
        return _members(self.packed, self._recipe.train_samples)

    def targets(self, split: Split) -> Tensor:
        """(N,) int64 of a split."""
        return self._split(split)[1]

    def epoch(self, seeds: Sequence[int], epoch: int) -> Iterator[list[Batch]]:
        """One epoch of training: for every step, a batch for each lane, or this process's share of it."""
        augment = self._recipe.augment
        rows, turns = turns_of(
            len(self.members), self._recipe.batch_size, self._ranks, with_neighbours=augment.mixup > 0
        )
        orders = [order_of(self.members, seed, epoch)[rows] for seed in seeds]
        on_device = [torch.from_numpy(order).to(self.device) for order in orders]
        draws = [draws_of(augment, self._recipe, self, seed, epoch, rows) for seed in seeds]
        for step, turn in enumerate(turns):
            yield [
                self._training_batch(
                    orders[lane][turn.rows], on_device[lane][turn.rows], drawn.of_step(turn.rows, step), turn.share
                )
                for lane, drawn in enumerate(draws)
            ]

    def batch(self, split: Split, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised samples (B, C, H, W) float32 or tokens (B, L) int32, and labels, at positions (B,) of a split."""
        inputs, targets = self._split(split)
        samples = inputs.index_select(0, positions)
        if self.packed.kind == "text":
            samples = self._trimmed(split, samples, positions.cpu().numpy())
        return self._normalised(samples), targets.index_select(0, positions)

    def chunks(self, split: Split, part: slice = EVERYTHING) -> Iterator[tuple[Tensor, Tensor]]:
        """A split or a part of it in its order: normalised samples (B, ...) and labels (B,)."""
        inputs, targets = self._split(split)
        first, end, _ = part.indices(len(targets))
        for start in range(first, end, self.evaluation_batch):
            stop = min(start + self.evaluation_batch, end)
            samples = inputs[start:stop]
            if self.packed.kind == "text":
                samples = self._trimmed(split, samples, np.arange(start, stop))
            yield self._normalised(samples), targets[start:stop]

    def probe(self, samples: int) -> tuple[Tensor, Tensor]:
        """The same few training samples in every trial: normalised (M, ...) and labels (M,)."""
        chosen = probe_positions(self.packed.sizes["train"], samples)
        return self.batch("train", torch.from_numpy(chosen).to(self.device))

    def _split(self, split: Split) -> tuple[Tensor, Tensor]:
        if split == "test" and not self._test:
            raise ClosedTestSplit
        return _resident(self.packed, split, self.device)

    def _training_batch(
        self, on_host: NDArray[np.int64], positions: Tensor, draws: Draws, share: Share | None
    ) -> Batch:
        inputs, labels_of_all = self._split("train")
        samples, labels = inputs.index_select(0, positions), labels_of_all.index_select(0, positions)
        if self.packed.kind == "text":
            samples = self._trimmed("train", samples, on_host)
        samples = self._normalised(crop_and_mirror(samples, draws, self._recipe.augment.pad))
        return batch_of(self._recipe, positions, samples, labels, draws, classes=self.packed.num_classes, share=share)

    def _normalised(self, samples: Tensor) -> Tensor:
        return samples if self.packed.kind == "text" else samples.float().sub_(self._mean).div_(self._std)

    def _trimmed(self, split: Split, samples: Tensor, on_host: NDArray[np.int64]) -> Tensor:
        """Tokens (B, L) without the columns in which all are padding: recurrent networks take time for these too."""
        longest = int(_lengths(self.packed, split)[on_host].max())
        return samples[:, : -(-longest // _TEXT_STEP) * _TEXT_STEP]


@lru_cache(maxsize=3)
def _resident(data: PackedDataset, split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """One split on the device, kept for the next trials of this process; on the CPU these are the shared pages."""
    inputs, targets = data.load(split)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)


@lru_cache(maxsize=3)
def _lengths(data: PackedDataset, split: Split) -> NDArray[np.int32]:
    return np.array(data.lengths(split))


@lru_cache(maxsize=3)
def _members(data: PackedDataset, count: int | None) -> NDArray[np.int64]:
    if count is None:
        return np.arange(data.sizes["train"])
    return members_of(data.targets("train"), count, data.split_seed)
