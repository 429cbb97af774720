"""Whether a pack on disk is sound: complete, undamaged and of this format; and opening it if so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainables.content import sha256_of, stamp_of
from trainables.data.images import in_threads, open_rgb
from trainables.data.packed import SPLITS, PackedDataset, Split
from trainables.data.progress import Progress

FORMAT = 2
"""Version of the files; part of the folder's name, so that two versions of thermotune do not fight over it."""

_PLACES = ("digest", "source", "written")
"""Parts of meta.json that say where a pack came from and when, not what it holds: not part of its digest."""


class UnusablePack(Exception):
    """The folder is not a sound pack; says why."""


_sound: dict[Path, object] = {}
"""Packs that this process has verified, with the stamps of their files: hashing a large pack twice is waste."""


def folder_of(root: Path, name: str) -> Path:
    """Where the pack of a data set lies under the folder of all packs."""
    return root / f"{name}-v{FORMAT}"


def open_pack(folder: Path, *, thorough: bool = False) -> PackedDataset:
    """Opens a pack if it is sound.

    Its files are hashed where their size or time differ from those at packing (a copy without times, a damage), so
    that a worker need not read gigabytes to learn that nothing has changed.

    Args:
        folder: Of the pack.
        thorough: Hash the files in any case.

    Raises:
        FileNotFoundError: There is no such folder.
        UnusablePack: It is incomplete, damaged or foreign.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["digest"] != digest_of(meta):
            raise UnusablePack(f"{folder / 'meta.json'} does not match its digest")
        stamps = {name: stamp_of(folder / name) for name in meta["files"]}
        if thorough or stamps not in (meta["written"], _sound.get(folder)):
            for name, expected in meta["files"].items():
                if sha256_of(folder / name) != expected:
                    raise UnusablePack(f"{folder / name} does not match the sha256 in meta.json")
        _sound[folder] = stamps
        return PackedDataset(
            folder=folder,
            name=meta["name"],
            digest=meta["digest"],
            num_classes=len(meta["class_names"]),
            input_shape=tuple(meta["input_shape"]),
            mean=tuple(meta["mean"]),
            std=tuple(meta["std"]),
            sizes=meta["sizes"],
            split_seed=meta["split_seed"],
            kind=meta["kind"],
            storage=meta["storage"],
            class_names=tuple(meta["class_names"]),
            vocabulary=meta["vocabulary"],
            source=meta["source"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusablePack(f"the pack at {folder} is incomplete ({error!r})") from error


def check_pack(folder: Path, progress: Progress) -> PackedDataset:
    """Opens a pack after reading every byte of it; of a streamed one, every image is looked for and decoded.

    Args:
        folder: Of the pack.
        progress: Told how many images are done.

    Returns:
        The sound pack.

    Raises:
        FileNotFoundError: There is no such folder, or an image is gone.
        UnusablePack: It is incomplete, damaged or foreign.
        ValueError: An image has another size than when the data set was prepared, or cannot be decoded.
    """
    pack = open_pack(folder, thorough=True)
    if pack.storage == "streamed":
        for split in SPLITS:
            _require_images(pack, split, progress)
    return pack


def _require_images(pack: PackedDataset, split: Split, progress: Progress) -> None:
    """Checks every image of a split of a streamed set."""
    files, sizes = pack.files(split), np.load(pack.folder / f"{split}_bytes.npy", mmap_mode="r")
    progress(f"Decoding the {len(files):,} images of the {split} split.")
    for _ in in_threads(lambda place: _require_image(files[place], int(sizes[place])), range(len(files)), progress):
        pass


def _require_image(file: Path, size: int) -> None:
    """Checks that an image is there, in the size of when it was prepared, and can be decoded."""
    remedy = "Bring the file back, or prepare the data set again with --replace"
    try:
        found = file.stat().st_size
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file} must be there, as when its data set was prepared. {remedy}") from error
    if found != size:
        raise ValueError(f"{file} must have {size} bytes, as when its data set was prepared, got {found}. {remedy}")
    open_rgb(file)


def digest_of(meta: Mapping[str, Any]) -> str:  # Any: what JSON gives
    """The digest of a pack from its meta.json: of what it holds, not of where it came from."""
    content = {key: value for key, value in meta.items() if key not in _PLACES}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
