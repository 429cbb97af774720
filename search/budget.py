"""What a study has used of its budget, over all its sessions."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.history import History
from search.stop import Interrupted
from search.study import Study

_HOUR_S = 3600.0
_KEYS = {"wall hours": "wall_hours", "GPU hours": "gpu_hours", "trials": "trials"}


def key_of(spent: str) -> str:
    """The key of the section budget whose limit is reached, given what ``spent`` of the meter or conductor says."""
    return next(key for words, key in _KEYS.items() if words in spent)


def more(study: str, spent: str) -> str:
    """How a study goes on whose budget is used up, given what ``spent`` of the meter or conductor says."""
    return f"Give it more, or null for no limit: resume {study} --set budget.{key_of(spent)}=..."


class BudgetUsedUp(Interrupted):
    """The driver stops because the study has used what it may use."""


class Meter:
    """Counts the hours of a running session on top of those of earlier ones.

    The budget of trials is the conductor's business, since it must end what has begun.
    """

    def __init__(
        self, study: Study, history: History, session: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts the session's clock.

        Args:
            study: Whose budget it is.
            history: Grows while the session runs.
            session: Name of the session.
            clock: Seconds; nobody may set it.
        """
        self._study = study
        self._history = history
        self._clock = clock
        self._began = clock()
        self._before_s = history.wall_time_s(without=session)

    @property
    def session_s(self) -> float:
        """How long this session has taken; s."""
        return self._clock() - self._began

    @property
    def wall_hours(self) -> float:
        """Hours of all sessions."""
        return (self._before_s + self.session_s) / _HOUR_S

    @property
    def gpu_hours(self) -> float:
        """GPU hours of all epochs on record, repeated ones too, by the GPUs that each trial was given."""
        asked = self._study.resources.gpus
        times = self._history.train_time_s.items()
        return sum(time_s * (asked if share is None else share) for share, time_s in times) / _HOUR_S

    @property
    def spent(self) -> str | None:
        """Which limit is reached, in words; None if none is."""
        budget = self._study.budget
        for used, limit, unit in (
            (self.wall_hours, budget.wall_hours, "wall hours"),
            (self.gpu_hours, budget.gpu_hours, "GPU hours"),
        ):
            if limit is not None and used >= limit:
                return f"{used:.3g} of {limit:g} {unit}"
        return None
