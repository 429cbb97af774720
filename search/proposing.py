"""What to try next in an arm: the user's points, a grid and its finer rounds, or what the sampler says. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from results.schema import Stage
from search.history import History, Observations, place_of
from search.sampler import Observation, Proposal, proposal_seed, propose
from search.settings import Grid
from search.study import Study
from spaces import Choice, Coordinates, SearchSpace

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
    trials = history.of(arm)
    number = len(trials)
    if number >= study.planned_trials(arm):
        return None
    points = study.points(arm)
    if number < len(points):
        return _point(study, arm, points[number], number)
    sampler = study.search.sampler
    place = (study.arm_space(arm), "")
    if isinstance(sampler, Grid):
        current = _grid(study, history, arm)
        if current is None:
            return None
        place = current
    proposal = propose(
        place[0],
        Observations(trials, study.search.metric),
        sampler=sampler,
        mode=study.search.mode,
        seed=study.search.seed,
        arm=arm,
        number=number,
        fixed=study.fixed[arm],
        known=known.get(arm, ()),
    )
    return replace(proposal, origin=f"{proposal.origin}{place[1]}")


def is_exhausted(study: Study, history: History, arm: str) -> bool:
    """Whether an arm will never get another trial, as it is planned now."""
    if len(history.of(arm)) >= study.planned_trials(arm):
        return True
    grid = isinstance(study.search.sampler, Grid)
    return grid and not history.is_open(Stage.EXPLORE, arm) and _grid(study, history, arm) is None


def _point(study: Study, arm: str, given: Coordinates, number: int) -> Proposal:
    """A point of the user's, with what it leaves out drawn at random."""
    space = study.arm_space(arm)
    pinned = {
        path: replace(axis, dimension=Choice((given[path],))) if path in given else axis
        for path, axis in space.entries.items()
    }
    rng = np.random.default_rng(proposal_seed(study.search.seed, arm, number))
    coordinates = SearchSpace(pinned, space.require).sample(rng, study.fixed[arm])
    drawn = [path for path in coordinates if path not in given]
    rest = f"; {', '.join(drawn)} drawn at random" if drawn else ""
    return Proposal(coordinates, f"point {number + 1} of search.points{rest}")


def _grid(study: Study, history: History, arm: str) -> tuple[SearchSpace, str] | None:
    """The grid that an arm is at, with words for it: the whole one, or a finer one around the best so far.

    A finer round begins when the last one has ended. None while it has not, and after the last round.
    """
    sampler = study.search.sampler
    assert isinstance(sampler, Grid)
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
