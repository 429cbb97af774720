"""Making packs: under a lock, in a folder beside, renamed when complete; so a half-written pack is never used."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from trainables.content import locked, sha256_of, stamp_of
from trainables.data.archives import unpack
from trainables.data.integrity import FORMAT, UnusablePack, digest_of, folder_of, open_pack
from trainables.data.packed import SPLITS, PackedDataset, Samples, Split, Storage
from trainables.data.progress import Progress
from trainables.data.source import SPLIT_SEED, Contents, ImageFiles, Source
from trainables.data.writing import write_files, write_samples


def open_or_pack(
    root: Path, source: Source, progress: Progress, given: Path | None = None, replace: bool = False
) -> PackedDataset:
    """Opens the pack of a data set under ``root``; packs it first where there is none, or a damaged one.

    Args:
        root: Folder of all packs; made if missing.
        source: The data set.
        progress: Told what happens.
        given: Folder or archive to pack from; None: where the sound or damaged pack came from, else the default.
        replace: Pack again even if a sound pack is there.

    Returns:
        The verified pack.

    Raises:
        FileNotFoundError: The source is not there, or there is none to be had by default.
        ValueError: A sound pack from another source is there, or the source is not as it must be.
        OSError: The disk is full, or something cannot be read or written.
    """
    folder = folder_of(root, source.name)
    given = None if given is None else Path(os.path.abspath(given.expanduser()))  # noqa: PTH100  (keeps symbolic links)
    if not replace and (found := _sound(folder, given, warn=False)):
        return found
    _require(source, given, folder)
    _make(root)
    with _explained(source.name, root), locked(root / f".{folder.name}.lock"):
        if not replace and (found := _sound(folder, given, warn=True)):
            return found  # another process was faster
        for leftover in root.glob(f".{folder.name}.*.tmp"):  # of a killed process: we hold the lock
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=root) as workplace:
            _pack(Path(workplace), folder, source, given or _came_from(folder), progress)
    return open_pack(folder)


def _sound(folder: Path, given: Path | None, *, warn: bool) -> PackedDataset | None:
    """The sound pack of a folder, if it came from the given source."""
    try:
        found = open_pack(folder)
    except FileNotFoundError:
        return None
    except UnusablePack as reason:
        if warn:
            warnings.warn(f"{reason}; the data set is packed again.", RuntimeWarning, stacklevel=4)
        return None
    if given is not None and str(given) != found.source:
        raise ValueError(
            f"data set {found.name} is already packed, from {found.source}, and not from {given}. "
            f"To pack it again: thermotune data prepare {found.name} --source {given} --replace"
        )
    found.require_files()
    return found


def _require(source: Source, given: Path | None, folder: Path) -> None:
    """Checks, before anything is written, that there is something to pack from."""
    if given is None:
        if source.layout and source.fetch is None and _came_from(folder) is None:
            state = "damaged, and what it was made from is gone" if folder.is_dir() else "not prepared"
            raise FileNotFoundError(f"data set {source.name} is {state}. {source.obtain}")
        return
    if not source.layout:
        raise ValueError(f"data set {source.name} must have no --source, got {given}. {source.obtain}")
    if not given.exists():
        raise FileNotFoundError(f"--source must be a folder or an archive, and {given} does not exist. {source.obtain}")
    if given.is_file() and source.storage == "streamed":
        raise ValueError(
            f"--source of {source.name} must be a folder, because its images are read from where they are, got "
            f"the file {given}. Unpack it first, and give the folder"
        )


def _came_from(folder: Path) -> Path | None:
    """Where a pack came from, be it damaged or not; None if there is none, or its source is gone or was no path."""
    try:
        origin = Path(json.loads((folder / "meta.json").read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return origin if origin.is_absolute() and origin.exists() else None


def _pack(workplace: Path, folder: Path, source: Source, origin: Path | None, progress: Progress) -> None:
    """Packs into the workplace and moves the result to its folder."""
    name = source.name
    if origin is None and source.fetch is not None:
        origin = source.fetch(folder.parent / "downloads", progress)
    place = origin or workplace
    if place.is_file():
        archive, place = place, workplace / "unpacked"
        place.mkdir()
        unpack(archive, place, progress)
    progress(f"Packing data set {name} into {folder}.")
    contents = source.read(place, progress)
    _check(name, contents, source, progress)
    fresh = workplace / "pack"
    fresh.mkdir(mode=0o755)
    storage: Storage = "packed"
    if any(isinstance(split, ImageFiles) for split in contents.splits.values()):
        files = cast("Mapping[Split, ImageFiles]", contents.splits)
        storage, facts = write_files(fresh, place, files, source, progress)
        if storage == "streamed" and place != origin:
            raise ValueError(
                f"the images of {name} are too large or too different to be packed, and will be read from where they "
                f"are; so --source must be a folder, got the archive {origin}. Unpack it first, and give the folder"
            )
    else:
        facts = write_samples(fresh, cast("Mapping[Split, Samples]", contents.splits))
    if contents.words is not None:
        (fresh / "vocabulary.json").write_text(json.dumps(list(contents.words), ensure_ascii=False), encoding="utf-8")
    written = sorted(path.name for path in fresh.iterdir())
    meta = {
        "format": FORMAT,
        "name": name,
        "kind": source.kind,
        "storage": storage,
        "class_names": list(contents.class_names),
        "vocabulary": None if contents.words is None else len(contents.words),
        "sizes": {split: len(samples.targets) for split, samples in contents.splits.items()},
        "split_seed": SPLIT_SEED,
        **facts,
        "files": {file: sha256_of(fresh / file) for file in written},
    }
    places = {
        "digest": digest_of(meta),
        "source": source.obtain if origin is None else str(origin),
        "written": {file: stamp_of(fresh / file) for file in written},
    }
    (fresh / "meta.json").write_text(json.dumps(meta | places, indent=1), encoding="utf-8")
    with ThreadPoolExecutor() as pool:  # a rename must not reach the disk before what it renames
        list(pool.map(_reach_the_disk, fresh.iterdir()))
    if folder.exists():
        folder.rename(workplace / "replaced")
    fresh.rename(folder)


def _reach_the_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _check(name: str, contents: Contents, source: Source, progress: Progress) -> None:
    """What every data set must fulfil, whatever it came from."""
    classes = len(contents.class_names)
    if source.classes is not None and classes != source.classes:
        raise ValueError(
            f"data set {name} must have {source.classes} classes, got {classes}. If this is another data set, give it "
            "another name"
        )
    for split in SPLITS:
        targets = contents.splits[split].targets
        if not len(targets):
            raise ValueError(
                f"the {split} split of {name} would be empty: its classes have too few samples to draw it from. Add "
                "samples, or a folder of its own for this split"
            )
        if targets.min() < 0 or targets.max() >= classes:
            raise ValueError(
                f"labels of {name} must be in 0..{classes - 1}, got {targets.min()}..{targets.max()} in {split}"
            )
    absent = np.flatnonzero(np.bincount(contents.splits["train"].targets, minlength=classes) == 0)
    if len(absent):
        raise ValueError(f"class {contents.class_names[absent[0]]} of {name} has no training sample. Add some")
    sizes = {split: len(contents.splits[split].targets) for split in SPLITS}
    found = (sizes["train"] + sizes["val"], sizes["test"])
    if source.official is not None and found != source.official:
        progress(
            f"Note: {name} has {source.official[0]:,} training and {source.official[1]:,} test samples where it is "
            f"published, here it has {found[0]:,} and {found[1]:,}."
        )


def _make(root: Path) -> None:
    """Makes the folder of all packs where it is missing."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"the folder of the packs must be one that is there or can be made, got {root} ({error.strerror}). "
            "Choose another with THERMOTUNE_DATA=FOLDER"
        ) from error


@contextmanager
def _explained(name: str, root: Path) -> Iterator[None]:
    """Says what to do where the system only says what it refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(
                f"packing data set {name} needs {error.filename or root}, which may not be read or written "
                f"({error.strerror}). Change its permissions, or choose another folder for the packs with "
                "THERMOTUNE_DATA=FOLDER"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"the disk of {root} became full while data set {name} was packed ({error.strerror}); what was written is "
            "removed. Free some space, or choose another disk with THERMOTUNE_DATA=FOLDER"
        ) from error
