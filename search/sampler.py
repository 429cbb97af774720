"""The sampler: the next configuration from (seed, what is known, number) through Optuna. Pure from outside.

An Optuna study is built in memory from the observations for every proposal and thrown away, so that nothing but
the records decides what is proposed: the same seed and history give the same proposal, in any process.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from results.schema import TrialState
from spaces import Choice, Coordinates, Dimension, LogUniform, Scalar, SearchSpace, Uniform

STARTUP_TRIALS = 10
"""Proposals of an arm that are drawn at random before the model takes over."""


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


def proposal_seed(seed: int, arm: str, number: int) -> int:
    """A seed for one proposal of one arm, different from those of its neighbours."""
    return int(np.random.SeedSequence((seed, zlib.crc32(arm.encode()), number)).generate_state(1)[0])


def propose(
    space: SearchSpace, observations: Sequence[Observation], *, mode: str, seed: int, arm: str, number: int
) -> dict[str, Scalar]:
    """The coordinates to try next, by the tree-structured Parzen estimator (TPE).

    Args:
        space: What may vary. An empty space gives the only configuration there is.
        observations: Trials of the arm in the order in which they were proposed, running ones among them.
        mode: ``max`` if larger values are better, ``min`` if smaller.
        seed: Seed of the search.
        arm: Name of the arm, so that arms do not draw the same numbers.
        number: 0-based number of the proposal within the arm.
    """
    if not space.axes:
        return {}
    distributions = {path: _distribution(axis.dimension) for path, axis in space.axes.items()}
    sampler = optuna.samplers.TPESampler(seed=proposal_seed(seed, arm, number), n_startup_trials=STARTUP_TRIALS)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize", sampler=sampler)
    worst = _worst(observations, mode)
    study.add_trials([_frozen(seen, distributions, worst) for seen in observations])
    chosen = study.ask(distributions).params
    return {path: chosen[path] for path in space.axes}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, LogUniform):
        return FloatDistribution(dimension.low, dimension.high, log=True)
    if isinstance(dimension, Uniform):
        return FloatDistribution(dimension.low, dimension.high)
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    raise TypeError(f"no Optuna distribution for {type(dimension).__name__}")


def _worst(observations: Sequence[Observation], mode: str) -> float:
    values = [seen.value for seen in observations if seen.value is not None and np.isfinite(seen.value)]
    if not values:
        return 0.0
    return min(values) if mode == "max" else max(values)


def _frozen(seen: Observation, distributions: dict[str, BaseDistribution], worst: float) -> FrozenTrial:
    params = dict(seen.coordinates)
    if seen.state is TrialState.COMPLETED:
        return create_trial(value=seen.value, params=params, distributions=distributions)
    if not seen.state.is_final:
        return create_trial(state=optuna.trial.TrialState.RUNNING, params=params, distributions=distributions)
    # TPE ranks pruned trials below completed ones, by how far they came and then by value. A failure comes last:
    # at step 0, with the worst value.
    value = seen.value if seen.state is TrialState.PRUNED and seen.value is not None else worst
    step = seen.epochs if seen.state is TrialState.PRUNED else 0
    return create_trial(
        state=optuna.trial.TrialState.PRUNED,
        params=params,
        distributions=distributions,
        intermediate_values={step: value},
    )
