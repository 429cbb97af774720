"""How sure the choice among the candidates is, and what the test split shows of each.

The choice is made on the validation split, so what is said of it stays there: what the search had promised, and how
often other seeds would have led to the same choice. The test split answers one question only: who is better than whom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.facts import StudyFacts
from results.report.model import Candidate, Standing
from results.statistics import (
    Comparison,
    MeanInterval,
    Outcome,
    SeedsNeeded,
    compare,
    first_shares,
    may_be_best,
    prediction_interval,
    seeds_needed,
)


def is_ranked(candidate: Candidate) -> bool:
    """Whether a candidate can be chosen: it has values of fresh seeds, and diverged on none."""
    return candidate.validation is not None and not candidate.diverged


def against_reference(
    facts: StudyFacts, candidates: Sequence[Candidate], reference: Candidate | None, trials: Mapping[str, int]
) -> dict[str, Comparison]:
    """Every candidate that can be chosen against the best of the reference arm, on the test split.

    Args:
        facts: The study.
        candidates: All candidates.
        reference: The reference's best, None if it has none.
        trials: Explored trials that ended, by arm.

    Returns:
        Comparisons by the candidate's trial, corrected for each other; none without a reference.
    """
    if reference is None:
        return {}
    others = [c for c in candidates if is_ranked(c) and c.arm != reference.arm]
    return compare(
        {c.trial: c.test_by_seed for c in others},
        reference.test_by_seed,
        mode=facts.test_mode,
        trials={c.trial: trials.get(c.arm, 0) for c in others},
        reference_trials=trials.get(reference.arm, 0) if facts.varies(reference.arm) else None,
    )


def standings(
    facts: StudyFacts,
    candidates: Sequence[Candidate],
    reference: Candidate | None,
    comparisons: Mapping[str, Comparison],
) -> tuple[Standing, ...]:
    """How sure the place of each candidate is.

    Args:
        facts: The study.
        candidates: All candidates, each run on every confirm seed.
        reference: The reference's best, None if it has none.
        comparisons: What ``against_reference`` gave.

    Returns:
        One for each candidate, in their order.
    """
    ranked = [c for c in candidates if is_ranked(c)]
    shares = first_shares({c.trial: c.validation_by_seed for c in ranked}, facts.mode)
    tested = {c.trial: c.test_by_seed for c in ranked if len(c.test_by_seed) > 1}
    best = may_be_best(tested, facts.test_mode, _shown_worse(reference, comparisons))
    return tuple(
        Standing(
            trial=c.trial,
            arm=c.arm,
            optimism=_optimism(c, facts),
            first_share=shares.get(c.trial),
            comparison=comparisons.get(c.trial),
            may_be_best=c.trial in best if c.trial in tested and len(tested) > 1 else None,
        )
        for c in candidates
    )


def seeds_to_decide(comparison: Comparison | None) -> SeedsNeeded | None:
    """Confirm seeds that would decide what is still open; None where nothing is, or no spread is known."""
    if comparison is None or comparison.outcome is not Outcome.NOT_SHOWN:
        return None
    gap = comparison.difference
    if gap is None or gap.sd is None:
        return None
    return seeds_needed(gap.mean, gap.sd, compared=comparison.compared)


def _shown_worse(reference: Candidate | None, comparisons: Mapping[str, Comparison]) -> set[str]:
    """Whom the comparisons with the reference show to be worse, be it the reference."""
    worse = {trial for trial, found in comparisons.items() if found.outcome is Outcome.WORSE}
    if reference is not None and any(found.outcome is Outcome.BETTER for found in comparisons.values()):
        worse.add(reference.trial)
    return worse


def _optimism(candidate: Candidate, facts: StudyFacts) -> MeanInterval | None:
    """By how much the value in the search is better than the mean over fresh seeds.

    The value in the search scatters too, so the interval is that of a prediction: in 95 % of cases it holds 0 for a
    candidate that was not picked for its value.
    """
    promised, fresh = candidate.explored, candidate.validation
    if promised is None or fresh is None:
        return None
    sign = 1 if facts.mode == "max" else -1
    mean = sign * (promised - fresh.mean)
    expected = prediction_interval(fresh, draws=facts.search_seeds)
    if expected is None:
        return MeanInterval(mean=mean, low=None, high=None, sd=None, n=fresh.n)
    low, high = sorted(sign * (promised - end) for end in expected)
    return MeanInterval(mean=mean, low=low, high=high, sd=fresh.sd, n=fresh.n)
