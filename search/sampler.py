"""The sampler: the next configuration from (seed, what is known, number). Pure: same arguments, same answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from search.samplers.region import region_of
from search.samplers.request import Observation, Proposal, Request, proposal_seed
from search.settings import CmaEs, Gp, Grid, Qmc, Random, Sampler, Tpe
from spaces import MOST_GRID_POINTS, Choice, LogUniform, Scalar, SearchSpace

__all__ = ["Observation", "Proposal", "proposal_seed", "propose", "unfit"]


def propose(
    space: SearchSpace,
    observations: Sequence[Observation],
    *,
    sampler: Sampler,
    mode: str,
    seed: int,
    arm: str,
    number: int,
    fixed: Mapping[str, Scalar],
    known: Sequence[Observation] = (),
) -> Proposal:
    """The coordinates to try next, and why.

    They are feasible, hold exactly the values whose conditions are met, and are none that the arm has tried as long as
    a finite space has others. Random draws, Sobol points and grid points do not look at the observations where no
    point can come twice: where some value that always counts is continuous.

    Args:
        space: What may vary. An empty space gives the only configuration there is.
        observations: Trials of the arm in the order in which they were proposed, unfinished ones among them.
        sampler: How to choose; one that :func:`unfit` says nothing against.
        mode: ``max`` if larger values are better, ``min`` if smaller.
        seed: Seed of the search.
        arm: Name of the arm, so that arms do not draw the same numbers.
        number: 0-based number of the proposal within the arm.
        fixed: Values of the arm's recipe that do not vary, by dotted path; conditions and requirements name them.
        known: Trials of an earlier study: samplers that learn start from them. Those outside the space are left out.

    Raises:
        SpaceError: The requirements leave next to nothing of the space.
    """
    request = Request(
        region=region_of(space, fixed),
        observations=observations,
        known=known,
        mode=mode,
        seed=seed,
        arm=arm,
        number=number,
    )
    if not request.region.axes:
        return Proposal({}, "the only configuration there is")
    # Each family is imported when it is used: Optuna, torch and SciPy take seconds, and most commands propose nothing.
    match sampler:
        case Tpe():
            from search.samplers.optuna_models import tpe

            return tpe(sampler, request)
        case Gp():
            from search.samplers.optuna_models import gp

            return gp(sampler, request)
        case CmaEs():
            from search.samplers.evolution import cmaes

            return cmaes(sampler, request)
        case Qmc():
            from search.samplers.blind import sobol

            return sobol(request)
        case Random():
            from search.samplers.blind import random

            return random(request)
        case Grid():
            from search.samplers.blind import grid

            return grid(request)


def unfit(space: SearchSpace, sampler: Sampler) -> str | None:
    """Why a sampler cannot search a space, and what to do; None if it can."""
    if isinstance(sampler, CmaEs):
        for path, axis in space.axes.items():
            if axis.when:
                return f"cmaes needs values that always count, got a condition at {path}; use tpe"
            is_choice = isinstance(axis.dimension, Choice)
            if is_choice or any(isinstance(value, str) for value in axis.dimension.extremes()):
                kind = "a choice" if is_choice else "words"
                return f"cmaes needs numbers only, got {kind} at {path}; use tpe"
    if isinstance(sampler, Grid):
        for path, axis in space.axes.items():
            if axis.dimension.count is None:
                remedy = "list its values as" if isinstance(axis.dimension, LogUniform) else "give it a step, or use"
                return f"grid needs a finite space, got a continuous range at {path}; {remedy} {{grid: [...]}}"
        if space.size is not None and space.size > MOST_GRID_POINTS:
            return f"grid needs at most {MOST_GRID_POINTS:,} points, got {space.size:,}; use fewer values, or qmc"
    return None
