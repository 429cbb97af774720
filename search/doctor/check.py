"""What a look at a part of the installation found, and looks that end in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from results.environment import mask

LIMIT_S = 60.0
"""What has not answered after so long does not answer; seconds."""


TIDY_S = 5.0
"""After Ctrl-C a look gets so long to end, and to clear away what it wrote; seconds."""

CLIENT = "client"
"""What stands for a node where a check was made outside the cluster."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """A study can run, but not as well as it might."""
    FAILED = "failed"
    """A study cannot run, or not as it was asked to."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is, in a word or two: ``root``, ``data``.
        state: Whether it is as a study needs it.
        found: What was found.
        remedy: What to do, as sentences; empty where it is ok.
        node: The machine of the cluster; empty for the one on which a study's driver would run.
    """

    name: str
    state: State
    found: str
    remedy: str = ""
    node: str = ""

    @property
    def said(self) -> str:
        """What was found, and what to do about it; without a full stop."""
        return f"{self.found}. {self.remedy}" if self.remedy else self.found


Look = Callable[[], Iterable[Check]]
"""What makes checks when it is called."""


def ok(name: str, found: str) -> Check:
    """A check that found what a study needs."""
    return Check(name, State.OK, found)


def warning(name: str, found: str, remedy: str) -> Check:
    """A check that found something that is not good, but does not stop a study."""
    return Check(name, State.WARNING, found, remedy)


def failed(name: str, found: str, remedy: str) -> Check:
    """A check that found why a study cannot run."""
    return Check(name, State.FAILED, found, remedy)


def explained(name: str, error: Exception) -> Check:
    """A failed check from an error that says what is wrong in its first sentence, and then what to do."""
    found, _, remedy = (str(error).strip() or type(error).__name__).partition(". ")
    return failed(name, mask(found), mask(remedy))


def in_time(name: str, look: Look, limit_s: float = LIMIT_S) -> list[Check]:
    """The checks that a look gives; a failed one in their place where it takes too long or breaks.

    Args:
        name: What to call the failed check.
        look: May wait for a disk or for the network; where it hangs, it is left behind in a thread of its own.
        limit_s: How long it may take; seconds.
    """
    done: list[list[Check]] = []
    ended = threading.Event()

    def run() -> None:
        try:
            done.append(list(look()))
        except Exception as error:  # a check never ends the others, whatever it meets
            done.append([explained(name, error)])
        ended.set()

    try:
        threading.Thread(target=run, name=f"check {name}", daemon=True).start()  # may be where Ctrl-C breaks in
        ended.wait(limit_s)
    except KeyboardInterrupt:
        ended.wait(TIDY_S)
        raise
    if done:
        return done[0]
    return [failed(name, f"no answer in {limit_s:.3g} s", "See whether the disk or the server behind it is alive")]
