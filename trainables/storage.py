"""Where trials keep checkpoints and teachers: a folder of this machine, or one of an object store.

This package knows no object store. Who has one hands its folders in, and the part of them that is needed is written
down here: ``results.places.RemotePath`` is one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

PATIENCE_S = 900.0
"""A store that does not answer is asked again for so long, longer than a study's driver waits for it; seconds."""
LONGEST_PAUSE_S = 10.0
"""Between two tries; seconds."""

Answer = TypeVar("Answer")


class RemoteFolder(Protocol):
    """A folder or an object of a store; its text is the address by which another process finds it."""

    @property
    def name(self) -> str:
        """The last part of the address."""

    def __truediv__(self, name: str, /) -> RemoteFolder: ...

    def iterdir(self) -> Iterator[RemoteFolder]:
        """What lies directly below it; FileNotFoundError where there is nothing."""

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError where there is none."""

    def write_bytes(self, content: bytes | memoryview, /) -> None:
        """Makes or replaces the object: whole, or not at all."""

    def copy_to(self, file: Path, /) -> None:
        """Writes the object's content to a file of this machine, in pieces; FileNotFoundError where there is none."""

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""


Folder = Path | RemoteFolder
"""Where something is kept, here or on an object store."""


def user_cache() -> Path:
    """This machine's folder for what can be had again: packed data, copies of what a store has."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "thermotune"


def patiently(action: Callable[[], Answer]) -> Answer:
    """Does something with a store, again and again while the store does not answer.

    Args:
        action: May be done twice.

    Raises:
        FileNotFoundError: There is no such object.
        OSError: The store has not answered for ``PATIENCE_S``.
    """
    deadline, pause = time.monotonic() + PATIENCE_S, 0.5
    while True:
        try:
            return action()
        except FileNotFoundError:
            raise
        except OSError:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
