"""Samplers that are blind to results: independent draws, the Sobol sequence, the grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from search.samplers.region import Region, place
from search.samplers.request import Proposal, Request, arm_seed
from spaces import Scalar

BLOCK = 64
"""Points of the Sobol sequence made at a time; a power of two, which is what the sequence is balanced over."""

MOST_MISSES = 10_000
"""Points of the sequence in a row that may break a requirement."""


def random(request: Request) -> Proposal:
    """An even draw, a function of seed, arm and number alone where no point can come twice."""
    return request.at_random(f"random draw {request.number + 1}")


def sobol(request: Request) -> Proposal:
    """The next point of a scrambled Sobol sequence that is feasible and was not tried.

    Source: Sobol (1967); scrambled as Matousek (1998), by SciPy. The arm draws its scrambling once.
    """
    sequence = _sequence(request.region, request.seed, request.arm)
    if not request.region.can_repeat:
        indices = range(request.number, request.number + 1)
    else:
        indices = range(4 * len(request.tried) + 4 * BLOCK)
    for index in indices:
        point = sequence.point(index)
        if point is None:
            break
        if not request.region.can_repeat or place(point) not in request.tried:
            return Proposal(dict(point), f"point {index + 1} of the Sobol sequence")
    return request.at_random("drawn at random: the Sobol sequence found nothing new")


def grid(request: Request) -> Proposal:
    """The next point of a finite space that was not tried, in an order that the arm draws once."""
    points, tried = request.region.points, request.tried
    left = [index for index in _order(request.region, request.seed, request.arm) if place(points[index]) not in tried]
    if not left:
        return request.at_random("grid point")
    return Proposal(dict(points[left[0]]), f"grid point {len(points) - len(left) + 1} of {len(points)}")


class _Sequence:
    """The feasible points of a Sobol sequence, made as far as they were asked for."""

    def __init__(self, region: Region, seed: int) -> None:
        from scipy.stats import qmc

        self._region = region
        self._engine = qmc.Sobol(len(region.axes), scramble=True, seed=np.random.default_rng(seed))
        self._points: list[dict[str, Scalar]] = []
        self._misses = 0

    def point(self, index: int) -> dict[str, Scalar] | None:
        """The point at a 0-based index; None where the requirements leave next to nothing of the space."""
        while index >= len(self._points):
            if self._misses >= MOST_MISSES:
                return None
            found = [point for point in map(self._region.at, self._engine.random(BLOCK)) if self._region.allows(point)]
            self._misses = 0 if found else self._misses + BLOCK
            self._points += found
        return self._points[index]


@lru_cache(maxsize=64)
def _sequence(region: Region, seed: int, arm: str) -> _Sequence:
    return _Sequence(region, arm_seed(seed, arm))


@lru_cache(maxsize=64)
def _order(region: Region, seed: int, arm: str) -> list[int]:
    return [int(index) for index in np.random.default_rng(arm_seed(seed, arm)).permutation(len(region.points))]
