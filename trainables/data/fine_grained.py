"""Birds and dogs, hard to tell apart: CUB-200-2011 (Wah et al. 2011) and Stanford Dogs (Khosla et al. 2011)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data.image_folder import locate
from trainables.data.listing import class_folders
from trainables.data.progress import Progress
from trainables.data.source import SHARES, Contents, ImageFiles, carve_files

_CUB_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt")


def read_cub200(folder: Path, progress: Progress) -> Contents:
    """The splits of the official folder ``CUB_200_2011`` with its lists.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: A list is damaged, or a label is outside the classes.
    """
    prefix = locate(folder, "images", *_CUB_LISTS)
    progress("Reading the lists of images.")
    classes = list(class_folders(folder, f"{prefix}images"))
    names, labels, in_train = (_column(folder / prefix / file) for file in _CUB_LISTS)
    if not (names.keys() == labels.keys() == in_train.keys()):
        raise ValueError(f"{', '.join(_CUB_LISTS)} must list the same images, but do not. Unpack the archive again")
    for image, label in labels.items():
        if not (label.isdigit() and 1 <= int(label) <= len(classes)):
            raise ValueError(
                f"labels must be in 1..{len(classes)}, the folders of {folder / prefix / 'images'}, got {label} of "
                f"image {image} in {folder / prefix / _CUB_LISTS[1]}. Unpack the archive again"
            )
    parts = []
    for flag in ("1", "0"):
        members = [image for image, value in in_train.items() if value == flag]
        files = [f"{prefix}images/{names[image]}" for image in members]
        parts.append(_files(files, np.array([int(labels[image]) - 1 for image in members], dtype=np.int64)))
    train, test = parts
    return carve_files(train, test, classes, SHARES)


def read_dogs(folder: Path, progress: Progress) -> Contents:
    """The splits of the official ``Images`` with the lists ``train_list.mat`` and ``test_list.mat``.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: A list is damaged, or a label is outside the classes.
    """
    from scipy.io import loadmat

    prefix = locate(folder, "Images")
    lists = folder / prefix
    if not (lists / "train_list.mat").is_file():
        lists = folder / prefix / "lists"
    progress("Reading the lists of images.")
    classes = list(class_folders(folder, f"{prefix}Images"))
    parts = []
    for file in (lists / "train_list.mat", lists / "test_list.mat"):
        if not file.is_file():
            raise FileNotFoundError(f"{file.name} must lie beside Images, not found in {file.parent}. Unpack lists.tar")
        try:
            table = loadmat(file, squeeze_me=True)
            names = [str(name) for name in np.atleast_1d(table["file_list"])]
            targets = np.atleast_1d(table["labels"]).astype(np.int64) - 1
        except (ValueError, KeyError, TypeError, NotImplementedError) as error:
            raise ValueError(f"{file} must be a list of Stanford Dogs, but is not ({error!r}). Get it again") from error
        if len(targets) and (targets.min() < 0 or targets.max() >= len(classes)):
            raise ValueError(
                f"labels must be in 1..{len(classes)}, the folders of {folder / prefix / 'Images'}, got "
                f"{targets.min() + 1}..{targets.max() + 1} in {file}. Get it again"
            )
        parts.append(_files([f"{prefix}Images/{name}" for name in names], targets))
    train, test = parts
    return carve_files(train, test, classes, SHARES)


def _files(names: Sequence[str], targets: NDArray[np.int64]) -> ImageFiles:
    return ImageFiles(names=tuple(names), targets=targets, index=np.arange(len(names)))


def _column(file: Path) -> dict[str, str]:
    """A list of the birds: in every line the number of an image, and a value."""
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        image, _, value = line.partition(" ")
        if not value:
            raise ValueError(f"every line must hold a number and a value, got {line!r} in line {number} of {file}")
        found[image] = value
    return found
