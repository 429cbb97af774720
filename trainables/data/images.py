"""Image files: looking at their headers, decoding them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainables.data.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

CHUNK = 1024
"""Files that are read together, which bounds the memory."""
_THREADS = 8
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
"""By Pillow's name of a format: what a whole file ends with, except for a few bytes."""
_TAIL = 64
"""Bytes in which the end is looked for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Header(NamedTuple):
    """What an image file says before its pixels."""

    width: int
    height: int
    bytes: int


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

    Of the pixels nothing is read; but a JPEG or PNG file must have its end, for a file that a download or a full disk
    cut short has a sound header. One without is decoded, because some programs write more behind the end.

    Raises:
        ValueError: It is not an image, or cut short.
    """
    from PIL import Image

    def look() -> tuple[Header, bool]:
        with file.open("rb") as stream, Image.open(stream) as image:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _TAIL))
            return Header(*image.size, size), _ENDS.get(image.format or "", b"") in stream.read()

    header, has_end = _explained(file, look)
    if not has_end:
        open_rgb(file)
    return header


def headers(root: Path, names: Sequence[str], progress: Progress) -> list[Header]:
    """The headers of image files under a folder, with several threads; raises as :func:`look_at`.

    The threads are for network file systems, which answer late: a million files one after another take them an hour.
    """
    return list(in_threads(lambda name: look_at(root / name), names, progress))


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], progress: Progress) -> Iterator[Result]:
    """What a function gives for every item, in order, from several threads; some at a time, which bounds the memory."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            yield from pool.map(work, chunk)
            progress.advance(start + len(chunk), len(items))


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
