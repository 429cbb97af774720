"""Data sets by name, packed once into memory-mapped arrays; this package does not load torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from trainables.data import digits
from trainables.data.packed import PackedDataset, Source, Split, open_or_pack

__all__ = ["DATASETS", "PackedDataset", "Split", "check_dataset", "data_root", "prepare"]

DATASETS: dict[str, Source] = {"digits": digits.SOURCE}
"""The known data sets by name."""


def check_dataset(name: str) -> None:
    """Checks that a data set of this name exists.

    Raises:
        ValueError: The name is unknown; the message lists the known names and the nearest one.
    """
    if name in DATASETS:
        return
    near = get_close_matches(name, DATASETS, n=1) or sorted(DATASETS)[:1]
    raise ValueError(f"dataset must be one of {', '.join(sorted(DATASETS))}, got {name!r}. Did you mean {near[0]}?")


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the packed data sets: ``root``, else THERMOTUNE_DATA, else the user's cache folder."""
    if root is not None:
        return Path(root).expanduser()
    if chosen := os.environ.get("THERMOTUNE_DATA"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "thermotune"


def prepare(name: str, root: str | Path | None = None, progress: Callable[[str], None] | None = None) -> PackedDataset:
    """Packs a data set unless a sound pack is there, and gives access to it; safe in many processes at once.

    Args:
        name: One of :data:`DATASETS`.
        root: Folder of the packs; default as :func:`data_root`.
        progress: Called with a sentence when something takes time.

    Returns:
        The pack; its arrays are opened by :meth:`PackedDataset.load`.

    Raises:
        ValueError: The name is unknown.
        FileNotFoundError: The source of the data is not where it should be.
    """
    check_dataset(name)
    return open_or_pack(data_root(root), DATASETS[name], progress or (lambda sentence: None))
