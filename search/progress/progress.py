"""The driver's side of the display: looks at the conductor, and says what there is to see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from results.schema import Stage
from search.progress.snapshot import Snapshot

if TYPE_CHECKING:
    from search.conductor import Conductor


class Shown(Protocol):
    """Where progress is shown: a display here, or the log of a job."""

    every_s: float

    def phase(self, text: str) -> None:
        """A new part of the work begins."""

    def note(self, text: str) -> None:
        """A line that stays."""

    def show(self, snapshot: Snapshot) -> None:
        """Where the study stands now."""

    def result(self, text: str) -> None:
        """What was asked for: goes to stdout."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class Progress:
    """What a driver tells; use it as a context manager around the run.

    Args:
        shown: Where it is shown.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._conductor: Conductor | None = None
        self._began = time.monotonic()
        self._done_before = 0
        self._last = -shown.every_s

    def __enter__(self) -> Progress:
        self._shown.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._conductor is not None:
            self._shown.show(self._snapshot(self._conductor))
        self._shown.__exit__(*exception)

    def phase(self, text: str) -> None:
        """A new part of the work begins."""
        self._shown.phase(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._shown.note(text)

    def watch(self, conductor: Conductor) -> None:
        """From now on this study is shown."""
        self._began = time.monotonic()
        self._done_before = self._snapshot(conductor).done
        self._conductor = conductor

    def update(self, waits_for: str | None = None) -> None:
        """To be called often; shows the study now and then.

        Args:
            waits_for: What has to come before any trial can run, a sentence without a full stop.
        """
        if self._conductor is None:
            return
        self.phase(waits_for or _phase_of(self._conductor))
        if time.monotonic() - self._last >= self._shown.every_s:
            self._last = time.monotonic()
            self._shown.show(self._snapshot(self._conductor))

    def _snapshot(self, conductor: Conductor) -> Snapshot:
        return Snapshot.of(conductor, elapsed_s=time.monotonic() - self._began, done_before=self._done_before)


def _phase_of(conductor: Conductor) -> str:
    """What is being done, by the trials that still run; before and between them, by what came last."""
    stages = [trial.stage for trial in conductor.history.unfinished()]
    if not stages:
        stages = [trial.stage for trial in list(conductor.history.trials.values())[-1:]]
    if conductor.agenda.spent and not conductor.finished:
        return "finishing what has begun: the budget of trials is used up"
    words = {Stage.TEACH: "training the teachers", Stage.CONFIRM: "confirming the best on fresh seeds"}
    return next((words[stage] for stage in words if stage in stages), "exploring")
