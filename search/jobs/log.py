"""Reading the log of a job: what it says about the display is shown as here, all else as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from search.progress.display import Display
from search.progress.job_log import END_OF_RESULT, PHASE, RESULT, SNAPSHOT, marked
from search.progress.snapshot import Snapshot

SAVED = "Stopped. Nothing that was recorded is lost."
"""What a driver says when it was stopped, and all is safe."""
WAITS = "the job waits for its start on the head"
"""What there is to say of a job that has not written anything."""

_OF_RAY = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+\t\w+ job_manager\.py|(?P<begins>Running entrypoint for job )")
"""How the lines begin that Ray writes before the job's own."""
_STARTS = "starting the driver"


class JobLogReader:
    """Takes a log in pieces, and shows it.

    Args:
        display: Where.

    Attributes:
        characters: So many were taken.
        saved: Whether the driver said that it was stopped in order.
    """

    def __init__(self, display: Display) -> None:
        self.characters = 0
        self.saved = False
        self._display = display
        self._rest = ""
        self._result: list[str] | None = None
        self._last_at = 0.0
        self._held: Snapshot | None = None

    def take(self, piece: str) -> None:
        """Shows the lines that this piece completes."""
        self.characters += len(piece)
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """The log has ended, perhaps within a line."""
        if self._rest:
            self.take("\n")
        if self._result is not None:  # killed while it wrote
            self._end_result()
        self._show_held()

    def _line(self, line: str) -> None:
        found = marked(line)
        if found is None or found[0] != SNAPSHOT:
            self._show_held()
        if found is not None:
            self._marked(*found)
        elif self._result is not None:
            self._result.append(line)
        elif of_ray := _OF_RAY.match(line):
            if of_ray["begins"]:
                self._display.phase(_STARTS)
        else:
            self.saved = self.saved or line.startswith(SAVED)
            self._display.note(line)

    def _marked(self, kind: str, values: dict[str, Any]) -> None:  # Any: JSON
        if kind == PHASE:
            self._display.phase(str(values.get("text")))
        elif kind == SNAPSHOT:
            self._held = _snapshot(values)
            if self._held is not None and self._held.at - self._last_at >= self._display.every_s:
                self._show_held()
        elif kind == RESULT:
            self._result = []
        elif kind == END_OF_RESULT:
            self._end_result()

    def _show_held(self) -> None:
        """Shows the last snapshot if it came too soon after the one before; called where the study goes another way."""
        if self._held is not None:
            self._last_at = self._held.at
            self._display.show(self._held)
            self._held = None

    def _end_result(self) -> None:
        self._display.result("".join(f"{line}\n" for line in self._result or ()))
        self._result = None


def last_snapshot(log: str) -> Snapshot | None:
    """The last snapshot that a log holds, None if there is none."""
    found = (_snapshot(values) for kind, values in _all_marked(log) if kind == SNAPSHOT)
    return next((shot for shot in found if shot is not None), None)


def last_phase(log: str) -> str:
    """What a job said last that it is doing; that it waits for its start if it said nothing."""
    said = next((str(values.get("text")) for kind, values in _all_marked(log) if kind == PHASE), None)
    return said or (_STARTS if log else WAITS)


def _all_marked(log: str) -> Iterator[tuple[str, dict[str, Any]]]:  # Any: JSON
    """The lines that the display is drawn from, the last first."""
    return (found for line in reversed(log.splitlines()) if (found := marked(line)) is not None)


def _snapshot(values: dict[str, Any]) -> Snapshot | None:  # Any: JSON
    """The snapshot; None if it is one of another version of thermotune, which is not understood here."""
    try:
        return Snapshot.from_json(values)
    except (TypeError, KeyError, AttributeError):
        return None
