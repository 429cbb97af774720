"""Which searched value matters: fANOVA and PED-ANOVA, as Optuna computes them.

fANOVA (Hutter et al., ICML 2014) says which share of the metric's variance a value explains over the whole range;
PED-ANOVA (Watanabe et al., IJCAI 2023) how far the best tenth of the trials differ from all in it. Both are unstable
with few trials, and both see only the trials that they are given: among those that early stopping let through, the
value that decides who is stopped no longer varies.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from results.errors import ResultsError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 20
"""Trials below which shares of importance are noise."""
MOST = 150
"""Of more trials so many are taken: with 400 fANOVA's forest takes 7 s, with 150 one."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial as the importance sees it."""

    settings: tuple[tuple[str, float | str], ...]
    """Searched values by path, each in all observations; numbers on a logarithmic axis as their logarithm."""
    score: float
    """Finite; higher is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Shares of importance by path, 0..1 and 1 in all."""

    fanova: Mapping[str, float]
    ped_anova: Mapping[str, float]
    n: int
    """Trials that they rest on."""


class ImportanceUnknown(ResultsError):
    """Optuna could not compute it."""


@lru_cache(maxsize=32)  # a page that is shown while the study runs asks again and again
def importance(observations: tuple[Observation, ...], *, seed: int = 0) -> Importance:
    """How much each searched value matters.

    Args:
        observations: Trials with the same paths, at least ``FEWEST``. Of more than ``MOST`` so many are taken, evenly.
        seed: Of fANOVA's random forest.

    Returns:
        The shares of both methods.

    Raises:
        ImportanceUnknown: There are too few trials, or all have the same score, or Optuna fails.
    """
    if len(observations) < FEWEST:
        raise ImportanceUnknown(f"importance needs at least {FEWEST} trials, and there are {len(observations)}")
    if len({o.score for o in observations}) == 1:
        raise ImportanceUnknown("all trials have the same value, so nothing explains it")
    chosen = [observations[i * len(observations) // MOST] for i in range(MOST)]
    return _shares(chosen if len(observations) > MOST else observations, seed)


def _shares(observations: Sequence[Observation], seed: int) -> Importance:
    import optuna  # a second to import, and only a page with enough trials needs it
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    ranges = _ranges(observations)
    varying = [path for path, values in ranges.items() if len(set(values)) > 1]
    if not varying:
        raise ImportanceUnknown("no searched value differs between the trials")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that PED-ANOVA is experimental
            known = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            try:
                study = optuna.create_study(direction="maximize")
                distributions = {path: _distribution(ranges[path]) for path in varying}
                study.add_trials(
                    optuna.trial.create_trial(
                        value=o.score,
                        params={path: value for path, value in o.settings if path in distributions},
                        distributions=distributions,
                    )
                    for o in observations
                )
                shares = [
                    get_param_importances(study, evaluator=evaluator, params=varying, normalize=True)
                    for evaluator in (FanovaImportanceEvaluator(seed=seed), PedAnovaImportanceEvaluator())
                ]
            finally:
                optuna.logging.set_verbosity(known)
    except Exception as error:  # whatever a library does, a report is still written
        raise ImportanceUnknown(f"Optuna could not compute it: {type(error).__name__}") from error
    fanova, ped_anova = ({path: float(found.get(path, 0.0)) for path in ranges} for found in shares)
    return Importance(fanova=fanova, ped_anova=ped_anova, n=len(observations))


def _ranges(observations: Sequence[Observation]) -> dict[str, list[float | str]]:
    paths = [path for path, _ in observations[0].settings]
    return {path: [dict(o.settings)[path] for o in observations] for path in paths}


def _distribution(values: Sequence[float | str]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    return FloatDistribution(min(numbers), max(numbers))
