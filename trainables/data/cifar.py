"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 colour images of 32 x 32 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trainables.data import image_folder
from trainables.data.packed import Samples
from trainables.data.progress import Progress
from trainables.data.source import Contents, carve_samples, require_space

FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
ARCHIVES = {10: "cifar-10-python.tar.gz", 100: "cifar-100-python.tar.gz"}
_DOWNLOADED_BYTES = 200_000_000


def fetch(classes: int, folder: Path, progress: Progress) -> Path:
    """Downloads the official archive into a folder, unless it is there, and checks its md5.

    Args:
        classes: 10 or 100.
        folder: Made if missing.
        progress: Told about the download.

    Returns:
        The archive.

    Raises:
        OSError: It cannot be downloaded, or there is too little room for it.
    """
    from torchvision.datasets.utils import download_url

    official = _official(classes)
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, _DOWNLOADED_BYTES, f"the download of CIFAR-{classes}")
    progress(f"Downloading {official.url} into {folder}.")
    try:
        download_url(official.url, str(folder), official.filename, official.tgz_md5)
    except (OSError, RuntimeError) as error:  # RuntimeError: what came is not what was asked for
        raise OSError(
            f"{official.url} must be downloaded, which failed ({error}). Try again, or get {official.filename} and: "
            f"thermotune data prepare cifar{classes} --source {official.filename}; a folder of the images does too"
        ) from error
    return folder / ARCHIVES[classes]


def read(classes: int, folder: Path, progress: Progress) -> Contents:
    """The splits of the official files, which torchvision reads, or of the same images in class folders.

    Args:
        classes: 10 or 100.
        folder: Is or holds the official folder; or holds ``train/<class>/`` and ``test/<class>/``.
        progress: Told about what is there.

    Returns:
        A tenth of the training images is the validation split; ``index`` counts the official batches one after
        another, or the files sorted by class and name.

    Raises:
        FileNotFoundError: It is neither.
        ValueError: The official files are damaged, or the classes differ.
    """
    root = folder.parent if folder.name == FOLDERS[classes] else folder
    if not (root / FOLDERS[classes]).is_dir():
        return image_folder.read_parts(folder, image_folder.locate(folder, "train", "test"), progress)
    official = _official(classes)
    try:
        train, test = (official(root, train=part) for part in (True, False))
    except RuntimeError as error:  # torchvision checks md5 sums before it reads
        raise ValueError(
            f"{root / FOLDERS[classes]} must hold the official files of CIFAR-{classes}, but they are incomplete or "
            f"damaged ({error}). Get {ARCHIVES[classes]} again"
        ) from error
    return carve_samples(_samples(train), _samples(test), train.classes)


def _official(classes: int) -> Any:  # Any: torchvision has no types
    from torchvision import datasets

    return {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]


def _samples(part: Any) -> Samples:  # Any: torchvision has no types
    targets = np.asarray(part.targets, dtype=np.int64)
    return Samples(inputs=part.data.transpose(0, 3, 1, 2), targets=targets, index=np.arange(len(targets)))
