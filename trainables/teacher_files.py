"""The files of a trained teacher: whether they are sound, and how they come to an object store and back.

On a store every file but the facts has its digest in its name, and the facts, which name the digests, are written last.
So what the facts name is complete, and of two machines that publish at once neither mixes its files with the other's.
"""

from __future__ import annotations

import json
import mmap
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.content import locked, sha256_of, stamp_of
from trainables.storage import RemoteFolder, patiently

FACTS, WEIGHTS, LOGITS = "teacher.json", "weights.pt", "logits-train.npy"
LOCK = ".lock"
"""File of a shelf that is locked while a folder gets its name."""

_sound: dict[Path, dict[str, list[int]]] = {}  # verified in this process, with size and time of the files


def check(folder: Path) -> dict[str, Any]:
    """The facts of a teacher, after a look at the files that they name.

    Args:
        folder: Of one teacher, on this machine.

    Returns:
        The facts, without the digests of the files.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Its files are not what they were.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no teacher in {folder}")
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_bytes())
        files = facts.pop("files")
        stamp = {name: stamp_of(folder / name) for name in (FACTS, *files)}
        if _sound.get(folder) != stamp:
            for name, digest in files.items():
                if sha256_of(folder / name) != digest:
                    raise ValueError(f"{name} does not match its sha256")
            _sound[folder] = stamp
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error
    return facts


def put(fresh: Path, folder: Path) -> None:
    """Gives a complete folder its name, in place of what has it; the caller has locked the shelf."""
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def upload(folder: Path, store: RemoteFolder) -> None:
    """Writes a teacher to a store; what has its address there is replaced.

    Args:
        folder: With its files, on this machine.
        store: Where to.

    Raises:
        OSError: The store did not answer for a long time.
    """
    content = (folder / FACTS).read_bytes()
    for name, digest in json.loads(content)["files"].items():
        with (folder / name).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)  # logits may be larger than the memory
            try:
                _write(store / _name_of(name, digest), view)
            finally:
                view.release()
    _write(store / FACTS, content)


def fetch(store: RemoteFolder, folder: Path) -> None:
    """Makes this machine's copy of a teacher, unless it has it; of several processes one does it.

    Args:
        store: The teacher on its store.
        folder: Where the copy is to be.

    Raises:
        FileNotFoundError: There is no teacher on the store.
        ValueError: Its files are not what its facts name.
        OSError: The store did not answer for a long time.
    """
    content = patiently((store / FACTS).read_bytes)
    if _has(folder, content):
        return
    files: Mapping[str, str] = json.loads(content)["files"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / LOCK):
        if _has(folder, content):  # another process was faster
            return
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent) as draft:
            fresh = Path(draft) / folder.name
            fresh.mkdir()
            for name, digest in files.items():
                _download(store / _name_of(name, digest), fresh / Path(name).name, digest)
            (fresh / FACTS).write_bytes(content)
            put(fresh, folder)


def _has(folder: Path, facts: bytes) -> bool:
    try:
        check(folder)
        return (folder / FACTS).read_bytes() == facts
    except (OSError, ValueError):
        return False


def _download(store: RemoteFolder, file: Path, digest: str) -> None:
    try:
        patiently(lambda: store.copy_to(file))
    except FileNotFoundError as error:
        raise ValueError(f"{store} is gone") from error
    if sha256_of(file) != digest:
        raise ValueError(f"{store} does not match its sha256")


def _write(store: RemoteFolder, content: bytes | memoryview) -> None:
    patiently(lambda: store.write_bytes(content))


def _name_of(name: str, digest: str) -> str:
    """The object that holds a file of this content."""
    stem, dot, suffix = name.partition(".")
    return f"{stem}-{digest[:16]}{dot}{suffix}"
