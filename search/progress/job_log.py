"""The display of a driver in a job: lines in the job's log, from which a client draws the display that the user sees.

What a client must tell apart is a line of JSON: ``{"thermotune": "phase", "text": ...}``, ``{"thermotune": "snapshot",
...}``, and ``{"thermotune": "result"}`` and ``{"thermotune": "end of result"}`` around what belongs to stdout, which a
job's log mixes with stderr. All else is text as it is.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import typer

from search.progress.snapshot import Snapshot

SNAPSHOT_EVERY_S = 2.0

JOB_VARIABLE = "THERMOTUNE_JOB"
"""Set in a job: its submission id."""

KIND = "thermotune"
PHASE, SNAPSHOT, RESULT, END_OF_RESULT = "phase", "snapshot", "result", "end of result"


def in_job() -> bool:
    """Whether this process is the driver of a job."""
    return bool(os.environ.get(JOB_VARIABLE))


class JobLog:
    """Writes what a display shows; in place of a ``Display``.

    Attributes:
        every_s: A snapshot is wanted once in so many seconds.
    """

    every_s = SNAPSHOT_EVERY_S

    def __init__(self) -> None:
        self._content = ""
        self._phase = ""

    def __enter__(self) -> JobLog:
        return self

    def __exit__(self, *exception: object) -> None:
        """Every line is written at once."""

    def phase(self, text: str) -> None:
        """A new part of the work begins."""
        if text != self._phase:
            self._phase = text
            self._write(PHASE, text=text)

    def note(self, text: str) -> None:
        """A line that stays."""
        sys.stderr.write(f"{text}\n")

    def show(self, snapshot: Snapshot) -> None:
        """Writes the snapshot if anything happened since the last one."""
        if snapshot.content != self._content:
            self._content = snapshot.content
            self._write(SNAPSHOT, **snapshot.to_json())

    def result(self, text: str) -> None:
        """What was asked for: goes to stdout."""
        self._write(RESULT)
        typer.echo(text, nl=not text.endswith("\n"))
        self._write(END_OF_RESULT)

    def _write(self, kind: str, **values: Any) -> None:  # Any: JSON
        sys.stderr.write(json.dumps({KIND: kind, **values}) + "\n")
        sys.stderr.flush()


def marked(line: str) -> tuple[str, dict[str, Any]] | None:
    """The kind and the values of a line that a JobLog marked; None for any other line."""
    if not line.startswith(f'{{"{KIND}": '):
        return None
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values.pop(KIND), values
