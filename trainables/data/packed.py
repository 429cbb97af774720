"""Packed data sets: arrays on disk, made once, and shared by all processes through the page cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
Kind = Literal["images", "text"]
Storage = Literal["packed", "streamed"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One split in memory.

    Attributes:
        inputs: Images (N, channels, height, width) uint8, or texts (N, L) int32 token ids padded with 0 at the end.
        targets: (N,) int64 class indices.
        index: (N,) int64, where each sample stood in the source.
        lengths: Of texts, (N,) int32: how many of the L tokens are real.
    """

    inputs: NDArray[np.uint8] | NDArray[np.int32]
    targets: NDArray[np.int64]
    index: NDArray[np.int64]
    lengths: NDArray[np.int32] | None = None


class FileList(Sequence[Path]):
    """The image files of a split, absolute. Names stay in a memory map: a million of them cost a worker nothing."""

    def __init__(self, root: Path, names: NDArray[np.bytes_]) -> None:
        self.root = root
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> FileList: ...
    def __getitem__(self, position: int | slice) -> Path | FileList:
        if isinstance(position, slice):
            return FileList(self.root, self._names[position])
        name: bytes = self._names[position]
        return self.root / os.fsdecode(name)

    def __iter__(self) -> Iterator[Path]:
        return (self.root / os.fsdecode(name) for name in self._names)


@dataclass(frozen=True, kw_only=True)
class PackedDataset:
    """A verified pack on disk.

    Attributes:
        folder: Where it lies.
        name: Of the data set.
        digest: sha256 of everything in it; equal digests are equal data. Of a streamed set this covers the names and
            sizes of the image files, their labels and splits, but not what is inside the files.
        num_classes: C.
        input_shape: Of one sample: (channels, height, width), or (L,) of texts.
        mean: Of each channel over the train split, in raw units (0 to 255); () of texts.
        std: Standard deviation likewise; 1 of a channel that is the same everywhere, which has nothing to scale.
        sizes: Number of samples of each split.
        split_seed: Seed with which the splits were drawn.
        kind: Images or text.
        storage: ``packed``: all samples are arrays here. ``streamed``: only a list of the image files is.
        class_names: C names in the order of the class indices.
        vocabulary: Number of token ids of texts; None of images.
        source: Where the data came from: an absolute path, or a sentence.
    """

    folder: Path
    name: str
    digest: str
    num_classes: int
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: Mapping[Split, int] = field(hash=False)
    split_seed: int
    kind: Kind
    storage: Storage
    class_names: tuple[str, ...] = field(hash=False)
    vocabulary: int | None
    source: str

    def load(self, split: Split) -> tuple[NDArray[np.integer[Any]], NDArray[np.int64]]:
        """Opens one split of a packed set; nothing of the other splits is read.

        Returns:
            inputs (N, *input_shape), uint8 of images and int32 of texts, and targets (N,) int64, as memory maps. Their
            pages are shared with all processes; a write would stay private and never reach the file.

        Raises:
            ValueError: The set is streamed.
        """
        if self.storage == "streamed":
            raise ValueError(f"only a packed data set can be loaded, and {self.name} is streamed. Use files({split!r})")
        return self._array(split, "inputs"), self.targets(split)

    def targets(self, split: Split) -> NDArray[np.int64]:
        """(N,) class indices of a split, as a memory map."""
        return self._array(split, "targets")

    def lengths(self, split: Split) -> NDArray[np.int32]:
        """(N,) numbers of real tokens of a split of texts, as a memory map.

        Raises:
            ValueError: The set holds images.
        """
        if self.kind != "text":
            raise ValueError(f"only texts have lengths, and data set {self.name} holds {self.kind}")
        return self._array(split, "lengths")

    def files(self, split: Split) -> FileList:
        """The image files of a split of a streamed set, in the order of its targets.

        Raises:
            ValueError: The set is packed.
            FileNotFoundError: The folder of the images is gone.
        """
        if self.storage == "packed":
            raise ValueError(f"only a streamed data set has files, and {self.name} is packed. Use load({split!r})")
        self.require_files()
        return FileList(Path(self.source), self._array(split, "files"))

    def require_files(self) -> None:
        """Checks that the folder of a streamed set's images is there.

        Raises:
            FileNotFoundError: It is not.
        """
        if self.storage == "streamed" and not Path(self.source).is_dir():
            raise FileNotFoundError(
                f"the images of data set {self.name} must lie in {self.source}, where they were when it was prepared, "
                f"but this folder is gone. Bring it back, or: thermotune data prepare {self.name} --source FOLDER "
                "--replace"
            )

    def _array(self, split: Split, part: str) -> NDArray[Any]:  # Any: the part decides
        array: NDArray[Any] = np.load(self.folder / f"{split}_{part}.npy", mmap_mode="c", allow_pickle=False)
        return array
