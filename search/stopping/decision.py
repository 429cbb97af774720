"""What a stopping rule says about a trial, and what the rules have in common that say it once, on arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from results.schema import Verdict
from search.stopping.rung import Rung


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, with all that it was based on.

    Attributes:
        verdict: Whether the trial goes on, ends or waits.
        cutoff: The value needed to go on; None where the rule compares with none, or with too few.
        rank: 1-based rank among the ``n``; equal values share the better rank.
        n: Trials at the rung so far, this one included.
    """

    verdict: Verdict
    cutoff: float | None
    rank: int
    n: int


class OnArrival:
    """A rule without brackets that decides once, when a trial comes to a rung, by the newest value of its metric."""

    pauses = False

    def bracket(self, number: int) -> int:
        """As ``Rule.bracket``: there is only one."""
        return 0

    def score(self, values: Sequence[float]) -> float:
        """As ``Rule.score``: the newest value."""
        return values[-1]

    def promotable(self, rung: Rung) -> str | None:
        """As ``Rule.promotable``: nobody waits."""
        return None
