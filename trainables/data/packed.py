"""Packed data sets: arrays on disk, made once, checked, and shared by all processes through the page cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainables.content import locked, sha256_of, stamp_of

Split = Literal["train", "val", "test"]
FORMAT = 1
"""Version of the files; part of the folder's name, so that two versions of thermotune do not fight over it."""

_PARTS = ("inputs", "targets", "index")
_STATISTICS_CHUNK = 4096  # samples; bounds the memory that the statistics of a large set take
_sound: dict[Path, tuple[tuple[str, int, int], ...]] = {}
"""Packs that this process has verified, with size and time of their files: hashing a large pack twice is waste."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One split in memory.

    Attributes:
        inputs: (N, channels, height, width) uint8.
        targets: (N,) int64 class indices.
        index: (N,) int64, where each sample stood in the source.
    """

    inputs: NDArray[np.uint8]
    targets: NDArray[np.int64]
    index: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a data set comes from."""

    name: str
    num_classes: int
    split_seed: int
    read: Callable[[], Mapping[Split, Samples]]


@dataclass(frozen=True, kw_only=True)
class PackedDataset:
    """A verified pack on disk.

    Attributes:
        folder: Where it lies.
        name: Of the data set.
        digest: sha256 of everything in it; equal digests are equal data.
        num_classes: C.
        input_shape: Of one sample.
        mean: Of each channel over the train split, in raw units.
        std: Standard deviation likewise.
        sizes: Number of samples of each split.
        split_seed: Seed with which the splits were drawn.
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

    def load(self, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Opens one split; nothing of the other splits is read.

        Returns:
            inputs (N, *input_shape) uint8 and targets (N,) int64 as memory maps. Their pages are shared with all
            processes; a write would stay private and never reach the file.
        """
        inputs = np.load(self.folder / f"{split}_inputs.npy", mmap_mode="c", allow_pickle=False)
        targets = np.load(self.folder / f"{split}_targets.npy", mmap_mode="c", allow_pickle=False)
        return inputs, targets


class _Unusable(Exception):
    """The folder is not a sound pack; says why."""


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


def open_or_pack(root: Path, source: Source, progress: Callable[[str], None]) -> PackedDataset:
    """Opens the pack of a source under ``root``; packs it first where there is none or it is damaged (with a warning).

    Args:
        root: Folder of all packs; made if missing.
        source: The data set.
        progress: Called with a sentence before packing.

    Returns:
        The verified pack.
    """
    folder = root / f"{source.name}-v{FORMAT}"
    try:
        return _open(folder)
    except (FileNotFoundError, _Unusable):
        root.mkdir(parents=True, exist_ok=True)
    with locked(root / f".{folder.name}.lock"):
        try:
            return _open(folder)  # another process was faster
        except FileNotFoundError:
            pass
        except _Unusable as reason:
            warnings.warn(f"{reason}; the data set is packed again.", RuntimeWarning, stacklevel=3)
        for leftover in root.glob(f".{folder.name}.*.tmp"):  # of a killed process: we hold the lock
            shutil.rmtree(leftover)
        progress(f"Packing data set {source.name} into {folder}.")
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=root))
        fresh.chmod(0o755)  # mkdtemp makes it private, but a cache may serve several users
        _write(fresh, source)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
        return _open(folder)


def _write(folder: Path, source: Source) -> None:
    splits = source.read()
    train = splits["train"]
    mean, std = _channel_statistics(train.inputs)
    files = {}
    for split, samples in splits.items():
        for part in _PARTS:
            file = folder / f"{split}_{part}.npy"
            np.save(file, getattr(samples, part), allow_pickle=False)
            files[file.name] = sha256_of(file)
    meta = {
        "format": FORMAT,
        "name": source.name,
        "num_classes": source.num_classes,
        "input_shape": list(train.inputs.shape[1:]),
        "mean": mean,
        "std": std,
        "sizes": {split: len(samples.targets) for split, samples in splits.items()},
        "split_seed": source.split_seed,
        "files": files,
    }
    (folder / "meta.json").write_text(json.dumps(meta | {"digest": _digest(meta)}, indent=1))


def _open(folder: Path) -> PackedDataset:
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text())
        digest = meta.pop("digest")
        if digest != _digest(meta):
            raise _Unusable(f"{folder / 'meta.json'} does not match its digest")
        stamp = tuple(stamp_of(folder / name) for name in ("meta.json", *meta["files"]))
        if _sound.get(folder) != stamp:
            for name, expected in meta["files"].items():
                if sha256_of(folder / name) != expected:
                    raise _Unusable(f"{folder / name} does not match the sha256 in meta.json")
            _sound[folder] = stamp
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Unusable(f"the pack at {folder} is incomplete ({error!r})") from error
    return PackedDataset(
        folder=folder,
        name=meta["name"],
        digest=digest,
        num_classes=meta["num_classes"],
        input_shape=tuple(meta["input_shape"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        sizes=meta["sizes"],
        split_seed=meta["split_seed"],
    )


def _channel_statistics(inputs: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Exact mean and standard deviation of each channel, from counts of the 256 values."""
    values = np.arange(256)
    mean, std = [], []
    for channel in range(inputs.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(inputs), _STATISTICS_CHUNK):
            counts += np.bincount(inputs[start : start + _STATISTICS_CHUNK, channel].reshape(-1), minlength=256)
        middle = float((counts * values).sum() / counts.sum())
        mean.append(middle)
        std.append(float(np.sqrt((counts * (values - middle) ** 2).sum() / counts.sum())))
    return mean, std


def _digest(meta: Mapping[str, Any]) -> str:  # Any: what JSON gives
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
