"""Rule: what the conductor asks of a stopping rule, and the rule that a study file's settings stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from search import settings as sections
from search.stopping.asha import PromotionAsha, StoppingAsha
from search.stopping.decision import Decision
from search.stopping.hyperband import Hyperband
from search.stopping.median import MedianRule
from search.stopping.none import NoRule
from search.stopping.rung import Rung


class Rule(Protocol):
    """When trials meet, and what is said to them there. Keeps nothing: every answer follows from the arguments."""

    @property
    def pauses(self) -> bool:
        """Whether trials wait at rungs, to be promoted."""

    def bracket(self, number: int) -> int:
        """The bracket of the arm's trial ``number`` (0-based); only trials of one bracket are compared."""

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """The epochs at which the trials of a bracket are compared, ascending; all below the full length."""

    def score(self, values: Sequence[float]) -> float:
        """What a trial is compared by, and what is recorded: from its metric after each epoch up to the rung."""

    def decide(self, rung: Rung, value: float) -> Decision:
        """What is said to a trial that reached a rung.

        Args:
            rung: Those that reached it before, in the same arm and bracket, whatever was said to them.
            value: The trial's score. One that is not finite stops it.

        Returns:
            CONTINUE, STOP or, if the rule pauses, PAUSE instead of CONTINUE.
        """

    def promotable(self, rung: Rung) -> str | None:
        """The trial waiting at this rung that should go on now; None if there is none."""


def rule_of(settings: sections.Stopping, *, epochs: int, mode: str) -> Rule:
    """The rule that these settings describe.

    Args:
        settings: Section ``stopping`` of a study file.
        epochs: Length of a whole run.
        mode: ``max`` if larger values of the metric are better, ``min`` if smaller.

    Raises:
        ValueError: The settings do not fit the length of the run.
    """
    match settings:
        case sections.Asha(form="stopping", grace_epochs=grace, reduction_factor=factor):
            return StoppingAsha(grace_epochs=grace, reduction_factor=factor, epochs=epochs, mode=mode)
        case sections.Asha(grace_epochs=grace, reduction_factor=factor):
            return PromotionAsha(grace_epochs=grace, reduction_factor=factor, epochs=epochs, mode=mode)
        case sections.Hyperband(grace_epochs=grace, reduction_factor=factor, brackets=brackets):
            return Hyperband.of(
                grace_epochs=grace, reduction_factor=factor, epochs=epochs, mode=mode, brackets=brackets
            )
        case sections.Median(grace_epochs=grace, interval_epochs=interval, min_trials=least):
            return MedianRule(grace_epochs=grace, interval_epochs=interval, min_trials=least, epochs=epochs, mode=mode)
        case sections.NoStopping():
            return NoRule(mode=mode)
