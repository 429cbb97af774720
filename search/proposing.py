"""What to try next in an arm: the user's points, a grid and its finer rounds, or what the sampler says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from results.schema import Stage
from search.history import History, Observations, Trial, place_of
from search.sampler import Observation, Proposal, proposal_seed, propose
from search.settings import Grid
from search.study import Study
from spaces import Coordinates, SearchSpace

Known = Mapping[str, Sequence[Observation]]
"""What an earlier study found, by arm of this one."""


def next_proposal(study: Study, history: History, arm: str, known: Known) -> Proposal | None:
    """The next configuration of an arm.

    Args:
        study: What is searched, and how.
        history: All that is known of it.
        arm: Name of the arm.
        known: Of an earlier study, for a warm start.

    Returns:
        Its coordinates, with the reason; None if the arm has all its trials, or waits for some of them to end.
    """
    if not may_propose(study, history, arm):
        return None
    trials = history.of(arm)
    number = len(trials)
    first = trials[: len(study.search.points)]
    for place, point in enumerate(study.points(arm), start=1):
        if not any(point.items() <= trial.coordinates.items() for trial in first):
            return _point(study, arm, point, number, f"point {place} of search.points")
    space, where = _grid(study, history, arm) or (study.arm_space(arm), "")
    proposal = propose(
        space,
        Observations(trials, study.search.metric),
        sampler=study.search.sampler,
        mode=study.search.mode,
        seed=study.search.seed,
        arm=arm,
        number=number,
        fixed=study.fixed[arm],
        known=known.get(arm, ()),
    )
    return replace(proposal, origin=f"{proposal.origin}{where}")


def may_propose(study: Study, history: History, arm: str) -> bool:
    """Whether there is a configuration of an arm to try now."""
    wanted, trials = study.wanted_trials(arm), history.of(arm)
    if wanted is not None and len(trials) >= wanted:
        return False
    if isinstance(study.search.sampler, Grid):
        return _grid(study, history, arm) is not None
    return not (study.grids[arm] and _all_tried(study.grids[arm], trials))


def is_exhausted(study: Study, history: History, arm: str) -> bool:
    """Whether an arm will never get another trial, as it is planned now."""
    wanted = study.wanted_trials(arm)
    if wanted is not None and len(history.of(arm)) >= wanted:
        return True
    return not (history.is_open(Stage.EXPLORE, arm) or may_propose(study, history, arm))


def _all_tried(points: Sequence[Coordinates], trials: Sequence[Trial]) -> bool:
    if len(trials) < len(points):
        return False
    tried = {trial.place for trial in trials}
    return all(place_of(point) in tried for point in points)


def _point(study: Study, arm: str, given: Coordinates, number: int, name: str) -> Proposal:
    """A point of the user's, with what it leaves out drawn at random."""
    rng = np.random.default_rng(proposal_seed(study.search.seed, arm, number))
    coordinates = study.arm_space(arm).pinned(given).sample(rng, study.fixed[arm])
    drawn = [path for path in coordinates if path not in given]
    return Proposal(coordinates, f"{name}; {', '.join(drawn)} drawn at random" if drawn else name)


def _grid(study: Study, history: History, arm: str) -> tuple[SearchSpace, str] | None:
    """The grid that an arm is at, with words for it: the whole one, or a finer one around the best so far.

    A finer round begins when the last one has ended. None while it has not, after the last round, and of no grid.
    """
    sampler = study.search.sampler
    if not isinstance(sampler, Grid):
        return None
    search, trials = study.search, history.of(arm)
    tried = {trial.place for trial in trials}
    space = study.arm_space(arm)
    points, covered, words = study.grids[arm], set[str](), ""
    for rounds in range(sampler.refine + 1):
        covered |= {place_of(point) for point in points}
        if covered - tried:
            return space, words
        if rounds == sampler.refine or any(not trial.state.is_final for trial in trials):
            return None
        best = history.best(arm, search.metric, search.mode, 1, [trial for trial in trials if trial.place in covered])
        if not best:
            return None
        space = space.refined(best[0].coordinates)
        points = space.grid(study.fixed[arm])
        words = f" in the grid of half the step around {best[0].name}"
    return None
