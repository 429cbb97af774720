"""Data sets by name, packed once into memory-mapped arrays; this package does not load torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from trainables.data import image_folder
from trainables.data.catalogue import DATASETS
from trainables.data.integrity import FORMAT
from trainables.data.packed import PackedDataset, Split
from trainables.data.packing import open_or_pack
from trainables.data.progress import Progress
from trainables.data.source import Source
from trainables.storage import user_cache

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")

__all__ = [
    "DATASETS",
    "PackedDataset",
    "Progress",
    "Source",
    "Split",
    "check_dataset",
    "data_root",
    "prepare",
    "prepared",
    "source_of",
]


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the packed data sets: ``root``, else THERMOTUNE_DATA, else the user's cache folder.

    Raises:
        ValueError: Something else is there, or a folder that may not be read.
    """
    if root is not None or (root := os.environ.get("THERMOTUNE_DATA")):
        folder = Path(root).expanduser()
    else:
        folder = user_cache()
    try:
        with os.scandir(folder):
            return folder
    except FileNotFoundError:  # made when something is packed
        return folder
    except OSError as error:
        raise ValueError(
            f"the folder of the packs must be a folder that may be read, got {folder} ({error.strerror}). Choose "
            "another with THERMOTUNE_DATA=FOLDER"
        ) from error


def prepared(root: str | Path | None = None) -> list[str]:
    """The names of the data sets that have a pack, sound or not, in alphabetical order."""
    names = (file.parent.name.removesuffix(f"-v{FORMAT}") for file in data_root(root).glob(f"*-v{FORMAT}/meta.json"))
    return sorted(filter(_NAME.fullmatch, names))


def check_dataset(name: str, root: str | Path | None = None) -> None:
    """Checks that a data set of this name exists: a known one, or a folder of images that has been prepared.

    Raises:
        ValueError: The name is unknown, and the message lists the known names and the nearest one; or the folder of
            the packs cannot be used.
    """
    if name in DATASETS or name in prepared(root):
        return
    known = sorted({*DATASETS, *prepared(root)})
    near = get_close_matches(name, known, n=1)
    raise ValueError(
        f"dataset must be one of {', '.join(known)}, got {name!r}. "
        + (f"Did you mean {near[0]}? " if near else "")
        + "Images of your own: thermotune data prepare NAME --source FOLDER"
    )


def source_of(name: str) -> Source:
    """What is known about a data set before it is read.

    Raises:
        ValueError: The name cannot be that of a data set.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a data set's name must be of a-z, 0-9, '-', '_' and '.', beginning with a letter or digit, got {name!r}"
        )
    return DATASETS.get(name) or image_folder.dataset(name)


def prepare(
    name: str,
    root: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
    *,
    source: str | Path | None = None,
    replace: bool = False,
) -> PackedDataset:
    """Packs a data set unless a sound pack is there, and gives access to it; safe in many processes at once.

    Args:
        name: One of :data:`DATASETS`, or with ``source`` a new name for a folder of images.
        root: Folder of the packs; default as :func:`data_root`.
        progress: Called with a sentence when something takes time; a :class:`Progress` also learns how far it is.
        source: Folder or archive to pack from; default as the data set has it: a download, or where the damaged or
            replaced pack came from.
        replace: Pack again even if a sound pack is there.

    Returns:
        The pack; its arrays are opened by :meth:`PackedDataset.load`.

    Raises:
        ValueError: The name is unknown, the data are not as they must be, or a pack from another source is there.
        FileNotFoundError: The source of the data is not where it should be.
        OSError: The disk is full, something cannot be read or written, or a download failed.
    """
    if source is None:
        check_dataset(name, root)
    if not isinstance(progress, Progress):
        progress = Progress() if progress is None else Progress(progress)
    given = None if source is None else Path(source)
    return open_or_pack(data_root(root), source_of(name), progress, given, replace)
