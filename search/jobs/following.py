"""Being attached to a job: its display is drawn here, and its end becomes the end of this command."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

from search.errors import EXIT_RESUMABLE
from search.jobs.job import Job
from search.jobs.log import WAITS, JobLogReader
from search.jobs.server import JobServer, ServerAway, ServerRefused
from search.progress.display import Display

GIVE_UP_S = 600.0
"""A job server that does not answer for so long is given up; the study may well go on."""
LOOK_EVERY_S = 3.0
"""Where a log cannot be read as it is written, it is looked at once in so many seconds."""
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0


def follow(server: JobServer, name: str, display: Display) -> tuple[Job, JobLogReader]:
    """Shows what a job writes until it ends; a connection that is lost is taken up again where it broke.

    Args:
        server: Of the cluster.
        name: The job's id.
        display: Where it is shown; must be entered.

    Returns:
        The job that has ended, and what its log said.

    Raises:
        ServerAway: The job server has not answered for ``GIVE_UP_S``.
        ServerRefused: For so long it could not read the log of the job, which runs.
        JobUnknown: The cluster knows the job no more: its head was started anew.
        KeyboardInterrupt: Ctrl-C. The job goes on.
    """
    return asyncio.run(_follow(server, name, display))


async def _follow(server: JobServer, name: str, display: Display) -> tuple[Job, JobLogReader]:
    reader = JobLogReader(display)
    away = _Away(display.note)
    while True:
        before = reader.characters
        try:
            job = await asyncio.to_thread(_look, server, name, reader, display)
        except (ServerAway, ServerRefused) as error:
            await asyncio.sleep(away.pause_after(error))
            continue
        away.is_over()
        if not job.is_active:
            reader.close()
            return job, reader
        if job.state == "PENDING":
            display.phase(WAITS)
        with contextlib.suppress(ServerAway):  # where a proxy lets no websocket through, or cuts it, looks must do
            await _tail(server, name, reader)
        if reader.characters == before:
            await asyncio.sleep(LOOK_EVERY_S)


def _look(server: JobServer, name: str, reader: JobLogReader, display: Display) -> Job:
    """Where a job stands, after what it wrote and was not read yet: of a job that has ended, this is all."""
    job = server.job(name)
    try:
        log = server.log(name)
    except ServerRefused as error:  # for example, a log that is not in UTF-8
        if job.is_active:
            raise
        display.note(f"The last lines of the log cannot be read: {error}")
    else:
        reader.take(log[reader.characters :])
    return job


async def _tail(server: JobServer, name: str, reader: JobLogReader) -> None:
    """What a job writes from now on, until the connection ends, for whatever reason; it always begins at the start."""
    known = reader.characters
    async for piece in server.tail(name):
        reader.take(piece[known:])
        known = max(0, known - len(piece))


class _Away:
    """How long a server has been away; says it once, and when it is back."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._since: float | None = None
        self._pause_s = FIRST_PAUSE_S

    def pause_after(self, error: ServerAway | ServerRefused) -> float:
        """Seconds to wait before the next try."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause_s = now, FIRST_PAUSE_S
            self._say(f"The connection to the cluster is lost; the study may well go on. Trying again ({error})")
        elif now - self._since > GIVE_UP_S:
            raise error
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        return self._pause_s

    def is_over(self) -> None:
        if self._since is not None:
            self._say(f"The cluster answers again, after {time.monotonic() - self._since:.0f} s.")
            self._since = None


def exit_code(job: Job) -> int:
    """What a command that was attached to a job ends with: as the driver did."""
    if job.state == "STOPPED":
        return EXIT_RESUMABLE
    if job.exit_code is None:
        return 0 if job.state == "SUCCEEDED" else 1
    return job.exit_code if job.exit_code >= 0 else 128 - job.exit_code


def farewell(job: Job, *, saved: bool, resume: str) -> str:
    """What is to be said about the end of a job that its own log cannot say; empty if nothing is.

    Args:
        job: Has ended.
        saved: Whether its driver said that it was stopped in order.
        resume: The command that continues the study.
    """
    if job.state == "STOPPED" and not saved:
        return f"The job was stopped before it could save all. What was recorded is safe. Continue with:\n  {resume}"
    if job.exit_code is not None and job.exit_code < 0:
        number = -job.exit_code
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return f"The driver was killed ({name}). What was recorded is safe. Continue with:\n  {resume}"
    if job.exit_code is None and job.state == "FAILED":
        said = job.message.strip()
        return f"The job could not go on: {said}\nWhat was recorded is safe. Continue with:\n  {resume}"
    return ""
