"""Hyperband (arXiv 1603.06560) in its asynchronous form: brackets of successive halving with longer and longer grace.

A trial belongs to one bracket and is compared only with the others of it, by the stopping form of ASHA. The paper's
brackets are run one after another; here they run side by side, and a trial's number alone says which one is its own.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from search.stopping.asha import StoppingAsha, geometric

_GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: multiples of it, modulo 2**64, fill the circle as evenly as any can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperband(StoppingAsha):
    """Brackets 0, 1, ...; bracket s meets its first rung after ``grace_epochs * reduction_factor ** s`` epochs.

    Attributes:
        brackets: How many, from 1 to one more than there are rungs; the last of so many never stops a trial.
    """

    brackets: int

    @classmethod
    def of(cls, *, grace_epochs: int, reduction_factor: int, epochs: int, mode: str, brackets: int | None) -> Hyperband:
        """The rule; ``brackets`` None stands for as many as there can be.

        Raises:
            ValueError: There cannot be so many brackets.
        """
        most = len(geometric(grace_epochs, reduction_factor, epochs)) + 1
        if brackets is not None and brackets > most:
            raise ValueError(
                f"brackets must be at most {most} with {epochs} epochs, grace_epochs {grace_epochs} and "
                f"reduction_factor {reduction_factor}, got {brackets}. Leave it out for {most}"
            )
        return cls(
            grace_epochs=grace_epochs,
            reduction_factor=reduction_factor,
            epochs=epochs,
            mode=mode,
            brackets=most if brackets is None else brackets,
        )

    @property
    def weights(self) -> tuple[int, ...]:
        """Trials of each bracket in a round of the paper's, which gives about the same epochs to each.

        With s more rungs to come and at most S in any bracket, these are ``ceil((S + 1) / (s + 1) * factor ** s)``.
        """
        most = len(self.rungs())
        left = range(most, most - self.brackets, -1)
        return tuple(-(-(most + 1) * self.reduction_factor**s // (s + 1)) for s in left)

    def bracket(self, number: int) -> int:
        """The bracket of the arm's trial ``number``.

        The brackets divide a circle by their weights, and the trials go round it in steps of the golden ratio: in
        any run of successive trials each bracket has its share, but for a few, and no period meets a sampler's.
        """
        ends = list(accumulate(self.weights))
        position = (number * _GOLDEN) % 2**64
        return bisect_right(ends, position * ends[-1] >> 64)

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """As ``Rule.rungs``: the later a bracket, the fewer."""
        return geometric(self.grace_epochs, self.reduction_factor, self.epochs)[bracket:]
