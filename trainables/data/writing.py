"""Writing the splits of a data set as arrays, with the statistics of the training images."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.images import Header, headers, open_rgb, pixels
from trainables.data.listing import require_distinct_folders
from trainables.data.packed import Samples, Split, Storage
from trainables.data.progress import Progress
from trainables.data.source import ImageFiles, Source, require_space

LARGEST_PACKED_SIDE = 96
"""Pixels: larger images are streamed."""
LARGEST_PACKED_BYTES = 4 * 2**30
STREAMED_SHAPE = (3, 224, 224)
IMAGENET_MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
IMAGENET_STD = tuple(255 * value for value in (0.229, 0.224, 0.225))
_CHUNK = 4096  # samples in memory whose statistics are taken together


def write_samples(folder: Path, splits: Mapping[Split, Samples]) -> dict[str, Any]:
    """Writes samples that are in memory; returns the facts for meta.json."""
    require_space(folder, sum(samples.inputs.nbytes for samples in splits.values()), "packing")
    moments: dict[str, Any] = {"mean": [], "std": []}
    for split, samples in splits.items():
        _save(folder / f"{split}_inputs.npy", samples.inputs)
        if split == "train" and samples.inputs.dtype == np.uint8:
            counts = _Counts(samples.inputs.shape[1])
            for start in range(0, len(samples.inputs), _CHUNK):
                counts.add(samples.inputs[start : start + _CHUNK])
            moments = counts.moments()
        _save(folder / f"{split}_targets.npy", samples.targets)
        _save(folder / f"{split}_index.npy", samples.index)
        if samples.lengths is not None:
            _save(folder / f"{split}_lengths.npy", samples.lengths)
    return {"input_shape": list(splits["train"].inputs.shape[1:]), **moments}


def write_files(
    folder: Path, place: Path, splits: Mapping[Split, ImageFiles], source: Source, progress: Progress
) -> tuple[Storage, dict[str, Any]]:
    """Writes the pixels of image files, or the list of the files; returns which, and the facts for meta.json."""
    names = [name for files in splits.values() for name in files.names]
    require_distinct_folders(place, names)
    for split, files in splits.items():
        _save(folder / f"{split}_targets.npy", files.targets)
        _save(folder / f"{split}_index.npy", files.index)
    if source.storage != "packed":
        progress(f"Looking at {len(names):,} images.")
        seen = headers(place, names, progress)
        if source.storage == "streamed" or not _are_small(seen):
            sizes = iter(header.bytes for header in seen)
            for split, files in splits.items():
                _save(folder / f"{split}_files.npy", np.array([os.fsencode(name) for name in files.names]))
                _save(folder / f"{split}_bytes.npy", np.array([next(sizes) for _ in files.names]))
            return "streamed", {"input_shape": STREAMED_SHAPE, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    width, height = open_rgb(place / names[0]).size
    shape, counts, done = (3, height, width), _Counts(3), 0
    require_space(folder, math.prod(shape) * len(names), "packing")
    progress(f"Decoding {len(names):,} images of {width} x {height} pixels.")

    def decoded(split: Split) -> Iterator[NDArray[np.uint8]]:
        nonlocal done
        for images in pixels(place, splits[split].names, shape):
            if split == "train":
                counts.add(images)
            yield images
            done += len(images)
            progress.advance(done, len(names))

    for split, files in splits.items():
        _write_array(folder / f"{split}_inputs.npy", (len(files.names), *shape), np.dtype(np.uint8), decoded(split))
    return "packed", {"input_shape": shape, **counts.moments()}


def _are_small(images: Sequence[Header]) -> bool:
    """Whether images may be packed: small ones of one size, not too many of them."""
    sides = {(image.height, image.width) for image in images}
    if len(sides) > 1:
        return False
    ((height, width),) = sides
    size = 3 * height * width * len(images)
    return max(height, width) <= LARGEST_PACKED_SIDE and size <= LARGEST_PACKED_BYTES


def _save(file: Path, array: NDArray[Any]) -> None:
    _write_array(file, array.shape, array.dtype, [array])


def _write_array(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: Iterable[NDArray[Any]]) -> None:
    """Writes an array whose rows come in chunks, as ``np.save`` does, which says too little of a full disk."""
    with file.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for chunk in chunks:
            stream.write(np.ascontiguousarray(chunk).data)


class _Counts:
    """How often each channel has each of the 256 values: gives exact moments, however the images come."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, images: NDArray[np.integer[Any]]) -> None:
        for channel, counts in enumerate(self._counts):
            counts += np.bincount(images[:, channel].reshape(-1), minlength=256)

    def moments(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each channel; 1 as the deviation of a channel that is the same everywhere.

        Dividing by 0 would make every sample nan; such a channel, once its mean is taken off, is 0 and stays 0.
        """
        values, total = np.arange(256), self._counts.sum(axis=1)
        mean = (self._counts * values).sum(axis=1) / total
        squares = (self._counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
        return {"mean": mean.tolist(), "std": np.where(squares > 0, np.sqrt(squares), 1.0).tolist()}
