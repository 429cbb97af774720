"""Whether a file still holds what was written into it."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp_of(file: Path) -> tuple[str, int, int]:
    """Name, size and time of a file: equal stamps spare hashing it again."""
    status = file.stat()
    return file.name, status.st_size, status.st_mtime_ns
