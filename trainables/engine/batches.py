"""What training needs from its data, whether these lie on the device or come as a stream."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data import PackedDataset, Split
from trainables.data.augment import Draws, cut_out, draw, mix
from trainables.engine.ranks import Share
from trainables.recipe import Augment, Recipe

MOST_AT_ONCE = 1024
"""Samples of a batch in evaluation, at most."""
_PIXELS_AT_ONCE = {"packed": 2**20, "streamed": 2**22}
_TOKENS_AT_ONCE = 2**17
"""Pixels or tokens of such a batch, at most: a network's intermediate results take many times their memory. Networks
for large images, which are streamed, shrink them in their first layers."""


EVERYTHING = slice(None)
"""All samples of a split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Some training samples as a network takes them.

    Attributes:
        positions: (B,) int64 in the training split.
        samples: (B, C, H, W) float32 normalised, or (B, L) int32 token ids.
        labels: (B,) int64, the true classes.
        targets: What is learned: the labels, or (B, C) float32 where samples are mixed.
        augmented: Whether the samples differ from those that ``TrainingData.chunks`` gives.
        share: Which part of a batch these are that several processes compute together; None for all of it.
    """

    positions: Tensor
    samples: Tensor
    labels: Tensor
    targets: Tensor
    augmented: bool
    share: Share | None = None


class TrainingData(Protocol):
    """A data set with its splits, as networks take it.

    Every method that is asked for the test split raises :class:`ClosedTestSplit` unless the run may see it.

    Attributes:
        packed: The data set on disk.
        device: Where batches live.
        input_shape: Of one sample.
        evaluation_batch: Samples that are measured at once.
    """

    packed: PackedDataset
    device: torch.device
    input_shape: tuple[int, ...]
    evaluation_batch: int

    @property
    def members(self) -> NDArray[np.int64]:
        """(N,) positions in the training split that are trained on."""

    def targets(self, split: Split) -> Tensor:
        """Labels (N,) int64 of a split, on the device."""

    def epoch(self, seeds: Sequence[int], epoch: int) -> Iterator[list[Batch]]:
        """One epoch of training: for every step, a batch for each lane, or this process's share of it.

        Args:
            seeds: One for each lane; it and the epoch fix order and changes of the samples.
            epoch: 1-based.
        """

    def batch(self, split: Split, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Unchanged samples (B, ...) and labels (B,) int64 at positions (B,) of a split."""

    def chunks(self, split: Split, part: slice = EVERYTHING) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its order: unchanged samples (B, ...) and labels (B,), B at most evaluation_batch.

        Args:
            split: Which.
            part: Which of its samples, by their positions; step 1.
        """

    def probe(self, samples: int) -> tuple[Tensor, Tensor]:
        """The same few training samples in every trial: unchanged (M, ...) and labels (M,)."""


class ClosedTestSplit(RuntimeError):
    """Somebody who may still choose by what he sees asked for the test split."""

    def __init__(self) -> None:
        super().__init__(
            "the test split must stay closed while anything is chosen: only a run that was made with test=True opens "
            "it. Use the split val"
        )


def evaluation_batch(packed: PackedDataset, input_shape: tuple[int, ...]) -> int:
    """How many samples of a data set are measured at once, so that memory suffices for any network."""
    if packed.kind == "text":
        return min(MOST_AT_ONCE, max(1, _TOKENS_AT_ONCE // input_shape[0]))
    return min(MOST_AT_ONCE, max(1, _PIXELS_AT_ONCE[packed.storage] // math.prod(input_shape[1:])))


def steps_of(recipe: Recipe, data: PackedDataset) -> int:
    """Steps of an epoch; the last one may have fewer samples."""
    return math.ceil((recipe.train_samples or data.sizes["train"]) / recipe.batch_size)


def draws_of(
    augment: Augment, recipe: Recipe, data: TrainingData, seed: int, epoch: int, rows: slice | NDArray[np.int64]
) -> Draws:
    """The random changes of one epoch of a lane.

    Args:
        augment: Those of the recipe's that are made on the device.
        recipe: Says how large batches are.
        data: Where the samples come from.
        seed: Of the lane.
        epoch: 1-based.
        rows: Which samples of the epoch's order this process needs.
    """
    return draw(
        augment,
        image=data.input_shape[1:],
        samples=len(data.members),
        steps=steps_of(recipe, data.packed),
        seed=seed,
        epoch=epoch,
        device=data.device,
        rows=rows,
    )


def batch_of(
    recipe: Recipe,
    positions: Tensor,
    samples: Tensor,
    labels: Tensor,
    draws: Draws,
    *,
    classes: int,
    share: Share | None,
) -> Batch:
    """A batch of cropped and normalised samples, with what is left to be done to them.

    Args:
        recipe: Says what.
        positions: (B,) int64 in the training split.
        samples: (B, ...).
        labels: (B,) int64.
        draws: Of these samples.
        classes: C.
        share: Which part of the batch these are; a sample more than it has is the one before, for the mixing.
    """
    samples, targets = mix(cut_out(samples, draws, recipe.augment.cutout), labels, draws, classes)
    if share is not None and len(positions) > share.samples:
        positions, samples, labels, targets = positions[1:], samples[1:], labels[1:], targets[1:]
    augmented = not recipe.augment.is_off
    return Batch(positions=positions, samples=samples, labels=labels, targets=targets, augmented=augmented, share=share)


def order_of(members: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """The training samples in the order in which a lane sees them.

    Args:
        members: (N,) positions in the training split that are trained on.
        seed: Of the lane.
        epoch: 1-based.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return members[generator.permutation(len(members))]


def members_of(targets: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    """The positions that are trained on: all, or so many that every class keeps its share.

    Fewer samples are always a part of more, and equal for all trials.

    Args:
        targets: (N,) labels of the training split.
        count: Of samples; None for all.
        seed: Of the draw.
    """
    if count is None:
        return np.arange(len(targets))
    generator = np.random.Generator(np.random.PCG64(seed))
    height = np.empty(len(targets))
    for label in np.unique(targets):
        of_class = generator.permutation(np.flatnonzero(targets == label))
        height[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    return np.sort(np.argsort(height, kind="stable")[:count])


def probe_positions(size: int, samples: int) -> NDArray[np.int64]:
    """Which of ``size`` training samples are the probe."""
    return np.random.Generator(np.random.PCG64(0)).permutation(size)[:samples]
