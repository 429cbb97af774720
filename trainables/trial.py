"""The trial as Ray Tune sees it; the only module here that knows ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from trainables.session import TrialConfig, TrialSession
from trainables.storage import Folder

REPORT_KEY = "report"
"""Key of a step's result; its value is a list with the one report, because Ray Tune flattens nested mappings."""

PLACEHOLDER = {"placeholder": True}
"""A config that trains nothing: it keeps an actor, with all that it has imported, until there is a trial for it."""
PLACEHOLDER_STEP_S = 0.05
"""Time between two reports of a placeholder; seconds."""


class StudyTrial(Trainable):  # type: ignore[misc]  # ray is not typed
    """Shows a :class:`TrialSession` to Ray Tune: config in, reports of epochs out.

    It never reports ``done``: the scheduler in the driver ends trials, because the rule and the records live there. The
    actor can be reused; what is expensive and equal between trials (torch, data on the device) stays in the process.
    Whose folders may lie on an object store inherits from it, and says in ``place`` how to get at them.
    """

    place: Callable[[str], Folder] = Path

    def setup(self, config: dict[str, Any]) -> None:  # Any: JSON; checked by TrialConfig
        """Starts or continues the trial of a config as ``TrialConfig.to_dict`` gives it, or ``PLACEHOLDER``."""
        _use_one_interop_thread()
        self._session = None  # the last trial's memory and processes go before the next one's come
        self._session = None if config == PLACEHOLDER else TrialSession(TrialConfig.from_dict(config), self.place)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns the actor to another trial; always possible."""
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Lets go of the trial, and of the processes that decode for it."""
        self._session = None

    def step(self) -> dict[str, Any]:
        """The next report, as :meth:`TrialSession.advance` gives it, under ``REPORT_KEY``."""
        if self._session is None:
            time.sleep(PLACEHOLDER_STEP_S)
            return {}
        return {REPORT_KEY: [self._session.advance()]}


def _use_one_interop_thread() -> None:
    import torch

    if torch.get_num_interop_threads() != 1:  # it may be set only once in a process
        torch.set_num_interop_threads(1)
