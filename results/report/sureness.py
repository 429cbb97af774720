"""How sure the choice of the best configuration is, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from results import formats
from results.facts import StudyFacts
from results.report.model import Best, Candidate, Standing
from results.statistics import MOST_SEEDS, SeedsNeeded

_FEW = 10  # seeds below which resampling them is no more than a hint
_NAMED = 3  # candidates whose share is said in a sentence; the table has them all


def promise(
    facts: StudyFacts, best: Best, candidates: Sequence[Candidate], standings: Sequence[Standing]
) -> tuple[str, ...]:
    """What the search had promised of the best configuration, and what fresh seeds made of it; a sentence or none."""
    candidate = next(c for c in candidates if c.trial == best.trial)
    luck = next(s for s in standings if s.trial == best.trial).optimism
    if luck is None or candidate.validation is None:
        return ()
    begin = (
        f"The search had promised {formats.metric_words(facts.metric)} "
        f"{formats.metric(facts.metric, candidate.explored)} for {best.trial}, and "
        f"{formats.count(luck.n, 'fresh seed')} gave {formats.metric(facts.metric, candidate.validation.mean)}"
    )
    if luck.low is None or luck.high is None:
        return (f"{begin}; these seeds do not show how much seeds vary, so nobody knows whether it was luck.",)
    if luck.low > 0:
        return (f"{begin}: more apart than seeds vary, so the search was lucky with it.",)
    if luck.high < 0:
        return (f"{begin}: more apart than seeds vary, and better than promised.",)
    return (f"{begin}: no more apart than seeds vary.",)


def choice(
    facts: StudyFacts, best: Best, candidates: Sequence[Candidate], standings: Sequence[Standing]
) -> tuple[str, ...]:
    """How often other seeds would have led to the same choice, and who may be the best on test; up to two sentences."""
    return (*_draws(candidates, standings), *_on_test(facts, best, standings))


def open_question(needed: SeedsNeeded | None) -> tuple[str, ...]:
    """How many seeds would decide what is open, as a sentence; none where nothing is."""
    if needed is None:
        return ()
    if needed.as_it_is is None:
        return (f"To show so small a difference would take more than {MOST_SEEDS} confirm seeds: not worth it.",)
    begin = "If the difference and its spread are what they seem to be,"
    if needed.likely is None:
        return (
            f"{begin} {needed.as_it_is} confirm seeds would show it in about one case of two, and for 80 % of cases "
            f"more than {MOST_SEEDS} are needed: not worth it.",
        )
    if needed.likely == needed.as_it_is:
        return (f"{begin} {needed.likely} confirm seeds would show it in 80 % of cases.",)
    return (
        f"{begin} {needed.as_it_is} confirm seeds would show it in about one case of two, and {needed.likely} in 80 % "
        "of cases.",
    )


def _draws(candidates: Sequence[Candidate], standings: Sequence[Standing]) -> tuple[str, ...]:
    shares = sorted(
        ((s.first_share, s.trial) for s in standings if s.first_share is not None), key=lambda x: (-x[0], x[1])
    )
    if not shares:
        return ()
    (most, leader), *others = shares
    named = [f"{trial} in {formats.rough_percent(share)}" for share, trial in others[: _NAMED - 1]]
    rest = sum(share for share, _ in others[_NAMED - 1 :])
    named += [f"the others together in {formats.rough_percent(rest)}"] if others[_NAMED - 1 :] else []
    drawn = {trial for _, trial in shares}
    seeds = min(c.validation.n for c in candidates if c.validation and c.trial in drawn)
    few = f"; {seeds} seeds are few, so take it for a hint" if seeds < _FEW else ""
    return (
        f"When the confirm seeds are drawn again and again from those that were run, {leader} comes first on "
        f"validation in {formats.rough_percent(most)} of the draws, {formats.listed(named)}{few}.",
    )


def _on_test(facts: StudyFacts, best: Best, standings: Sequence[Standing]) -> tuple[str, ...]:
    """The candidates that cannot be told apart from the best one on the test split."""
    judged = [s for s in standings if s.may_be_best is not None]
    inside, outside = ([s.trial for s in judged if s.may_be_best is side] for side in (True, False))
    if not inside:
        return ()
    if not outside:
        every = "both" if len(inside) == 2 else f"all {len(inside)}"
        return (
            f"On test no candidate is shown to be better than another, after correction for several: {every} "
            f"({formats.listed(inside)}) may be the best.",
        )
    worse = f"{formats.listed(outside)} {'is' if len(outside) == 1 else 'are'} shown to be worse"
    may = f"{inside[0]} alone" if len(inside) == 1 else f"any of {formats.listed(inside)}"
    stays = f" {best.trial} was chosen on validation and stays the choice: choosing by test would need a new test set."
    chosen = "" if best.trial in inside else stays
    return (f"On test {may} may be the best: {worse}, after correction for several.{chosen}",)
