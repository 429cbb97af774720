"""Where data sets come from: what a reader finds, and what thermotune knows of a data set before it reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.packed import Kind, Samples, Split, Storage
from trainables.data.progress import Progress

SPLIT_SEED = 0
"""Of all draws of splits: a data set is split in the same way everywhere."""
VALIDATION_SHARE = 0.1
"""Of the training data, where the source has no validation data of its own."""
SHARES: Mapping[Split, float] = {"train": 1 - VALIDATION_SHARE, "val": VALIDATION_SHARE}
"""How such training data are split."""


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """One split as image files.

    Attributes:
        names: N file names, relative to the folder that was read, with ``/``.
        targets: (N,) int64 class indices.
        index: (N,) int64, where each file stood in the source's order.
    """

    names: tuple[str, ...]
    targets: NDArray[np.int64]
    index: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a reader found.

    Attributes:
        splits: All three splits, in memory or as files; all of the same type.
        class_names: C names in the order of the class indices.
        words: Of texts, the word of each token id.
    """

    splits: Mapping[Split, Samples] | Mapping[Split, ImageFiles]
    class_names: tuple[str, ...]
    words: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as thermotune knows it before it is read.

    Attributes:
        name: In recipes and on the command line.
        about: What it is, in half a sentence.
        kind: Images or text.
        storage: How it is kept; None: small images of one size are packed, others streamed.
        classes: C; None: as many as the source has.
        official: Samples of the source's (train, test) data; a source with others is remarked upon.
        layout: What ``--source`` must hold; "" where the data ship with a library.
        obtain: What to get, and where.
        read: Gives the contents of a folder; data that ship with a library ignore it.
        fetch: Downloads into a folder and gives the archive; None where nothing can be downloaded.
    """

    name: str
    about: str
    kind: Kind = "images"
    storage: Storage | None
    classes: int | None
    official: tuple[int, int] | None = None
    layout: str
    obtain: str
    read: Callable[[Path, Progress], Contents]
    fetch: Callable[[Path, Progress], Path] | None = None


def stratified_split(
    targets: NDArray[np.int64], shares: Mapping[Split, float], seed: int
) -> dict[Split, NDArray[np.int64]]:
    """Draws disjoint splits that hold every class in the same shares.

    Args:
        targets: (N,) class indices.
        shares: Of each split, summing to 1; the first split also gets what rounding leaves.
        seed: Of the draw, >= 0.

    Returns:
        Sorted positions in ``targets`` of each split, (n,) int64.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    parts: dict[Split, list[NDArray[np.int64]]] = {split: [] for split in shares}
    first, *others = shares
    for label in np.unique(targets):
        members = generator.permutation(np.flatnonzero(targets == label))
        start = 0
        for split in others:
            stop = start + round(shares[split] * len(members))
            parts[split].append(members[start:stop])
            start = stop
        parts[first].append(members[start:])
    return {split: np.sort(np.concatenate(members)) for split, members in parts.items()}


def carve_samples(train: Samples, test: Samples, class_names: Sequence[str]) -> Contents:
    """Contents in memory whose validation split is drawn from the training data; ``index`` says which."""
    splits: dict[Split, Samples] = {
        split: Samples(inputs=train.inputs[index], targets=train.targets[index], index=train.index[index])
        for split, index in stratified_split(train.targets, SHARES, SPLIT_SEED).items()
    }
    return Contents(splits={**splits, "test": test}, class_names=tuple(class_names))


def carve_files(
    train: ImageFiles, test: ImageFiles | None, class_names: Sequence[str], shares: Mapping[Split, float]
) -> Contents:
    """Contents as files, with the splits that ``shares`` names drawn from the training files; ``index`` says which."""
    splits: dict[Split, ImageFiles] = {
        split: replace(
            train,
            names=tuple(train.names[place] for place in index),
            targets=train.targets[index],
            index=train.index[index],
        )
        for split, index in stratified_split(train.targets, shares, SPLIT_SEED).items()
    }
    return Contents(splits=splits if test is None else {**splits, "test": test}, class_names=tuple(class_names))


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Checks that a disk has room before it is written on.

    Args:
        folder: On the disk.
        needed: Bytes.
        purpose: What needs them, for the message.

    Raises:
        OSError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{purpose} needs {needed / 1e9:.2f} GB, and only {free / 1e9:.2f} GB are free at {folder}. Free some "
            "space, or choose another disk with THERMOTUNE_DATA=FOLDER"
        )
