"""The verdict in plain words: no more than the numbers carry, and the reason when there is none."""

from __future__ import annotations

from collections.abc import Sequence

from results import formats
from results.facts import StudyFacts
from results.report.model import Best, Candidate, Progress, Standing, Verdict
from results.report.sureness import choice, open_question, promise
from results.schema import StudyState
from results.statistics import Comparison, Outcome, PairedDifference, SeedsNeeded


def verdict(
    facts: StudyFacts,
    progress: Progress,
    best: Best | None,
    challenger: Candidate | None,
    reference: Candidate | None,
    comparison: Comparison | None,
    candidates: Sequence[Candidate],
    standings: Sequence[Standing],
    needed: SeedsNeeded | None,
    fruitless: Sequence[str] = (),
) -> Verdict:
    """Says what the study showed.

    Args:
        facts: The study.
        progress: How far it is.
        best: The best configuration known, None if there is none; once confirmed, challenger or reference.
        challenger: The confirmed best of the arms other than the reference, None if there is none yet.
        reference: The confirmed best of the reference arm, None if there is none.
        comparison: The two on the test split, None unless both are there.
        candidates: All candidates, also those that did not come through.
        standings: How sure the place of each is; none until all is confirmed.
        needed: Seeds that would decide between challenger and reference, None where nothing is open.
        fruitless: Why no trial of the search was trained to the end; only said where that is so.

    Returns:
        The outcome, a headline and what it rests on.
    """
    if best is None:
        return _without_best(progress, fruitless)
    if not best.confirmed:
        return _unconfirmed(facts, progress, best)
    sure = (*promise(facts, best, candidates, standings), *choice(facts, best, candidates, standings))
    if challenger is not None and reference is not None and comparison is not None:
        outcome, headline, details = _compared(facts, best, challenger, reference, comparison)
        return Verdict(outcome=outcome, headline=headline, details=(*details, *open_question(needed), *sure))
    only = reference if best.reference else challenger
    assert only is not None
    return Verdict(
        outcome=Outcome.NOT_COMPARED,
        headline=f"Best configuration: {_what(facts, only)}. It is compared with nothing: "
        f"{_why_alone(facts, best, candidates)}.",
        details=(_measured(facts, "The best configuration", only), *sure),
    )


def trial_of(facts: StudyFacts, trial: str, arm: str) -> str:
    """A trial with its arm, unless that is called search: ``t0026 of the reference arm baseline``."""
    if arm == facts.reference:
        return f"{trial} of the reference arm {arm}"
    return trial if arm == "search" else f"{trial} of the arm {arm}"


def teaching(progress: Progress) -> str:
    """How far the teachers are, in words: ``training the teachers: 1 of 2``; empty where all are there."""
    done = progress.taught == progress.to_teach or progress.state is StudyState.COMPLETED
    if done and not progress.lost_teachers:
        return ""
    if progress.state is StudyState.RUNNING:
        words = f"training the teachers: {progress.taught} of {progress.to_teach}"
    else:
        words = f"{progress.taught} of {formats.count(progress.to_teach, 'teacher')} trained"
    return words + (f", {' and '.join(progress.lost_teachers)} lost" if progress.lost_teachers else "")


def _what(facts: StudyFacts, candidate: Candidate) -> str:
    """A candidate with its settings, its trial and its arm."""
    trial = trial_of(facts, candidate.trial, candidate.arm)
    return f"{formats.settings(candidate.settings)} ({trial})" if candidate.settings else trial


def _best_of(candidate: Candidate) -> str:
    """The best of an arm other than the reference, which is named once."""
    what = f"{formats.settings(candidate.settings)} ({candidate.trial})" if candidate.settings else candidate.trial
    return f"The best of {_group(candidate)}, {what},"


def _group(candidate: Candidate) -> str:
    return "the search" if candidate.arm == "search" else f"the arm {candidate.arm}"


def _why_alone(facts: StudyFacts, best: Best, candidates: Sequence[Candidate]) -> str:
    if facts.reference is None:
        return "the study has no reference arm"
    out = [c for c in candidates if (c.arm == facts.reference) != best.reference]
    if out:
        return " and ".join(f"{trial_of(facts, c.trial, c.arm)} {_trouble(c)}" for c in out)
    if not best.reference:
        return f"no trial of the reference arm {facts.reference} was trained to the end"
    return "the study has no other arm" if len(facts.arms) == 1 else "no trial of another arm was trained to the end"


def _trouble(candidate: Candidate) -> str:
    if candidate.diverged:
        return f"diverged on {candidate.diverged} of {candidate.seeds} confirm seeds"
    return f"failed on {candidate.failed} of {candidate.seeds} confirm seeds"


def _compared(
    facts: StudyFacts, best: Best, challenger: Candidate, reference: Candidate, comparison: Comparison
) -> tuple[Outcome, str, list[str]]:
    """What is shown, the headline, and the numbers behind it."""
    group = _group(challenger)
    outcome, reason = comparison.outcome, comparison.reason
    if best.reference:
        headline = _behind(facts, challenger, reference, comparison)
        details = [
            _measured(facts, f"The best configuration, that of the reference arm {reference.arm}", reference),
            _measured(facts, f"The best of {group}", challenger),
        ]
        sides, subject = f"best of {group} minus reference", f"Verdict on the best of {group}"
        if outcome is Outcome.BETTER:
            outcome = Outcome.NOT_SHOWN
            reason = f"it is ahead on test, but {_why_behind(facts, challenger, reference)}"
    else:
        headline = _ahead(facts, challenger, reference, comparison)
        details = [
            _measured(facts, "The best configuration", challenger),
            _measured(facts, f"The reference {reference.arm} at its best", reference),
        ]
        sides, subject = "best minus reference", "Verdict"
    if comparison.difference is not None:
        details.append(
            f"Paired over {comparison.difference.n} common seeds, {sides}: "
            f"{formats.difference(facts.test_metric, comparison.difference)}, "
            f"{formats.p_value(comparison.difference.p)}{_corrected(comparison)}."
        )
    details.append(f"{subject}: {outcome}, because {reason}.")
    return outcome, headline, details


def _corrected(comparison: Comparison) -> str:
    """The p value after correction, where several were compared."""
    if comparison.p_corrected is None or comparison.compared < 2:
        return ""
    p = formats.p_value(comparison.p_corrected)
    return f"; {p} after Holm's correction for {comparison.compared} candidates on the same seeds"


def _ahead(facts: StudyFacts, challenger: Candidate, reference: Candidate, comparison: Comparison) -> str:
    """The headline where the challenger leads on validation."""
    what, name = _best_of(challenger), f"the reference {reference.arm}"
    if comparison.difference is None:
        return f"No winner is named: {comparison.reason}."
    gap = _gap(facts, comparison.difference, comparison)
    match comparison.outcome:
        case Outcome.BETTER:
            return f"{_what(facts, challenger)} is better than {name}: {gap}."
        case Outcome.WORSE:
            leads = "leads on validation but is" if _leads(facts, challenger, reference) else "is"
            return f"{what} {leads} worse than {name} on test: {gap}."
        case Outcome.NOT_SHOWN:
            return f"{what} is not shown to differ from {name}: {gap}."
        case Outcome.NOT_COMPARED:
            return f"No winner is named: {comparison.reason}."


def _behind(facts: StudyFacts, challenger: Candidate, reference: Candidate, comparison: Comparison) -> str:
    """The headline where the reference leads on validation."""
    begin = f"Best configuration: {_what(facts, reference)}. {_best_of(challenger)} is "
    if comparison.difference is None:
        return f"{begin}not better: {_why_behind(facts, challenger, reference)}, and on test {comparison.reason}."
    gap = _gap(facts, comparison.difference, comparison)
    match comparison.outcome:
        case Outcome.WORSE:
            return f"{begin}worse: {gap}."
        case Outcome.NOT_SHOWN:
            return f"{begin}not shown to differ: {gap}."
        case Outcome.BETTER | Outcome.NOT_COMPARED:
            return f"{begin}not better: {_why_behind(facts, challenger, reference)}, though it is ahead on test, {gap}."


def _gap(facts: StudyFacts, difference: PairedDifference, comparison: Comparison) -> str:
    """The difference with its interval; beside it the p value that decides, where that is not the interval's own."""
    gap = f"{formats.metric_words(facts.test_metric)} {formats.difference(facts.test_metric, difference)}"
    gap = gap if difference.low is None else f"{gap} over {difference.n} seeds"
    if comparison.p_corrected is None or comparison.compared < 2:
        return gap
    return (
        f"{gap} (taken alone), {formats.p_value(comparison.p_corrected)} corrected for {comparison.compared} candidates"
    )


def _leads(facts: StudyFacts, one: Candidate, other: Candidate) -> bool:
    """Whether the first mean on validation is the better one."""
    if one.validation is None or other.validation is None:
        return False
    ahead = one.validation.mean - other.validation.mean
    return ahead > 0 if facts.mode == "max" else ahead < 0


def _why_behind(facts: StudyFacts, challenger: Candidate, reference: Candidate) -> str:
    if _leads(facts, reference, challenger):
        return "it is behind on validation"
    return "it was not measured on every confirm seed"


def _measured(facts: StudyFacts, subject: str, candidate: Candidate) -> str:
    about = " (95 % t interval over seeds)" if candidate.test and candidate.test.low is not None else ""
    return (
        f"{subject}: {formats.metric_words(facts.test_metric)} {formats.interval(facts.test_metric, candidate.test)}"
        f"{about}; {formats.metric_words(facts.metric)} "
        f"{formats.interval(facts.metric, candidate.validation)}."
    )


def _unconfirmed(facts: StudyFacts, progress: Progress, best: Best) -> Verdict:
    if progress.explored < progress.to_explore:
        stage = f"The search is under way: {progress.explored} of {progress.to_explore} trials ended"
        stage += f", {progress.paused} waiting at a rung" if progress.paused else ""
    elif progress.confirmed:
        stage = f"Confirmation is under way: {progress.confirmed} of {progress.to_confirm} runs on fresh seeds ended"
    else:
        stage = f"The search is done, and none of {progress.to_confirm} confirm runs on fresh seeds has ended yet"
    if progress.state is not StudyState.RUNNING:
        stage += "; no driver is running"
    return Verdict(
        outcome=Outcome.NOT_COMPARED,
        headline=f"Nothing is confirmed yet. Best so far: {formats.settings(best.settings)} "
        f"({trial_of(facts, best.trial, best.arm)}).",
        details=(
            *_teachers(progress),
            f"{stage}.",
            f"Its {formats.metric_words(facts.metric)} is {formats.metric(facts.metric, best.value)} ({best.source}). "
            "The best of many single runs looks better than it is, so wait for the confirmation.",
        ),
    )


def _without_best(progress: Progress, fruitless: Sequence[str]) -> Verdict:
    ended: tuple[str, ...] = (f"{progress.explored} of {progress.to_explore} trials ended.",)
    if progress.to_confirm and progress.confirmed == progress.to_confirm:
        headline = "No winner is named: no candidate came through on every confirm seed."
    elif progress.explored < progress.to_explore:
        headline = "No trial has been trained to the end yet."
    else:
        headline = "No trial was trained to the end, so there is no best configuration."
        ended = tuple(fruitless) or ended
    return Verdict(outcome=Outcome.NOT_COMPARED, headline=headline, details=(*_teachers(progress), *ended))


def _teachers(progress: Progress) -> tuple[str, ...]:
    """How far the teachers are, as a sentence; nothing where all are there."""
    words = teaching(progress)
    return (f"{words[0].upper()}{words[1:]}.",) if words else ()
