"""Candidates against a reference on common seeds: what is shown, when several are compared at once.

Which candidate is named the best depends on the same trained networks as its test values: seeds that were lucky on the
validation split are lucky on the test split too, so the p value of a candidate picked among several is too small.
(Simulated, n = 5, equal candidates, validation and test in perfect step: the one picked of 4 has p < 0.05 in 6.7 % of
studies, of 9 in 10.5 %.) Holm's correction (Scandinavian Journal of Statistics 6, 1979) covers all candidates
together, and with that whichever of them is picked, by whatever rule: the chance that any is said to differ and does
not is at most ``LEVEL``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from results.statistics.intervals import PairedDifference, paired_difference

LEVEL = 0.05
"""Chance to name any difference by mistake, over all that are compared together; intervals are of 1 - ``LEVEL``."""


class Outcome(StrEnum):
    """What a comparison shows."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SHOWN = "not shown to differ"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate against the reference on common seeds."""

    outcome: Outcome
    """The verdict: BETTER or WORSE only where the corrected p value is below ``LEVEL``."""
    difference: PairedDifference | None
    """Candidate minus reference, with the interval of this difference alone; None with fewer than two common seeds."""
    reason: str
    """Why the verdict is what it is, as a sentence without a full stop."""
    p_corrected: float | None
    """p value after Holm's correction for all candidates that are compared, 0..1; None without one."""
    compared: int
    """Candidates that are compared with the reference, this one included."""


def compare(
    candidates: Mapping[str, Mapping[int, float]],
    reference: Mapping[int, float],
    *,
    mode: str,
    trials: Mapping[str, int],
    reference_trials: int | None,
) -> dict[str, Comparison]:
    """Whether candidates are better than the reference, said only as far as the numbers carry.

    Args:
        candidates: Test metric by seed of every candidate, by name.
        reference: Test metric of the reference by seed.
        mode: ``max`` if higher is better, else ``min``.
        trials: Trials that each candidate's arm explored, by the candidate's name.
        reference_trials: Trials that the reference arm explored; None if nothing varies in it, so that it is as well
            tuned as it can be.

    Returns:
        By candidate: BETTER or WORSE if the corrected p value is below ``LEVEL``; for a single candidate that is where
        the interval of the difference excludes 0. Else NOT_SHOWN, also where the differences have no interval.
        NOT_COMPARED with fewer than two common seeds, and in place of BETTER where the reference had fewer trials to
        find its best settings with.

    Raises:
        ValueError: A value is not finite, or the mode is not allowed.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode must be max or min, got {mode!r}")
    differences = {name: paired_difference(values, reference, 1 - LEVEL) for name, values in candidates.items()}
    paired = {name: gap for name, gap in differences.items() if gap is not None}
    # Equal differences have no p value. They count as compared all the same: they might have been picked.
    p = holm([1.0 if gap.p is None else gap.p for gap in paired.values()])
    corrected = dict(zip(paired, p, strict=True))
    found = {}
    for name, gap in differences.items():
        if gap is None:
            outcome, reason = Outcome.NOT_COMPARED, _too_few(len(candidates[name].keys() & reference.keys()))
        else:
            outcome, reason = _judged(gap, corrected[name], len(paired), mode)
            if outcome is Outcome.BETTER and reference_trials is not None and reference_trials < trials[name]:
                had = "1 trial" if reference_trials == 1 else f"{reference_trials} trials"
                outcome = Outcome.NOT_COMPARED
                reason = (
                    f"the reference had {had} and the candidate's arm {trials[name]}, so the reference was not tuned "
                    "as well"
                )
        found[name] = Comparison(
            outcome=outcome,
            difference=gap,
            reason=reason,
            p_corrected=None if gap is None or gap.p is None else corrected[name],
            compared=len(paired),
        )
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction of p values for being several.

    Args:
        p: p values, 0..1.

    Returns:
        The corrected ones in the same order: with each below a level, the chance of any false alarm is below it.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = least
    return corrected


def _too_few(common: int) -> str:
    return f"a comparison needs at least 2 common seeds, and there {'is' if common == 1 else 'are'} {common}"


def _judged(gap: PairedDifference, p: float, several: int, mode: str) -> tuple[Outcome, str]:
    """What a difference shows, and why."""
    if gap.p is None:
        step = "one and the same step" if gap.mean else "0"
        return (
            Outcome.NOT_SHOWN,
            f"all {gap.n} differences are {step}, which says nothing about their spread; more seeds are needed",
        )
    share = f"{1 - LEVEL:.0%}".replace("%", " %")
    if gap.p >= LEVEL:
        return Outcome.NOT_SHOWN, f"the {share} interval includes 0 over {gap.n} common seeds"
    alone = f"the {share} interval excludes 0 over {gap.n} common seeds"
    if p >= LEVEL:
        return (
            Outcome.NOT_SHOWN,
            f"p = {p:.2g} after correction for {several} candidates that were compared with the reference, and the "
            f"best of several may look different by chance; only taken alone, {alone}",
        )
    ahead = (gap.mean > 0) == (mode == "max")
    also = f", and that holds for {several} candidates compared" if several > 1 else ""
    return (Outcome.BETTER if ahead else Outcome.WORSE), f"{alone}{also}"
