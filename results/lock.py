"""One driver at a time: the study's lock file, with a heartbeat, taken over when its holder is dead.

Every change of the file happens while the file itself is locked with ``flock`` and is still the one under its name,
so that two processes which both find a dead holder cannot both replace it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil

from results.errors import Held

HEARTBEAT_S = 5.0
"""Seconds between two heartbeats of a holder."""
STALE_AFTER_S = 60.0
"""A holder on another host is taken for dead when its last heartbeat is older; seconds."""

_START_TOLERANCE_S = 2.0  # start times follow corrections of the clock, so every heartbeat writes the start anew
_FILE = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds, or held, a study."""

    host: str
    """Host name of the driver."""
    pid: int
    """Its process; 0 where the lock file could not be read."""
    started: float
    """When that process started; seconds since 1970."""
    session: str
    """Driver session, ``s0001``...; empty until it is known."""
    since: datetime
    """When the lock was taken."""
    heartbeat: float
    """The last sign of life; seconds since 1970."""
    token: str
    """Unique to the taking."""

    def __str__(self) -> str:
        session = f", session {self.session}" if self.session else ""
        return f"process {self.pid} on {self.host}{session}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the last sign of life."""
        return max(0.0, time.time() - self.heartbeat)

    @property
    def is_alive(self) -> bool:
        """Whether the holder must still be taken for working: on this host its process lives, elsewhere it beats."""
        if self.host != socket.gethostname():
            return self.heartbeat_age_s <= STALE_AFTER_S
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.started) <= _START_TOLERANCE_S
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


class StudyLock:
    """The right to drive a study.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with StudyLock(folder):
        ...     holder(folder).pid == os.getpid()
        True
        >>> holder(folder) is None
        True
    """

    def __init__(self, study_dir: Path) -> None:
        """Prepares the lock; nothing is taken yet.

        Args:
            study_dir: Folder of the study; must exist.
        """
        self._study_dir = Path(study_dir)
        self._path = self._study_dir / _FILE
        self._mine: Holder | None = None
        self._stop = threading.Event()
        self._change = threading.Lock()
        self._lost = False

    def acquire(self) -> Holder | None:
        """Takes the lock and keeps it alive from a daemon thread.

        Returns:
            The dead holder that was replaced, None if there was none.

        Raises:
            Held: A live driver holds the study, or this object does already.
            OSError: The folder is missing or not writable.
        """
        now = time.time()
        mine = Holder(
            host=socket.gethostname(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            session="",
            since=datetime.fromtimestamp(now, UTC),
            heartbeat=now,
            token=uuid.uuid4().hex,
        )
        stale = self._take(mine)
        self._mine, self._lost = mine, False
        self._stop = threading.Event()
        threading.Thread(target=self._beat, args=(self._stop,), name="study-lock", daemon=True).start()
        return stale

    def name_session(self, session: str) -> None:
        """Writes the driver session into the lock, as soon as it is known.

        Args:
            session: ``s0001``, ...
        """
        self._renew(session=session)

    @property
    def lost(self) -> bool:
        """Whether another driver took the lock over, because this one gave no sign of life: stop writing."""
        return self._lost

    def release(self) -> None:
        """Gives the lock back; without effect when it is not held or was lost."""
        self._stop.set()
        with self._change:
            if self._mine is not None:
                with _current(self._path) as current:
                    if current is not None and current.token == self._mine.token:
                        self._path.unlink()
                self._mine = None

    def __enter__(self) -> StudyLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _take(self, mine: Holder) -> Holder | None:
        while True:
            with _written(self._path, mine) as temporary:
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, self._path)
                    return None
                with _current(self._path) as current:
                    if current is None:
                        continue  # released at this moment
                    if current.is_alive:
                        raise Held(
                            f"one driver at a time works on a study, but {self._study_dir.name} is held by {current} "
                            f"(last sign of life {current.heartbeat_age_s:.0f} s ago; {self._path}). Wait for it, or "
                            f"stop it: Ctrl-C in its terminal, or on {current.host}: kill {current.pid}"
                        )
                    temporary.replace(self._path)
                    return current

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a full disk or a sleeping server: the next beat may pass
                self._renew()

    def _renew(self, session: str | None = None) -> None:
        with self._change:
            if self._mine is None:
                return
            renewed = replace(
                self._mine,
                started=psutil.Process().create_time(),
                heartbeat=time.time(),
                session=session or self._mine.session,
            )
            with _written(self._path, renewed) as temporary, _current(self._path) as current:
                if current is None or current.token != renewed.token:
                    self._lost = True
                else:
                    temporary.replace(self._path)
                    self._mine = renewed


def holder(study_dir: Path) -> Holder | None:
    """The live driver of a study, None if there is none.

    Args:
        study_dir: Folder of the study.
    """
    try:
        found = _parse(Path(study_dir) / _FILE)
    except FileNotFoundError:
        return None
    return found if found.is_alive else None


@contextlib.contextmanager
def _current(path: Path) -> Iterator[Holder | None]:
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
            json.dump({**asdict(content), "since": content.since.isoformat()}, file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _parse(path: Path) -> Holder:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        values = json.loads(text)
        return Holder(**{**values, "since": datetime.fromisoformat(values["since"])})
    except (ValueError, TypeError, KeyError):  # cut short by a power failure: its age decides
        changed = path.stat().st_mtime
        return Holder(
            host="an unknown host (unreadable lock file)",
            pid=0,
            started=0.0,
            session="",
            since=datetime.fromtimestamp(changed, UTC),
            heartbeat=changed,
            token="",
        )
