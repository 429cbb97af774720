"""Files that several processes write and read: whose turn it is, and whether they hold what was written."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sha256_of(file: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp_of(file: Path) -> list[int]:
    """Size and time of a file, as JSON gives them back: equal stamps spare hashing it again."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds a lock between processes; the system releases it when the process dies."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
