"""TinyImageNet (Stanford CS231n): 64 x 64 pixels, 200 classes; its official validation images are the test split."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from trainables.data.image_folder import locate
from trainables.data.listing import class_folders, labelled
from trainables.data.progress import Progress
from trainables.data.source import SHARES, Contents, carve_files


def read(folder: Path, progress: Progress) -> Contents:
    """The splits of the official folder, or of one whose validation images were sorted into class folders.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: A class is empty or missing, or a label is wrong.
    """
    prefix = locate(folder, "train", "val")
    progress("Listing the images.")
    classes = class_folders(folder, f"{prefix}train")  # train/<wnid>/images/*.JPEG
    names, val = list(classes), folder / prefix / "val"
    annotations = val / "val_annotations.txt"
    if annotations.is_file():
        sorted_out: dict[str, list[str]] = defaultdict(list)
        for number, line in enumerate(annotations.read_text(encoding="utf-8").splitlines(), start=1):
            image, _, rest = line.partition("\t")
            wnid = rest.partition("\t")[0]
            if wnid not in classes:
                raise ValueError(
                    f"every validation image must have one of the {len(names)} classes of train, got {wnid!r} in line "
                    f"{number} of {annotations}. Unpack the archive again"
                )
            sorted_out[wnid].append(f"{prefix}val/images/{image}")
        test = labelled(sorted_out, names, annotations)
    else:
        test = labelled(class_folders(folder, f"{prefix}val"), names, val)
    train = labelled(classes, names, folder / prefix / "train")
    return carve_files(train, test, names, SHARES)
