"""Small image files in class folders, for tests of data sets."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image


@lru_cache(maxsize=4096)
def picture(side: int = 8, seed: int = 0, form: str = "PNG") -> bytes:
    """A file with random pixels, which ``pixels(side, seed)`` gives where the format keeps them."""
    stream = io.BytesIO()
    Image.fromarray(pixels(side, seed)).save(stream, form)
    return stream.getvalue()


def pixels(side: int, seed: int) -> np.ndarray:
    """(side, side, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def write(folder: Path, counts: Mapping[str, int], side: int = 8, suffix: str = ".png") -> Path:
    """Fills class folders, for example ``train/cat``, with so many pictures; number i of any has seed i."""
    form = "JPEG" if suffix.lower() in (".jpg", ".jpeg") else "PNG"
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / name / f"{number:04d}{suffix}").write_bytes(picture(side, number, form))
    return folder


def link(folder: Path, names: Mapping[str, int], file: Path) -> Path:
    """Fills class folders with links to one file: thousands of images in a moment."""
    for name, count in names.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            os.link(file, folder / name / f"{number:05d}{file.suffix}")
    return folder


def digits(part: str, count: int) -> dict[str, int]:
    """Ten classes of a part, with so many pictures each."""
    return {f"{part}/{label}": count for label in range(10)}
