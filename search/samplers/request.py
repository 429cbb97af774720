"""What is asked of a sampler, what it may know, and what it answers."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from results.schema import TrialState
from search.samplers.region import Place, Region, place
from spaces import Coordinates, Scalar

BLIND_TRIES = 100
"""Draws for a point that was not tried yet, before the points that are left are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the sampler may know of a trial.

    Attributes:
        coordinates: Where it was.
        state: Where it stands. DIVERGED and FAILED are told as worse than everything that was ever measured.
        epochs: Epochs trained.
        value: The metric after these epochs; None if nothing was measured.
    """

    coordinates: Coordinates
    state: TrialState
    epochs: int
    value: float | None

    @property
    def has_result(self) -> bool:
        """Whether it tells something: it has ended, or waits at a rung with a value, most probably for ever."""
        return self.state.is_final or self.state is TrialState.PAUSED

    @property
    def measured(self) -> float | None:
        """The value of a trial that was completed, pruned or paused; None if it has no finite one, or ended badly."""
        sound = self.state in (TrialState.COMPLETED, TrialState.PRUNED, TrialState.PAUSED)
        return self.value if sound and self.value is not None and math.isfinite(self.value) else None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Where to try next.

    Attributes:
        coordinates: A value for every active axis.
        origin: Why, in words.
    """

    coordinates: dict[str, Scalar]
    origin: str


def proposal_seed(seed: int, arm: str, number: int, attempt: int = 0) -> int:
    """A seed for one proposal of one arm, different from those of its neighbours and of its other attempts."""
    return int(np.random.SeedSequence((seed, zlib.crc32(arm.encode()), number, attempt)).generate_state(1)[0])


def arm_seed(seed: int, arm: str) -> int:
    """A seed for what an arm draws once, such as the order of a grid."""
    return int(np.random.SeedSequence((seed, zlib.crc32(arm.encode()))).generate_state(2)[1])


@dataclass(frozen=True, kw_only=True)
class Request:
    """One proposal that is wanted.

    Attributes:
        region: Where it may lie.
        observations: Trials of the arm in the order in which they were proposed, unfinished ones among them. Blind
            samplers do not look at them where no point can come twice.
        known: Trials of an earlier study, for samplers that learn.
        mode: ``max`` if larger values are better, ``min`` if smaller.
        seed: Seed of the search.
        arm: Name of the arm, so that arms do not draw the same numbers.
        number: 0-based number of the proposal within the arm.
    """

    region: Region
    observations: Sequence[Observation]
    known: Sequence[Observation]
    mode: str
    seed: int
    arm: str
    number: int

    @cached_property
    def history(self) -> list[Observation]:
        """All that a model learns from: observations that lie in the space, those of the earlier study first."""
        return [seen for seen in (*self.known, *self.observations) if self.region.holds(seen.coordinates)]

    @cached_property
    def tried(self) -> set[Place]:
        """Where the arm has been."""
        return {place(seen.coordinates) for seen in self.observations}

    def attempt_seed(self, attempt: int) -> int:
        """The seed of one attempt to find a point; the first is the proposal's own."""
        return proposal_seed(self.seed, self.arm, self.number, attempt)

    def loss(self, value: float) -> float:
        """A value turned so that smaller is better."""
        return -value if self.mode == "max" else value

    def first_new(self, draw: Callable[[int], dict[str, Scalar]], tries: int, origin: str) -> Proposal:
        """The first draw of a model that is feasible and new; if there is none, a feasible new point at random.

        Args:
            draw: Gives coordinates for a seed.
            tries: Draws at most.
            origin: Why such a draw is proposed.
        """
        for attempt in range(tries):
            coordinates = draw(self.attempt_seed(attempt))
            if self.region.allows(coordinates) and all(seen.coordinates != coordinates for seen in self.observations):
                return Proposal(coordinates, origin)
        return self.at_random(f"drawn at random: the model found nothing new in {tries} tries", attempt=tries)

    def at_random(self, origin: str, attempt: int = 0) -> Proposal:
        """A feasible point drawn evenly, and not tried yet as long as there are others."""
        region, rng = self.region, np.random.default_rng(self.attempt_seed(attempt))
        drawn = region.draw(rng)
        if not region.can_repeat:
            return Proposal(drawn, origin)
        for _ in range(BLIND_TRIES):
            if place(drawn) not in self.tried:
                return Proposal(drawn, origin)
            drawn = region.draw(rng)
        left = [point for point in region.points if place(point) not in self.tried]
        if left:
            return Proposal(left[int(rng.integers(len(left)))], origin)
        every = "every point of the space" if region.points else f"all of {BLIND_TRIES} points drawn"
        return Proposal(drawn, f"drawn at random again: {every} had been tried")
