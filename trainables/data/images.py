"""Image files: finding them in class folders, looking at their headers, decoding them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.data.progress import Progress
from trainables.data.source import ImageFiles

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
CHUNK = 1024
"""Files that are read together, which bounds the memory."""
_THREADS = 8

Result = TypeVar("Result")


class Header(NamedTuple):
    """What an image file says before its pixels."""

    width: int
    height: int
    bytes: int


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
        ValueError: A class has no image.
    """
    folder = root / part
    if not folder.is_dir() or not subfolders(folder):
        raise FileNotFoundError(f"{folder} must hold a folder of images for every class, but it is not there or empty")
    found = {}
    for label in subfolders(folder):
        names = []
        for place, _, files in os.walk(folder / label, followlinks=True):
            inside = Path(place).relative_to(root).as_posix()
            names += [f"{inside}/{file}" for file in files if is_image(file)]
        if not names:
            raise ValueError(
                f"every class must have images, and {folder / label} has none (looked for {', '.join(SUFFIXES)}). "
                "Add them, or remove the folder"
            )
        found[label] = sorted(names)
    return found


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


def open_rgb(file: Path) -> Image.Image:
    """An image, decoded, upright, and in RGB whatever it was.

    Raises:
        ValueError: It cannot be decoded.
    """
    from PIL import Image, ImageOps

    def decode() -> Image.Image:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # convert() would cut these values off, not scale them
                raise ValueError(f"it has more than 8 bits a channel, mode {image.mode}")
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            return upright.convert("RGB")

    return _explained(file, decode)


def look_at(file: Path) -> Header:
    """Width, height and size of an image file from its header.

    Raises:
        ValueError: It is not an image.
    """
    from PIL import Image

    def look() -> Header:
        with Image.open(file) as image:
            return Header(*image.size, file.stat().st_size)

    return _explained(file, look)


def headers(root: Path, names: Sequence[str], progress: Progress) -> list[Header]:
    """The headers of image files under a folder, with several threads; raises as :func:`look_at`.

    The threads are for network file systems, which answer late: a million files one after another take them an hour.
    """
    found: list[Header] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(names), CHUNK):
            found += pool.map(lambda name: look_at(root / name), names[start : start + CHUNK])
            progress.advance(len(found), len(names))
    return found


def pixels(root: Path, names: Sequence[str], shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Decodes small image files under a folder, some at a time.

    One thread does it: Python's lock makes several of them slower, up to 96 x 96 pixels (by 1.5 to 3 times).

    Args:
        root: The folder.
        names: N files in it.
        shape: (3, height, width), which all images must have.

    Yields:
        The next images (n, 3, height, width) uint8.

    Raises:
        ValueError: A file cannot be decoded, or has another size.
    """
    for start in range(0, len(names), CHUNK):
        yield np.stack([_pixels(root / name, shape) for name in names[start : start + CHUNK]])


def _pixels(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    image = open_rgb(file)
    if (3, image.height, image.width) != shape:
        raise ValueError(
            f"all images must be {shape[2]} x {shape[1]} pixels, got {image.width} x {image.height} in {file}. "
            "Replace the file, or remove it"
        )
    return np.asarray(image).transpose(2, 0, 1)


def _explained(file: Path, work: Callable[[], Result]) -> Result:
    """Does something with an image file, and turns what Pillow raises into advice."""
    from PIL import Image

    try:
        return work()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{file} must be there, because the data set lists it, but it is not. Unpack its archive again"
        ) from error
    except PermissionError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: of a broken PNG
        raise ValueError(
            f"{file} must be an image, but it cannot be decoded ({error}). Replace the file, or remove it"
        ) from error
