"""An answer about a study that is worked out anew only when its records have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from results.lock import holder
from results.places import Place, names_in
from results.schema import ROW_TYPES
from results.store import table_dir

LOOK_EVERY_S = 2.0
"""The records are looked at no more often; seconds."""
REST = 3.0
"""After an answer was worked out, rest so many times as long: the processors are there for the training."""
LONGEST_REST_S = 6.0
"""But no longer; seconds."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Edition(Generic[T]):
    """An answer as it was worked out at some time."""

    number: int
    """Counts the answers, from 1."""
    answer: T


class Latest(Generic[T]):
    """The newest answer, for any number of threads: one of them works it out, the others wait for it."""

    def __init__(self, study_dir: Place, make: Callable[[], T], *, look_every_s: float = LOOK_EVERY_S) -> None:
        """Nothing is read yet.

        Args:
            study_dir: Folder of the study.
            make: Works the answer out, from the records of that study.
            look_every_s: For at least so long an answer is taken for the newest; seconds.
        """
        self._study_dir = study_dir
        self._make = make
        self._look_every_s = look_every_s
        self._lock = threading.Lock()
        self._look_again_at = -float("inf")
        self._seen: object = None
        self._edition: Edition[T] | None = None

    def get(self) -> Edition[T]:
        """The answer to the records as they are now, or were moments ago.

        Raises:
            Exception: What ``make`` raised; the next call tries again.
        """
        with self._lock:
            if self._edition is None or time.monotonic() >= self._look_again_at:
                began = time.monotonic()
                seen = _look(self._study_dir)  # before the answer: what is written meanwhile will be another sight
                if self._edition is None or seen != self._seen:
                    number = 1 if self._edition is None else self._edition.number + 1
                    self._edition = Edition(number, self._make())
                    self._seen = seen
                now = time.monotonic()
                rest_s = min(LONGEST_REST_S, REST * (now - began))
                self._look_again_at = now + max(self._look_every_s, rest_s)
            return self._edition


def _look(study_dir: Place) -> object:
    """What differs whenever an answer may differ: files never change under their name, and drivers come and go."""
    driver = holder(study_dir)
    return (
        [name for name in names_in(study_dir) if name.startswith("study") and name.endswith(".yaml")],
        [[name for name in names_in(table_dir(study_dir, table)) if name[0] != "."] for table in ROW_TYPES],
        None if driver is None else (driver.token, driver.session),
    )
