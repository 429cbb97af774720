"""Packed data sets: arrays on disk, made once, checked, and shared by all processes through the page cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from trainables.content import sha256_of
from trainables.data.progress import Progress

Split = Literal["train", "val", "test"]
Kind = Literal["images", "text"]
Storage = Literal["packed", "streamed"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
FORMAT = 2
"""Version of the files; part of the folder's name, so that two versions of thermotune do not fight over it."""

_PLACES = ("digest", "source", "written")
"""Parts of meta.json that say where a pack came from and when, not what it holds: not part of its digest."""


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
        std: Standard deviation likewise.
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


class UnusablePack(Exception):
    """The folder is not a sound pack; says why."""


_sound: dict[Path, object] = {}
"""Packs that this process has verified, with the stamps of their files: hashing a large pack twice is waste."""


def folder_of(root: Path, name: str) -> Path:
    """Where the pack of a data set lies under the folder of all packs."""
    return root / f"{name}-v{FORMAT}"


def open_pack(folder: Path, *, thorough: bool = False) -> PackedDataset:
    """Opens a pack if it is sound.

    Its files are hashed where their size or time differ from those at packing (a copy without times, a damage), so
    that a worker need not read gigabytes to learn that nothing has changed.

    Args:
        folder: Of the pack.
        thorough: Hash the files in any case.

    Raises:
        FileNotFoundError: There is no such folder.
        UnusablePack: It is incomplete, damaged or foreign.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["digest"] != digest_of(meta):
            raise UnusablePack(f"{folder / 'meta.json'} does not match its digest")
        stamps = {name: stamp_of(folder / name) for name in meta["files"]}
        if thorough or stamps not in (meta["written"], _sound.get(folder)):
            for name, expected in meta["files"].items():
                if sha256_of(folder / name) != expected:
                    raise UnusablePack(f"{folder / name} does not match the sha256 in meta.json")
        _sound[folder] = stamps
        return PackedDataset(
            folder=folder,
            name=meta["name"],
            digest=meta["digest"],
            num_classes=len(meta["class_names"]),
            input_shape=tuple(meta["input_shape"]),
            mean=tuple(meta["mean"]),
            std=tuple(meta["std"]),
            sizes=meta["sizes"],
            split_seed=meta["split_seed"],
            kind=meta["kind"],
            storage=meta["storage"],
            class_names=tuple(meta["class_names"]),
            vocabulary=meta["vocabulary"],
            source=meta["source"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusablePack(f"the pack at {folder} is incomplete ({error!r})") from error


def check_pack(folder: Path, progress: Progress) -> PackedDataset:
    """Opens a pack after reading every byte of it; of a streamed one, every image must be there in its size.

    Raises:
        FileNotFoundError: There is no such folder, or an image is gone.
        UnusablePack: It is incomplete, damaged or foreign.
        ValueError: An image has another size than when the data set was prepared.
    """
    pack = open_pack(folder, thorough=True)
    if pack.storage == "streamed":
        for split in SPLITS:
            files, sizes = pack.files(split), np.load(folder / f"{split}_bytes.npy").tolist()
            for file, size in zip(progress.over(files, len(files)), sizes, strict=True):
                if file.stat().st_size != size:
                    raise ValueError(
                        f"{file} must have {size} bytes, as when {pack.name} was prepared, got {file.stat().st_size}. "
                        f"Bring the file back, or: thermotune data prepare {pack.name} --replace"
                    )
    return pack


def stamp_of(file: Path) -> list[int]:
    """Size and time of a file, as JSON gives them back."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def digest_of(meta: Mapping[str, Any]) -> str:  # Any: what JSON gives
    """The digest of a pack from its meta.json: of what it holds, not of where it came from."""
    content = {key: value for key, value in meta.items() if key not in _PLACES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
