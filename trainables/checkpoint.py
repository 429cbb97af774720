"""Checkpoints of one trial: written at once or not at all, the newest two are kept."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from trainables.storage import Folder, patiently

_KEPT = 2
_tidier = ThreadPoolExecutor(1, "checkpoints")
_tidying: list[Future[None]] = []  # the newest removal of old files from a store
Payload = Mapping[str, Any]
"""Tensors and plain values, nested. Any: the content is the caller's."""


def save(folder: Folder, epoch: int, payload: Payload) -> Folder:
    """Writes the checkpoint of an epoch; a kill in between leaves the earlier ones as they are.

    Files of later epochs are removed: they were unreadable or of another run, or this run would stand there.

    Args:
        folder: Of one trial, with one writer; made if missing.
        epoch: 1-based, the number of epochs done.
        payload: What to keep.

    Returns:
        The file, for example ``epoch-000005.pt``.

    Raises:
        OSError: The disk or the store fails. A store is asked once: a trial need not wait for a checkpoint.
        RuntimeError: Likewise, in torch's words.
    """
    file = folder / f"epoch-{epoch:06d}.pt"
    if isinstance(file, Path):
        _write(file, payload)
        _thin_out(folder, file.name)
    else:
        content = io.BytesIO()  # complete before the one write that publishes it
        torch.save(payload, content)
        wait(_tidying)  # for it removes files of later epochs, and this may be one
        file.write_bytes(content.getbuffer())
        _tidying[:] = [_tidier.submit(_thin_out, folder, file.name)]  # requests for which training need not wait
    return file


def load_newest(folder: Folder, accept: Callable[[Payload], bool]) -> Payload | None:
    """The newest checkpoint that can be read and is accepted; warns about an unreadable one.

    Args:
        folder: Of one trial; may be missing.
        accept: Whether a payload belongs to this run.

    Returns:
        The payload with its tensors on the CPU, or None.

    Raises:
        OSError: The store did not answer for a long time; what it has may be good.
    """
    for name in _newest_first(folder) if isinstance(folder, Path) else patiently(lambda: _newest_first(folder)):
        file = folder / name
        source = file if isinstance(file, Path) else io.BytesIO(patiently(file.read_bytes))
        try:
            payload = _read(source)
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            warnings.warn(f"checkpoint {file} cannot be read ({error}); an older one is used.", stacklevel=2)
            continue
        if accept(payload):
            return payload
    return None


def _write(file: Path, payload: Payload) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name("unfinished.tmp")
    try:
        torch.save(payload, unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _read(source: Path | io.BytesIO) -> Payload:
    with zipfile.ZipFile(source) as archive:  # torch does not look at the checksums
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    if isinstance(source, io.BytesIO):
        source.seek(0)
    payload: Payload = torch.load(source, map_location="cpu", weights_only=True)
    return payload


def _thin_out(folder: Folder, newest: str) -> None:
    names = _newest_first(folder)
    mine = names.index(newest)
    for other in names[:mine] + names[mine + _KEPT :]:
        (folder / other).unlink()


def _newest_first(folder: Folder) -> list[str]:
    try:
        return sorted((path.name for path in folder.iterdir() if fnmatch(path.name, "epoch-*.pt")), reverse=True)
    except FileNotFoundError:
        return []
