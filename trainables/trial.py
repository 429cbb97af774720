"""The trial as Ray Tune sees it; with ``distributed`` the only module here that knows ray."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from trainables.memory import let_go, shortage
from trainables.session import TrialConfig, TrialSession, out_of_memory
from trainables.storage import Folder

if TYPE_CHECKING:
    from trainables.engine.ranks import Ranks

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
    Whose folders may lie on an object store inherits from it, and says in ``place`` how to get at them. Who sets terms
    to machines raises in ``admit`` on one that must not train.
    """

    place: Callable[[str], Folder] = Path
    admit: Callable[[dict[str, Any] | None], None] = staticmethod(lambda terms: None)
    ranks: Ranks | None = None  # who trains together; None for this process alone

    def setup(self, config: dict[str, Any]) -> None:  # Any: JSON; checked by TrialConfig
        """Starts or continues the trial of a config as ``TrialConfig.to_dict`` gives it, or ``PLACEHOLDER``."""
        _use_one_interop_thread()
        self._config = None if config == PLACEHOLDER else TrialConfig.from_dict(config)
        self._session = None  # the last trial's memory and processes go before the next one's come
        self._shortage: str | None = None
        if self._config is not None:
            self.admit(self._config.terms)
            let_go(self._config.device)
            with self._short_of_memory():
                self._session = TrialSession(self._config, self.place, self.ranks)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turns the actor to another trial; always possible."""
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Lets go of the trial, and of the processes that decode for it."""
        self._session = None

    def step(self) -> dict[str, Any]:
        """The next report, as :meth:`TrialSession.advance` gives it, under ``REPORT_KEY``.

        Where memory is lacking, the report says so, and the actor is sound for the next trial.
        """
        if self._config is None:
            time.sleep(PLACEHOLDER_STEP_S)
            return {}
        if self._session is not None:
            with self._short_of_memory():
                return {REPORT_KEY: [self._session.advance()]}
        report = out_of_memory(self._config, self._shortage or "")
        self._session = None
        let_go(self._config.device)
        return {REPORT_KEY: [report]}

    @contextlib.contextmanager
    def _short_of_memory(self) -> Iterator[None]:
        """Lets an error that says so pass as a report; any other goes on."""
        try:
            yield
        except Exception as error:
            self._shortage = shortage(error)
            if self._shortage is None:
                raise


def _use_one_interop_thread() -> None:
    import torch

    if torch.get_num_interop_threads() != 1:  # it may be set only once in a process
        torch.set_num_interop_threads(1)
