"""Rung: the values with which trials reached an epoch, kept in order so that a question costs a bisection."""

from __future__ import annotations

import math
from bisect import bisect_left, insort

Met = tuple[float, int]
"""A finite value, and which arrival at the rung brought it; so ordered, equal values come in the order of arrival."""


class Rung:
    """The values with which trials met a rung, and which of these trials wait there.

    Knows no direction: every question says whether larger (``mode="max"``) or smaller (``"min"``) values are better.
    Values that are not finite count as worse than all finite ones, in both directions, and as equal to each other.
    A question takes O(log n) comparisons; taking a value in also moves up to n pointers, microseconds at n = 10,000.

    Example:
        >>> rung = Rung()
        >>> for trial, value in {"t0001": 0.9, "t0002": 0.7, "t0003": float("nan")}.items():
        ...     rung.add(trial, value)
        >>> rung.rank(0.8, "max"), rung.rank(0.7, "max"), rung.nth_best(1, "min")
        (2, 2, 0.7)
    """

    def __init__(self) -> None:
        self._trials: list[str] = []  # in order of arrival
        self._met: dict[str, Met] = {}
        self._finite: list[Met] = []  # ascending
        self._waiting: list[Met] = []  # ascending; a part of the finite ones

    def __len__(self) -> int:
        return len(self._trials)

    def add(self, trial: str, value: float, *, waits: bool = False) -> None:
        """Takes in that a trial met the rung.

        Args:
            trial: Its name.
            value: What it is compared by.
            waits: Whether it is paused here, to be promoted or never.

        Raises:
            ValueError: The trial has met the rung before, or it is to wait with a value that is not finite.
        """
        if trial in self._met:
            raise ValueError(f"a trial meets a rung once, but {trial} came again with {value}")
        if waits and not math.isfinite(value):
            raise ValueError(f"a trial that waits must have a finite value, but {trial} has {value}")
        met = (value, len(self._trials))
        self._trials.append(trial)
        self._met[trial] = met
        if math.isfinite(value):
            insort(self._finite, met)
        if waits:
            insort(self._waiting, met)

    def promote(self, trial: str) -> None:
        """A trial that waited goes on.

        Raises:
            ValueError: It does not wait here.
        """
        if not self._waits_no_longer(trial):
            raise ValueError(f"only a trial that waits at the rung can be promoted, and {trial} does not")

    def leave(self, trial: str) -> None:
        """A trial ended: it waits no longer, and its value stays. Nothing happens if it did not wait here."""
        self._waits_no_longer(trial)

    def _waits_no_longer(self, trial: str) -> bool:
        met = self._met.get(trial)
        if met is None:
            return False
        at = bisect_left(self._waiting, met)
        if self._waiting[at : at + 1] != [met]:
            return False
        del self._waiting[at]
        return True

    def value_of(self, trial: str) -> float:
        """The value with which a trial met the rung.

        Raises:
            KeyError: It has not.
        """
        return self._met[trial][0]

    def rank(self, value: float, mode: str) -> int:
        """The 1-based rank that a value would get among the ``len + 1`` if it came now; equals share the better one."""
        if not math.isfinite(value):
            return len(self._finite) + 1
        if mode == "max":
            return len(self._finite) - self._up_to(value) + 1
        return self._below(value) + 1

    def nth_best(self, n: int, mode: str) -> float:
        """The ``n``-th best value; minus (``max``) or plus infinity (``min``) where that is not a finite one.

        Args:
            n: 1-based place, at most ``len``.
            mode: Which way is better.

        Raises:
            IndexError: So many have not come.
        """
        if not 1 <= n <= len(self):
            raise IndexError(f"n must be in 1..{len(self)}, the values at the rung, got {n}")
        if n > len(self._finite):
            return -math.inf if mode == "max" else math.inf
        return self._finite[-n if mode == "max" else n - 1][0]

    def best_waiting(self, mode: str) -> str | None:
        """The best of the trials that wait; of equals, the one that came first; None if nobody waits."""
        if not self._waiting:
            return None
        # The largest value may stand there several times; the first of them came first.
        at = bisect_left(self._waiting, (self._waiting[-1][0], -1)) if mode == "max" else 0
        return self._trials[self._waiting[at][1]]

    def place(self, trial: str, mode: str) -> int:
        """The 1-based place of a trial among all at the rung; no two share one, the earlier of equals comes first.

        Args:
            trial: One with a finite value.
            mode: Which way is better.

        Raises:
            KeyError: The trial has not met the rung.
        """
        value, arrival = self._met[trial]
        assert math.isfinite(value), f"{trial} has no place of its own with {value}"
        earlier_equals = bisect_left(self._finite, (value, arrival)) - self._below(value)
        return self.rank(value, mode) + earlier_equals

    def _below(self, value: float) -> int:
        """How many finite values are smaller."""
        return bisect_left(self._finite, (value, -1))

    def _up_to(self, value: float) -> int:
        """How many finite values are smaller or equal."""
        return bisect_left(self._finite, (value, len(self._trials)))
