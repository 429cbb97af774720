"""One driver at a time: the right to drive a study, kept alive by a heartbeat, taken over when its holder is dead."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil

from results.errors import Held
from results.lock import identity
from results.lock.claims import Claims
from results.lock.file_lock import FileLock
from results.lock.identity import Holder, machine
from results.places import Place

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a laptop sleeps


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

    def __init__(self, study_dir: Place) -> None:
        """Prepares the lock; nothing is taken yet.

        Args:
            study_dir: Folder of the study; a local one must exist.
        """
        self._study_dir = study_dir
        self._keeper = _keeper(study_dir)
        self._mine: Holder | None = None
        self._renewed = _now()
        self._stop = threading.Event()
        self._change = threading.Lock()
        self._lost = False
        self._failing_since: float | None = None

    def acquire(self) -> Holder | None:
        """Takes the lock and keeps it alive from a daemon thread.

        Returns:
            The dead holder that was replaced, None if there was none.

        Raises:
            Held: A live driver holds the study, or this object does already.
            RootUnsuitable: The file system has no locks.
            OSError: The folder is missing or not writable, or the store does not answer.
        """
        began, now = _now(), time.time()
        mine = Holder(
            host=socket.gethostname(),
            machine=machine(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            session="",
            since=datetime.fromtimestamp(now, UTC),
            heartbeat=now,
            token=uuid.uuid4().hex,
        )
        stale = self._keeper.take(mine)
        self._mine, self._renewed, self._lost = mine, began, False
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

    @property
    def unreachable_s(self) -> float:
        """For how long no heartbeat has got through, all of them having failed; seconds."""
        since = self._failing_since
        return 0.0 if since is None else time.monotonic() - since

    def confirm(self) -> None:
        """Makes sure that nobody can have taken the study over; called right before records get their names.

        This costs nothing while heartbeats go out. After a pause, of the process or of the whole machine, it is they
        that tell whether the study is still held.

        Raises:
            Held: Another driver took the study over, or it is not held.
            OSError: The lock cannot be reached: nobody can tell, so nothing must be written now.
        """
        if not self._is_fresh():
            self._renew()
        if self._lost or self._mine is None:
            raise Held(
                f"who writes records must hold the study, but another driver has taken {self._study_dir.name} over, "
                "because this one gave no sign of life. Nothing was written since; let the other one go on"
            )

    def release(self) -> None:
        """Gives the lock back; without effect when it is not held or was lost. Where that fails, it grows stale."""
        self._stop.set()
        with self._change, contextlib.suppress(OSError):
            mine, self._mine = self._mine, None
            if mine is not None:
                self._keeper.give_back(mine)

    def __enter__(self) -> StudyLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(identity.HEARTBEAT_S):
            try:
                self._renew()
                self._failing_since = None
            except OSError:  # a full disk or a sleeping server: the next beat may pass
                self._failing_since = self._failing_since or time.monotonic()

    def _renew(self, session: str | None = None) -> None:
        with self._change:
            if self._mine is None or self._lost:
                return
            began = _now()
            renewed = replace(
                self._mine,
                started=psutil.Process().create_time(),
                heartbeat=time.time(),
                session=session or self._mine.session,
            )
            if self._keeper.renew(renewed, self._is_fresh):
                self._mine, self._renewed = renewed, began
            else:
                self._lost = True

    def _is_fresh(self) -> bool:
        """Whether the last sign of life is so young that nobody can have taken this holder for dead."""
        return max(now - then for now, then in zip(_now(), self._renewed, strict=True)) < identity.STALE_AFTER_S / 2


def holder(study_dir: Place) -> Holder | None:
    """The live driver of a study, None if there is none.

    Args:
        study_dir: Folder of the study.

    Raises:
        OSError: The store does not answer, or the folder cannot be read.
    """
    return _keeper(study_dir).holder()


def _keeper(study_dir: Place) -> FileLock | Claims:
    return FileLock(study_dir / "lock") if isinstance(study_dir, Path) else Claims(study_dir / "lock")


def _now() -> tuple[float, float]:
    """Two clocks: one that goes on in sleep, and the wall's, which also shows that a virtual machine stood still."""
    return time.clock_gettime(_CLOCK), time.time()
