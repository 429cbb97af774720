"""The lock of a study in a folder: a file with the holder in it, changed only under ``flock``.

Every change of the file happens while the file itself is locked with ``flock`` and is still the one under its name,
so that two processes which both find a dead holder cannot both replace it. On NFS this holds across machines where
``flock`` does (version 4, or mounted with locks). Where it reaches only one machine, two drivers on two machines could
replace a dead third at the same moment; the one whose file was overwritten notices at its next heartbeat.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from results.errors import Held, RootUnsuitable
from results.lock.identity import Holder

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


class FileLock:
    """The file ``lock`` of a study's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, mine: Holder) -> Holder | None:
        """Writes the holder down, unless a live one stands there.

        Returns:
            The dead holder that was replaced, None if there was none.

        Raises:
            Held: A live driver holds the study.
            RootUnsuitable: The file system knows neither links nor locks.
            OSError: The folder is missing or not writable.
        """
        while True:
            with _written(self._path, mine) as temporary, _explained(self._path):
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, self._path)
                    return None
                with _locked(self._path) as current:
                    if current is None:
                        continue  # released at this moment
                    age_s = temporary.stat().st_mtime - self._path.stat().st_mtime  # by one clock, the file system's
                    if current.is_alive_at(max(0.0, age_s)):
                        raise Held(held_by(current, self._path.parent.name, self._path))
                    temporary.replace(self._path)
                    return current

    def renew(self, mine: Holder, fresh: Callable[[], bool]) -> bool:
        """Writes a sign of life, unless another driver has taken over.

        Args:
            mine: The holder as it is now.
            fresh: Of no use here, where one look tells.

        Returns:
            Whether the study is still held.
        """
        with _written(self._path, mine) as temporary, _locked(self._path) as current:
            if current is None or current.token != mine.token:
                return False
            temporary.replace(self._path)
            return True

    def give_back(self, mine: Holder) -> None:
        """Removes the file if it is still this holder's."""
        with _locked(self._path) as current:
            if current is not None and current.token == mine.token:
                self._path.unlink()

    def holder(self) -> Holder | None:
        """The live holder, None if there is none."""
        try:
            found = _parse(self._path)
        except FileNotFoundError:
            return None
        return found if found.is_alive else None


def held_by(current: Holder, study: str, where: object) -> str:
    """What is said to a second driver."""
    return (
        f"one driver at a time works on a study, but {study} is held by {current} (last sign of life "
        f"{current.heartbeat_age_s:.0f} s ago; {where}). Wait for it, or stop it: Ctrl-C in its terminal, or on "
        f"{current.host}: kill {current.pid}"
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Holder | None]:
    """The holder under the lock's name, with the file locked so that nobody else replaces it; None without a file."""
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            yield None
            return
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield _parse(path)
                return


@contextlib.contextmanager
def _written(path: Path, content: Holder) -> Iterator[Path]:
    """A file of its own with the holder in it, removed at the end unless it got the lock's name."""
    temporary = path.with_name(f".{path.name}-{content.token}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content.to_json())
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        raise RootUnsuitable(
            f"a root must lie on a file system with links and locks, so that one driver at a time can work on a study, "
            f"but {path.parent} does not ({error.strerror}). Mount it with locks (NFS: version 4, without nolock), or "
            "choose another root with --root or THERMOTUNE_ROOT"
        ) from error


def _parse(path: Path) -> Holder:
    return Holder.from_json(path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mtime)
