"""Finding image files in class folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from trainables.data.source import ImageFiles

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def is_image(name: str) -> bool:
    """Whether a file's name is that of a visible image."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def subfolders(folder: Path) -> list[str]:
    """The sorted names of the visible folders in a folder."""
    found = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    return sorted(name for name in found if not name.startswith((".", "__")))  # __MACOSX in archives


def class_folders(root: Path, part: str) -> dict[str, list[str]]:
    """The images of every class folder.

    Args:
        root: What names are relative to.
        part: Folder under the root, for example ``train``; "" for the root itself. Its folders are the classes, and
            images may lie deeper in them.

    Returns:
        Sorted names of files, relative to the root, by class, the classes sorted too.

    Raises:
        FileNotFoundError: There is no such folder, or no folder in it.
        ValueError: A class has no image, or links lead to a folder more than once.
    """
    folder = root / part
    if not folder.is_dir() or not subfolders(folder):
        raise FileNotFoundError(f"{folder} must hold a folder of images for every class, but it is not there or empty")
    found = {}
    reached: dict[str, Path] = {}
    for label in subfolders(folder):
        names = []
        for place, _, files in os.walk(folder / label, followlinks=True):
            _reach(Path(place), reached)
            inside = Path(place).relative_to(root).as_posix()
            names += [f"{inside}/{file}" for file in files if is_image(file)]
        if not names:
            raise ValueError(
                f"every class must have images, and {folder / label} has none (looked for {', '.join(SUFFIXES)}). "
                "Add them, or remove the folder"
            )
        found[label] = sorted(names)
    return found


def require_distinct_folders(root: Path, names: Iterable[str]) -> None:
    """Checks that no folder of image files is reached in two ways, which would put its images into two splits.

    Args:
        root: What names are relative to.
        names: Of the files.

    Raises:
        ValueError: Links lead to one more than once.
    """
    reached: dict[str, Path] = {}
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        _reach(root / folder, reached)


def _reach(folder: Path, reached: dict[str, Path]) -> None:
    """Remembers that a folder is read; refuses one that was read under another name."""
    real = os.path.realpath(folder)
    if real in reached:
        ways = [{way, *way.parents} for way in (folder, reached[real])]
        link = next((place for place in sorted(ways[0] ^ ways[1]) if place.is_symlink()), folder)
        raise ValueError(
            f"every folder of images must be reached once, but {link} is a link through which {real} is read a second "
            f"time, as {folder} and {reached[real]}. Remove the link, or let it lead elsewhere"
        )
    reached[real] = folder


def labelled(classes: Mapping[str, Sequence[str]], class_names: Sequence[str], where: Path) -> ImageFiles:
    """The files of class folders as one split.

    Args:
        classes: Names of files by class.
        class_names: All classes, in the order of their indices.
        where: The folder, for the message.

    Raises:
        ValueError: These are not the same classes.
    """
    if missing := sorted(set(class_names) - set(classes)):
        raise ValueError(
            f"{where} must have a folder for each of the {len(class_names)} classes, but it lacks {_few(missing)}. "
            "Add what is missing, or remove these classes from the training data too"
        )
    if foreign := sorted(set(classes) - set(class_names)):
        raise ValueError(f"{where} has classes that the training data lack: {_few(foreign)}. Remove or rename them")
    names = [name for label in class_names for name in classes[label]]
    targets = np.repeat(np.arange(len(class_names)), [len(classes[label]) for label in class_names])
    return ImageFiles(names=tuple(names), targets=targets, index=np.arange(len(names)))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
