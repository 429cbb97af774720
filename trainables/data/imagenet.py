"""ImageNet-1k (Russakovsky et al. 2015), whose official validation images serve as the test split."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from trainables.data.image_folder import locate
from trainables.data.listing import class_folders, is_image, labelled, subfolders
from trainables.data.progress import Progress
from trainables.data.source import Contents, ImageFiles, carve_files

VALIDATION_SHARE = 0.02
"""Of the training images: 25,600, which tell networks apart by 0.3 percentage points; the papers use none."""
KAGGLE = "ILSVRC/Data/CLS-LOC/"
"""Where the images are in the archive of Kaggle."""
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKITS = ("ILSVRC2012_devkit_t12/data/", "data/", "")


def read(folder: Path, progress: Progress) -> Contents:
    """The splits of ``train/<wnid>/`` and ``val/<wnid>/``, or of a flat ``val/`` with the official labels.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: A class is empty or missing, or a label is wrong.
    """
    prefix = KAGGLE if (folder / KAGGLE).is_dir() else locate(folder, "train", "val")
    progress("Listing the images.")
    classes = class_folders(folder, f"{prefix}train")
    names = list(classes)
    train = labelled(classes, names, folder / prefix / "train")
    if subfolders(folder / prefix / "val"):
        test = labelled(class_folders(folder, f"{prefix}val"), names, folder / prefix / "val")
    else:
        test = _flat(folder, prefix, {name: label for label, name in enumerate(names)})
    return carve_files(train, test, names, {"train": 1 - VALIDATION_SHARE, "val": VALIDATION_SHARE})


def _flat(folder: Path, prefix: str, labels: Mapping[str, int]) -> ImageFiles:
    """Validation images that all lie in one folder."""
    flat = folder / prefix / "val"
    files = sorted(path.name for path in flat.iterdir() if is_image(path.name))
    if not files:
        raise FileNotFoundError(f"{flat} must hold the validation images, in class folders or flat, but it has none")
    wnid_of, origin = _official_labels(folder, prefix)
    targets = np.empty(len(files), dtype=np.int64)
    for place, file in enumerate(files):
        wnid = wnid_of(file)
        if wnid not in labels:
            raise ValueError(
                f"every image of {flat} must have one of the {len(labels)} classes of train, got "
                f"{wnid or 'none'} for {file} in {origin}. Get {origin.name} again, or remove the image"
            )
        targets[place] = labels[wnid]
    return ImageFiles(
        names=tuple(f"{prefix}val/{file}" for file in files), targets=targets, index=np.arange(len(files))
    )


def _official_labels(folder: Path, prefix: str) -> tuple[Callable[[str], str], Path]:
    """What gives the wnid of a validation image by its file name ("" if it has none), and the file that says so."""
    for beside in ("", prefix):
        solution = folder / beside / "LOC_val_solution.csv"
        if solution.is_file():
            return _of_solution(solution), solution
        for devkit in _DEVKITS:
            truth, meta = (folder / beside / devkit / name for name in (TRUTH, "meta.mat"))
            if truth.is_file() and meta.is_file():
                return _of_devkit(truth, meta), truth
    raise FileNotFoundError(
        f"the images of {folder / prefix / 'val'} lie flat, so their labels must lie in {folder}: LOC_val_solution.csv "
        "(from Kaggle), or ILSVRC2012_devkit_t12/ (image-net.org) unpacked there. Or sort the images into val/<wnid>/"
    )


def _of_solution(solution: Path) -> Callable[[str], str]:
    with solution.open(newline="", encoding="utf-8") as stream:  # ILSVRC2012_val_00048981,n03995372 85 1 499 272
        wnids = {row[0]: row[1].partition(" ")[0] for row in csv.reader(stream) if len(row) > 1}
    return lambda file: wnids.get(file.partition(".")[0], "")


def _of_devkit(truth: Path, meta: Path) -> Callable[[str], str]:
    from scipy.io import loadmat

    synsets = loadmat(meta, squeeze_me=True)["synsets"]
    wnids = dict(zip((str(int(number)) for number in synsets["ILSVRC2012_ID"]), synsets["WNID"].tolist(), strict=True))
    numbers = truth.read_text(encoding="utf-8").split()

    def wnid_of(file: str) -> str:
        found = re.search(r"(\d+)\.\w+$", file)  # ILSVRC2012_val_00000001.JPEG: the first line
        line = int(found[1]) if found else 0
        return wnids.get(numbers[line - 1], numbers[line - 1]) if 1 <= line <= len(numbers) else ""

    return wnid_of
