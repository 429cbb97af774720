"""Checkpoints of one trial: written at once or not at all, the newest two are kept."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

_KEPT = 2
Payload = Mapping[str, Any]
"""Tensors and plain values, nested. Any: the content is the caller's."""


def save(folder: Path, epoch: int, payload: Payload) -> Path:
    """Writes the checkpoint of an epoch; a kill in between leaves the earlier ones as they are.

    Files of later epochs are removed: they were unreadable or of another run, or this run would stand there.

    Args:
        folder: Of one trial, with one writer; made if missing.
        epoch: 1-based, the number of epochs done.
        payload: What to keep.

    Returns:
        The file, for example ``epoch-000005.pt``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"epoch-{epoch:06d}.pt"
    unfinished = folder / "unfinished.tmp"
    try:
        torch.save(payload, unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
    files = _newest_first(folder)
    mine = files.index(file)
    for other in files[:mine] + files[mine + _KEPT :]:
        other.unlink()
    return file


def load_newest(folder: Path, accept: Callable[[Payload], bool]) -> Payload | None:
    """The newest checkpoint that can be read and is accepted; warns about an unreadable one.

    Args:
        folder: Of one trial; may be missing.
        accept: Whether a payload belongs to this run.

    Returns:
        The payload with its tensors on the CPU, or None.
    """
    for file in _newest_first(folder):
        try:
            with zipfile.ZipFile(file) as archive:  # torch does not look at the checksums
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            payload: Payload = torch.load(file, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            warnings.warn(f"checkpoint {file} cannot be read ({error}); an older one is used.", stacklevel=2)
            continue
        if accept(payload):
            return payload
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.pt"), reverse=True)
