"""The two samplers that model what was observed, through Optuna: TPE and the Gaussian process.

An Optuna study is made from the observations for every proposal and thrown away, so that nothing but the records
decides what is proposed.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Container, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as Told

from results.schema import TrialState
from search.samplers.region import Region
from search.samplers.request import Observation, Proposal, Request
from search.settings import Gp, Tpe
from spaces import Choice, Dimension, Integer, LogUniform, Scalar, Uniform

TPE_TRIES = 20
"""Draws of TPE for a point that is feasible and new."""

GP_TRIES = 3
"""Draws of the Gaussian process for such a point: each fits it anew."""

GP_TRIALS = 200
"""Finished trials that the Gaussian process is fitted to, the best and the newest; its cost grows with their cube."""

GP_UNFINISHED = 16
"""Unfinished trials that it keeps away from, the newest."""

optuna.logging.set_verbosity(optuna.logging.ERROR)  # else a line for every proposal

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # Optuna wants to know when; no sampler asks


def tpe(sampler: Tpe, request: Request) -> Proposal:
    """A draw from the tree-structured Parzen estimator.

    Trials are ranked: completed ones by value, then pruned ones by how far they came and then by value, then those
    that diverged or failed. Unfinished trials count as bad ("constant liar"), which keeps parallel trials apart.
    Measured with 64 trials on a ridge and on a bowl with bumps, 60 seeds each: the best found was better with it in 41
    and 32 seeds with 4 trials at once, in 34 and 40 with 16; the mean was better in all four cases. With
    ``multivariate`` the gain was within the noise in three of four. Source: Bergstra et al. (NeurIPS 2011); Watanabe
    (arXiv 2304.11127).

    ``multivariate`` models all values together; values under a condition then with those of the trials that have them.
    """
    trials = [_told_to_tpe(request, 1 + index, seen) for index, seen in enumerate(request.history)]
    grouped = sampler.multivariate and request.region.has_conditions

    def draw(seed: int) -> dict[str, Scalar]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group
            model = TPESampler(
                seed=seed,
                n_startup_trials=sampler.startup_trials,
                multivariate=sampler.multivariate,
                group=grouped,
                constant_liar=True,
            )
        return _ask(request, model, trials)

    finished = sum(seen.has_result for seen in request.history)
    started = finished >= sampler.startup_trials
    origin = f"TPE model of {_counted(request.history)}" if started else _start_up(finished, sampler.startup_trials)
    return request.first_new(draw, TPE_TRIES, origin)


def gp(sampler: Gp, request: Request) -> Proposal:
    """Where a Gaussian process expects the largest improvement.

    A pruned trial counts with the value at which it was stopped, one that diverged or failed with the worst that was
    measured. Values under a condition, which no Gaussian process of all trials has, are drawn by TPE. Only so many
    trials are modelled: half of them the best, half the newest. Source: Ament et al. (arXiv 2310.20708).
    """
    finished = [seen for seen in request.history if seen.has_result]
    if len(finished) < sampler.startup_trials:
        return request.at_random(_start_up(len(finished), sampler.startup_trials))
    losses = [request.loss(seen.measured) for seen in finished if seen.measured is not None]
    worst = max(losses, default=0.0)
    modelled = _best_and_newest([(worst if s.measured is None else request.loss(s.measured), s) for s in finished])
    unfinished = [seen for seen in request.history if not seen.has_result][-GP_UNFINISHED:]
    told = [(Told.COMPLETE, loss, seen) for loss, seen in modelled] + [(Told.RUNNING, None, s) for s in unfinished]
    trials = [
        _frozen(request.region, 1 + index, tuple(seen.coordinates.items()), state, loss, None)
        for index, (state, loss, seen) in enumerate(told)
    ]

    import torch

    torch.set_num_threads(1)  # matrices so small are slower with more, and the trials need the cores

    def draw(seed: int) -> dict[str, Scalar]:
        conditional = TPESampler(seed=seed, n_startup_trials=sampler.startup_trials, multivariate=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            model = GPSampler(
                seed=seed, independent_sampler=conditional, n_startup_trials=1, warn_independent_sampling=False
            )
        return _ask(request, model, trials)

    part = f"{len(modelled)} of " if len(modelled) < len(finished) else ""
    return request.first_new(draw, GP_TRIES, f"Gaussian process of {part}{_counted(request.history)}")


def _best_and_newest(scored: list[tuple[float, Observation]]) -> list[tuple[float, Observation]]:
    if len(scored) <= GP_TRIALS:
        return scored
    by_loss = sorted(range(len(scored)), key=lambda index: scored[index][0])
    best = set(by_loss[: GP_TRIALS // 2])
    newest = [index for index in range(len(scored)) if index not in best][-(GP_TRIALS - len(best)) :]
    return [scored[index] for index in sorted(best | set(newest))]


def _start_up(finished: int, wanted: int) -> str:
    return f"random start-up: {finished} of {wanted} trials have ended"


def _counted(history: Sequence[Observation]) -> str:
    """``34 trials: 12 completed, 20 pruned, 2 diverged; 4 unfinished``."""
    states = Counter(seen.state for seen in history if seen.has_result)
    told = sum(states.values())
    unfinished = f"; {len(history) - told} unfinished" if told < len(history) else ""
    counts = ", ".join(f"{states[state]} {state.lower()}" for state in TrialState if states[state])
    return f"{told} trials: {counts}{unfinished}"


class _Records(optuna.storages.InMemoryStorage):
    """Trials that are known already, served as they are.

    Optuna's own storages copy every trial that is added: most of the time of a proposal would go there. Trials are
    numbered from 1: 0 is the one that is asked for.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._known = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[Told] | None = None
    ) -> list[FrozenTrial]:
        """The known trials, then those that were asked for; none of them may be changed."""
        known = [trial for trial in self._known if states is None or trial.state in states]
        return known + super().get_all_trials(study_id, deepcopy, states)


def _ask(request: Request, sampler: BaseSampler, trials: Sequence[FrozenTrial]) -> dict[str, Scalar]:
    """One draw; every value is asked for once the conditions under which it counts are known to hold."""
    region = request.region
    trial = optuna.create_study(storage=_Records(trials), sampler=sampler, direction="minimize").ask()
    drawn: dict[str, Scalar] = {}
    while wanted := [path for path in region.space.active(drawn) if path not in drawn]:
        for path in wanted:
            drawn[path] = _suggested(trial, path, _distributions(region)[path], region.axes[path].dimension)
    return {path: drawn[path] for path in region.axes if path in drawn}


def _told_to_tpe(request: Request, number: int, seen: Observation) -> FrozenTrial:
    loss = None if seen.measured is None else request.loss(seen.measured)
    if not seen.has_result:
        state, step = Told.RUNNING, None
    elif seen.state is TrialState.COMPLETED and loss is not None:
        state, step = Told.COMPLETE, None
    else:  # a failure is a pruned trial that came nowhere, with no number to its name: the last rank
        state, step = Told.PRUNED, seen.epochs if seen.measured is not None else 0
    return _frozen(request.region, number, tuple(seen.coordinates.items()), state, loss, step)


@lru_cache(maxsize=2**15)
def _frozen(
    region: Region,
    number: int,
    items: tuple[tuple[str, Scalar], ...],
    state: Told,
    value: float | None,
    step: int | None,
) -> FrozenTrial:
    """A trial as Optuna keeps it; kept, since most trials are the same at the next proposal."""
    distributions = _distributions(region)
    return FrozenTrial(
        number=number,
        state=state,
        value=value if step is None else None,
        datetime_start=_SOME_TIME,
        datetime_complete=_SOME_TIME if state.is_finished() else None,
        params={path: _param(region.axes[path].dimension, value) for path, value in items},
        distributions={path: distributions[path] for path, _ in items},
        user_attrs={},
        system_attrs={},
        intermediate_values={} if step is None else {step: math.nan if value is None else value},
        trial_id=number,
    )


@lru_cache(maxsize=64)
def _distributions(region: Region) -> dict[str, BaseDistribution]:
    return {path: _distribution(axis.dimension) for path, axis in region.axes.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    """The dimension for Optuna; what is listed in an order becomes the place in the list."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, LogUniform):
        return FloatDistribution(dimension.low, dimension.high, log=True)
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    count = _listed(dimension)
    if count is not None:
        return IntDistribution(0, count - 1)
    if isinstance(dimension, Uniform):
        return FloatDistribution(dimension.low, dimension.high)
    raise TypeError(f"no Optuna distribution for {type(dimension).__name__}")


def _listed(dimension: Dimension) -> int | None:
    """How many values there are, if Optuna knows each by its place in the list; else None."""
    return None if isinstance(dimension, Choice | Integer) else dimension.count


def _param(dimension: Dimension, value: Scalar) -> Scalar:
    count = _listed(dimension)
    # A place in the list is coded as the middle of its share: rounding does not matter.
    return value if count is None else int(dimension.encode(value) * count)


def _suggested(trial: Trial, path: str, distribution: BaseDistribution, dimension: Dimension) -> Scalar:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log):
            return trial.suggest_float(path, low, high, log=log)
        case IntDistribution(low=lowest, high=highest, step=step, log=log):
            chosen = trial.suggest_int(path, lowest, highest, step=step, log=log)
            count = _listed(dimension)
            return chosen if count is None else dimension.decode((chosen + 0.5) / count)
    assert isinstance(dimension, Choice)  # looked up again, since Optuna's own choices may be None
    return dimension.values[dimension.values.index(trial.suggest_categorical(path, dimension.values))]
