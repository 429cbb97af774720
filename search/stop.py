"""Stopping in order: the first SIGINT or SIGTERM saves, the second ends the process on the spot."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from search.errors import EXIT_RESUMABLE

SAME_SIGNAL_S = 1.0
"""``timeout`` and others signal a process and its group: signals so close together are one; seconds."""
STUCK_AFTER_S = 10.0
"""The process ends by itself if it does not come to a stop within so many seconds, because Ray hangs."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The driver stops before the study is complete; it can be resumed. Its text says why: a signal, the budget."""


class Stop:
    """Listens for signals while a study runs; use it as a context manager in the main thread.

    Args:
        farewell: What to say where the process has to end on the spot, because Ray hangs.
        resumable: Whether it then ends with the exit code for that, or with the signal's.

    Attributes:
        last_words: What to record, given the signal's name or another reason, if the main thread hangs in Ray: where a
            signal hits the whole process group, Ray's own processes die of it, and calls to them return after a minute
            or never.
    """

    def __init__(self, farewell: str, *, resumable: bool = True) -> None:
        self.last_words: Callable[[str], None] = lambda name: None
        self._farewell = farewell
        self._resumable = resumable
        self._why: str | None = None
        self._code = EXIT_RESUMABLE
        self._since = 0.0
        self._watchdog: threading.Timer | None = None
        self._stopped = False

    def __enter__(self) -> Stop:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Takes the signals, at first or back from somebody who put handlers of their own in place."""
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def check(self) -> None:
        """Raises Interrupted once there was a signal, or another reason to stop."""
        if self._why is not None:
            raise Interrupted(self._why)

    def checking(self, show: Callable[[str], None]) -> Callable[[str], None]:
        """The same function, but it raises Interrupted once there was a signal."""

        def checked(text: str) -> None:
            self.check()
            show(text)

        return checked

    def done(self) -> None:
        """The main thread came to a stop by itself, and records its own last words."""
        self._stopped = True
        if self._watchdog is not None:
            self._watchdog.cancel()

    def request(self, number: int) -> None:
        """Asks for an orderly stop, as a signal does."""
        self._ask(signal.Signals(number).name, EXIT_RESUMABLE if self._resumable else 128 + number)

    def give_up(self, why: str) -> None:
        """Asks for an orderly stop that nobody ordered, from any thread; ``why`` is a sentence without a full stop."""
        self._ask(why, EXIT_RESUMABLE)

    def _ask(self, why: str, code: int) -> None:
        if self._why is None:
            self._why, self._code, self._since = why, code, time.monotonic()
            if self._stopped:
                return
            self._watchdog = threading.Timer(STUCK_AFTER_S, self._end)
            self._watchdog.daemon = True
            self._watchdog.start()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._why is None:
            self.request(number)
        elif time.monotonic() - self._since > SAME_SIGNAL_S:
            self._leave(128 + number, "")

    def _end(self) -> None:
        assert self._why is not None
        try:
            self.last_words(self._why)
        finally:
            self._leave(self._code, self._farewell)

    def _leave(self, code: int, text: str) -> None:
        shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live display hides the cursor
        os.write(sys.stderr.fileno(), f"{shown}\n{text}\n".encode())
        os._exit(code)
