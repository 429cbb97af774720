"""Covariance matrix adaptation (CMA-ES), rebuilt from the records for every proposal.

Optuna's own sampler keeps the strategy's state in its storage, where it is no function of what was observed: the
package beneath it is used directly. Source: Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772).
"""

from __future__ import annotations

import math

import numpy as np
from cmaes import CMA

from results.schema import TrialState
from search.samplers.region import Region
from search.samplers.request import Observation, Proposal, Request, arm_seed
from search.settings import CmaEs
from spaces import Scalar

FIRST_STEP = 0.3
"""Standard deviation of the first generation in the unit cube, around its middle: nearly all of it is covered."""

TRIES = 20
"""Draws for a point that is feasible and new."""


def cmaes(sampler: CmaEs, request: Request) -> Proposal:
    """A draw from the normal distribution that the finished generations lead to.

    Finished trials are told in order of proposal, a generation at a time, each ranked by itself: completed ones by
    value, then pruned ones by epochs and value, then those that diverged or failed. With one worker this is CMA-ES
    as published; with several, a generation is made of what has finished, and drawing goes on from the newest
    distribution. Values that are listed or stepped are told where they are, after rounding.
    """
    strategy, generation = _strategy(sampler, request)
    region = request.region

    def draw(seed: int) -> dict[str, Scalar]:
        strategy.reseed_rng(seed)
        return region.at(strategy.ask())

    return request.first_new(draw, TRIES, f"generation {generation} of CMA-ES")


def _strategy(sampler: CmaEs, request: Request) -> tuple[CMA, int]:
    """The strategy after all whole generations, and the 1-based generation that it is in."""
    axes = request.region.axes
    population = sampler.population or 4 + math.floor(3 * math.log(len(axes)))
    finished = [seen for seen in request.history if seen.has_result]
    rng = np.random.default_rng(arm_seed(request.seed, request.arm))
    strategy = _start(np.full(len(axes), 0.5), population)
    generations = len(finished) // population
    for first in range(0, generations * population, population):
        ranked = sorted(finished[first : first + population], key=lambda seen: _rank(seen, request))
        strategy.tell([(_units(request.region, seen), float(rank)) for rank, seen in enumerate(ranked)])
        if strategy.should_stop():  # it has shrunk to a point: start again elsewhere
            strategy = _start(rng.random(len(axes)), population)
    return strategy, generations + 1


def _start(mean: np.ndarray, population: int) -> CMA:
    bounds = np.tile([0.0, 1.0], (len(mean), 1))
    return CMA(mean=mean, sigma=FIRST_STEP, bounds=bounds, population_size=population)


def _units(region: Region, seen: Observation) -> np.ndarray:
    return np.array([axis.dimension.encode(seen.coordinates[path]) for path, axis in region.axes.items()])


def _rank(seen: Observation, request: Request) -> tuple[int, int, float]:
    value = seen.measured
    if value is None:
        return (2, 0, 0.0)
    if seen.state is not TrialState.COMPLETED:
        return (1, -seen.epochs, request.loss(value))
    return (0, 0, request.loss(value))
