"""How many trials share a GPU: what a study asks for, or fewer, by the memory that trials were seen to take. Pure."""

from __future__ import annotations

import math
from typing import Any

from trainables.memory import DeviceMemory

USABLE = 0.9
"""Part of a GPU's memory that trials may take together; the rest is for CUDA's own contexts and for fragments."""

_RAY_STEPS = 10_000
"""Ray counts resources in steps of one ten-thousandth."""


def least_share(asked: float, taken: DeviceMemory | None) -> float:
    """GPUs of a trial: as many as the study asks for, or more where a trial takes more memory than its part.

    Args:
        asked: ``resources.gpus``, above 0.
        taken: The largest part of a GPU's memory that a trial took; None while none was measured.

    Returns:
        At least ``asked``; at most 1 where ``asked`` is.

    Example:
        >>> least_share(0.25, DeviceMemory(peak_bytes=24, total_bytes=80))
        0.3333
    """
    if asked >= 1 or taken is None or taken.peak_bytes == 0:
        return asked
    return max(asked, _part(int(USABLE * taken.total_bytes / taken.peak_bytes)))


def larger_share(share: float) -> float:
    """GPUs of a trial with which one trial fewer shares the GPU; 1 is the end.

    Example:
        >>> larger_share(0.25)
        0.3333
    """
    return _part(int(1 / share) - 1)


def larger(one: DeviceMemory | None, other: DeviceMemory) -> DeviceMemory:
    """The larger part of a GPU's memory, of two that were measured."""
    return other if one is None or _part_of(other) > _part_of(one) else one


class Shares:
    """What the trials of a driver session are given of a GPU, and what they were seen to take of its memory."""

    def __init__(self, asked: float, taken: DeviceMemory | None) -> None:
        """Goes on from what is on record.

        Args:
            asked: ``resources.gpus``; where it is 0, or more than 1, nothing is shared.
            taken: The largest part of a GPU's memory that a trial took in earlier sessions.
        """
        self._asked = asked
        self._taken = taken
        self._given: dict[str, float] = {}
        self._memory: dict[str, DeviceMemory] = {}

    def give(self, trial: str, least: float) -> None:
        """A trial is handed out: its share stays as it is until it is handed out again.

        Args:
            trial: Its name.
            least: The share that it needs at least.
        """
        self._memory.pop(trial, None)
        if 0 < self._asked <= 1:
            self._given[trial] = max(least, least_share(self._asked, self._taken))

    def of(self, trial: str) -> float:
        """GPUs of a trial that was handed out."""
        return self._given.get(trial, self._asked)

    @property
    def usual(self) -> float:
        """GPUs that the next trial will be given, if it has no need of its own."""
        return least_share(self._asked, self._taken)

    def note(self, trial: str, memory: DeviceMemory) -> str | None:
        """Takes in what a trial took.

        Returns:
            What it changes for later trials, a sentence without a full stop; None where it changes nothing.
        """
        before = self.usual
        self._memory[trial] = memory
        self._taken = larger(self._taken, memory)
        if self.usual == before:
            return None
        took = f"{trial} took {memory.peak_bytes / 2**30:.1f} of {memory.total_bytes / 2**30:.1f} GiB"
        return f"trials get {self.usual:.3g} GPU from now on, not {before:.3g}: {took} of its memory"

    def columns(self, trial: str) -> dict[str, Any]:
        """The columns of a TrialRow about it."""
        memory = self._memory.get(trial)
        return {
            "gpu_share": self._given.get(trial),
            "gpu_peak_bytes": None if memory is None else memory.peak_bytes,
            "gpu_total_bytes": None if memory is None else memory.total_bytes,
        }


def _part(trials: int) -> float:
    """The share of a GPU that so many trials have each, rounded down so that all of them fit."""
    return math.floor(_RAY_STEPS / max(1, trials)) / _RAY_STEPS


def _part_of(memory: DeviceMemory) -> float:
    return memory.peak_bytes / memory.total_bytes
