"""A data set too large for memory: images are decoded by worker processes while the device trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transform

from trainables.data import PackedDataset, Split
from trainables.data.images import open_rgb
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
from trainables.engine.ranks import Ranks, turns_of
from trainables.recipe import Augment, Recipe

_PART = 64
"""Samples that a worker decodes at a time: a large batch comes from all of them at once."""
_AHEAD = 4
"""Parts that every worker holds ready."""
_RESIZE = 256 / 224
"""Unchanged images are resized to this much more than their side, and their middle is taken."""
_RATIO = (3 / 4, 4 / 3)
"""Sides of a random crop: lowest and highest quotient."""


class _Wanted(NamedTuple):
    """One image; with a seed and an epoch it is to be changed at random, by (seed, epoch, position)."""

    split: Split
    position: int
    chance: tuple[int, int] | None


class _Images(NamedTuple):
    pixels: Tensor  # (B, 3, S, S) uint8
    positions: Tensor  # (B,) int64


class StreamedData:
    """Gives batches of a data set of image files. What a sample looks like depends on seed, epoch and position only.

    An image is read and decoded once each time it is seen, cropped and mirrored in a worker process, and goes to the
    device as uint8; everything else happens there.

    Attributes:
        packed: The data set.
        device: Where batches live.
        input_shape: (3, S, S).
        evaluation_batch: Samples that are measured at once.
        members: (N,) int64 positions in the training split that are trained on.
    """

    def __init__(
        self,
        packed: PackedDataset,
        recipe: Recipe,
        device: torch.device,
        *,
        test: bool,
        workers: int,
        ranks: Ranks | None,
    ) -> None:
        """Starts nothing yet: the workers come with the first batch.

        Args:
            packed: The data set.
            recipe: Says what is done to its images.
            device: Where batches are to live.
            test: Whether the test split may be read.
            workers: Processes that decode.
            ranks: Who trains together, each decoding its share; None for this process alone.
        """
        self.packed = packed
        self._ranks = ranks
        self.device = device
        self._test = test
        size = recipe.image_size or packed.input_shape[-1]
        self.input_shape: tuple[int, ...] = (3, size, size)
        self.evaluation_batch = evaluation_batch(packed, self.input_shape)
        self.members = members_of(packed.targets("train"), recipe.train_samples, packed.split_seed)
        self._recipe = recipe
        self._mean = torch.tensor(packed.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(packed.std, device=device).view(-1, 1, 1)
        self._files = _Files(packed, recipe.augment, size)
        self._order = _Order()
        self._pass = 0
        self._loader = DataLoader(
            self._files,
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_collated,
            pin_memory=device.type == "cuda",
            persistent_workers=True,
            prefetch_factor=_AHEAD,
        )

    def targets(self, split: Split) -> Tensor:
        """(N,) int64 of a split."""
        if split == "test" and not self._test:
            raise ClosedTestSplit
        return _targets(self.packed, split).to(self.device)

    def epoch(self, seeds: Sequence[int], epoch: int) -> Iterator[list[Batch]]:
        """One epoch of training: for every step, a batch for each lane, or this process's share of it."""
        labels_of_all = self.targets("train")
        on_device = self._recipe.augment.model_copy(update={"pad": 0, "flip": False})  # done by the workers
        rows, turns = turns_of(
            len(self.members), self._recipe.batch_size, self._ranks, with_neighbours=on_device.mixup > 0
        )
        orders = [order_of(self.members, seed, epoch)[rows] for seed in seeds]
        draws = [draws_of(on_device, self._recipe, self, seed, epoch, rows) for seed in seeds]
        arriving = self._decoded(
            lambda: (
                [_Wanted("train", int(position), (seed, epoch)) for position in order[turn.rows]]
                for turn in turns
                for seed, order in zip(seeds, orders, strict=True)
            )
        )
        for step, turn in enumerate(turns):
            lanes = []
            for drawn in draws:
                pixels, positions = next(arriving)
                labels = labels_of_all.index_select(0, positions)
                samples, here = self._normalised(pixels), drawn.of_step(turn.rows, step)
                classes, share = self.packed.num_classes, turn.share
                lanes.append(batch_of(self._recipe, positions, samples, labels, here, classes=classes, share=share))
            yield lanes

    def batch(self, split: Split, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Unchanged samples (B, 3, S, S) float32 and labels (B,) at positions (B,) of a split, decoded here."""
        labels = self.targets(split)
        found = [self._files[_Wanted(split, position, None)] for position in positions.tolist()]
        pixels, positions = _collated(found)
        return self._normalised(pixels.to(self.device)), labels.index_select(0, positions.to(self.device))

    def chunks(self, split: Split, part: slice = EVERYTHING) -> Iterator[tuple[Tensor, Tensor]]:
        """A split or a part of it in its order: unchanged samples (B, 3, S, S) and labels (B,)."""
        size, labels = self.evaluation_batch, self.targets(split)
        start, stop, _ = part.indices(len(labels))
        arriving = self._decoded(
            lambda: (
                [_Wanted(split, position, None) for position in range(first, min(first + size, stop))]
                for first in range(start, stop, size)
            )
        )
        for pixels, positions in arriving:
            yield self._normalised(pixels), labels.index_select(0, positions)

    def probe(self, samples: int) -> tuple[Tensor, Tensor]:
        """The same few training samples in every trial: unchanged (M, 3, S, S) and labels (M,)."""
        return self.batch("train", torch.from_numpy(probe_positions(self.packed.sizes["train"], samples)))

    def _decoded(self, wanted: Callable[[], Iterator[list[_Wanted]]]) -> Iterator[_Images]:
        """The batches of one pass.

        Raises:
            RuntimeError: Another pass began before this one ended: there is one set of workers.
        """
        self._order.wanted = lambda: (
            batch[first : first + _PART] for batch in wanted() for first in range(0, len(batch), _PART)
        )
        self._pass += 1
        this = self._pass
        arriving = iter(self._loader)
        for batch in wanted():
            if self._pass != this:
                raise RuntimeError("a pass over streamed data must end before the next one begins, but another began")
            parts = [next(arriving) for _ in range(0, len(batch), _PART)]
            pixels, positions = (
                torch.cat(kind).to(self.device, non_blocking=True) for kind in zip(*parts, strict=True)
            )
            yield _Images(pixels, positions)

    def _normalised(self, pixels: Tensor) -> Tensor:
        return pixels.float().sub_(self._mean).div_(self._std)


class _Order(Sampler[list[_Wanted]]):
    """What the workers decode next; set before every pass.

    What is set must not hold the data set's owner: a circle would keep the worker processes when the owner is let go.
    """

    wanted: Callable[[], Iterator[list[_Wanted]]]

    def __iter__(self) -> Iterator[list[_Wanted]]:
        return self.wanted()


class _Files(Dataset[tuple[Tensor, int]]):
    """Image files as tensors (3, S, S) uint8."""

    def __init__(self, packed: PackedDataset, augment: Augment, size: int) -> None:
        self._packed = packed
        self._opened: dict[Split, Sequence[Path]] = {}
        self._middle = v2.Compose([v2.Resize(round(size * _RESIZE)), v2.CenterCrop(size)])
        steps: list[torch.nn.Module] = [self._middle]
        if augment.crop_scale is not None:
            steps = [v2.RandomResizedCrop(size, scale=augment.crop_scale, ratio=_RATIO)]
        if augment.pad:
            steps.append(v2.RandomCrop(size, padding=augment.pad))
        if augment.flip:
            steps.append(v2.RandomHorizontalFlip())
        if augment.color_jitter:
            steps.append(v2.ColorJitter(*[augment.color_jitter] * 3))
        self._changed = v2.Compose(steps)

    def __getitem__(self, wanted: _Wanted) -> tuple[Tensor, int]:
        """One image and its position.

        Raises:
            ValueError: The file cannot be decoded; it is named.
        """
        image = open_rgb(self._of_split(wanted.split)[wanted.position])
        if wanted.chance is None:
            return transform.pil_to_tensor(self._middle(image)), wanted.position
        words = np.random.SeedSequence([*wanted.chance, wanted.position]).generate_state(1, np.uint64)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(words[0] >> np.uint64(1)))
            return transform.pil_to_tensor(self._changed(image)), wanted.position

    def _of_split(self, split: Split) -> Sequence[Path]:
        if split not in self._opened:
            self._opened[split] = self._packed.files(split)
        return self._opened[split]


def _collated(samples: Sequence[tuple[Tensor, int]]) -> _Images:
    return _Images(torch.stack([image for image, _ in samples]), torch.tensor([position for _, position in samples]))


@lru_cache(maxsize=3)
def _targets(packed: PackedDataset, split: Split) -> Tensor:
    return torch.from_numpy(np.array(packed.targets(split)))
