"""No stopping: every trial runs to its end."""

from __future__ import annotations

from dataclasses import dataclass

from results.schema import Verdict
from search.stopping.decision import Decision, OnArrival
from search.stopping.rung import Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRule(OnArrival):
    """The rule that stops nobody.

    Attributes:
        mode: ``max`` if larger values are better, ``min`` if smaller.
    """

    mode: str

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """As ``Rule.rungs``: none."""
        return ()

    def decide(self, rung: Rung, value: float) -> Decision:
        """As ``Rule.decide``: CONTINUE, should anybody ask."""
        return Decision(Verdict.CONTINUE, None, rung.rank(value, self.mode), len(rung) + 1)
