"""The verdict in plain words: no more than the numbers carry, and the reason when there is none."""

from __future__ import annotations

from results import formats
from results.facts import StudyFacts
from results.report.model import Best, Candidate, Progress, Verdict
from results.schema import StudyState
from results.statistics import Comparison, Outcome


def verdict(
    facts: StudyFacts,
    progress: Progress,
    best: Best | None,
    candidate: Candidate | None,
    reference: Candidate | None,
    comparison: Comparison | None,
) -> Verdict:
    """Says what the study showed.

    Args:
        facts: The study.
        progress: How far it is.
        best: The best configuration known, None if there is none.
        candidate: The same as a confirmed candidate, None until it is confirmed.
        reference: The confirmed best of the reference arm, None if there is none.
        comparison: The two on the test split, None unless both are there.

    Returns:
        The outcome, a headline and what it rests on.
    """
    if best is None:
        return _without_best(facts, progress)
    if candidate is None:
        return _unconfirmed(facts, progress, best)
    what = f"{formats.settings(candidate.settings)} ({best.trial})"
    details = [_measured(facts, "The best configuration", candidate)]
    if comparison is None or reference is None:
        if facts.reference is None:
            reason = "the study has no reference arm"
        else:
            reason = f"no trial of the reference arm {facts.reference} was confirmed"
        return Verdict(
            outcome=Outcome.NOT_COMPARED,
            headline=f"Best configuration: {what}. It is compared with nothing: {reason}.",
            details=tuple(details),
        )
    details.append(_measured(facts, f"The reference {reference.arm} at its best", reference))
    if comparison.difference is not None:
        details.append(
            f"Paired over {comparison.difference.n} common seeds, best minus reference: "
            f"{formats.difference(facts.test_metric, comparison.difference)}, "
            f"{formats.p_value(comparison.difference.p)}."
        )
    details.append(f"Verdict: {comparison.outcome}, because {comparison.reason}.")
    return Verdict(
        outcome=comparison.outcome, headline=_headline(what, facts, reference, comparison), details=tuple(details)
    )


def _headline(what: str, facts: StudyFacts, reference: Candidate, comparison: Comparison) -> str:
    name = f"the reference {reference.arm}"
    if comparison.difference is None:
        return f"No winner is named: {comparison.reason}."
    gap = formats.difference(facts.test_metric, comparison.difference)
    kind = formats.metric_words(facts.test_metric)
    match comparison.outcome:
        case Outcome.BETTER:
            return f"{what} is better than {name}: {kind} {gap}."
        case Outcome.WORSE:
            return f"The best of the search, {what}, is worse than {name}: {kind} {gap}."
        case Outcome.NOT_SHOWN:
            return f"The best of the search, {what}, is not shown to differ from {name}: {kind} {gap}."
        case Outcome.NOT_COMPARED:
            return f"No winner is named: {comparison.reason}."


def _measured(facts: StudyFacts, subject: str, candidate: Candidate) -> str:
    return (
        f"{subject}: {formats.metric_words(facts.test_metric)} {formats.interval(facts.test_metric, candidate.test)} "
        f"(95 % t interval over seeds); {formats.metric_words(facts.metric)} "
        f"{formats.interval(facts.metric, candidate.validation)}."
    )


def _unconfirmed(facts: StudyFacts, progress: Progress, best: Best) -> Verdict:
    if progress.to_confirm:
        stage = f"Confirmation is under way: {progress.confirmed} of {progress.to_confirm} runs on fresh seeds ended"
    elif progress.explored < progress.to_explore:
        stage = f"The search is under way: {progress.explored} of {progress.to_explore} trials ended"
    else:
        stage = "The search is done, and confirmation on fresh seeds has not begun"
    if progress.state is not StudyState.RUNNING:
        stage += "; no driver is running"
    return Verdict(
        outcome=Outcome.NOT_COMPARED,
        headline=f"Nothing is confirmed yet. Best so far: {formats.settings(best.settings)} ({best.trial}).",
        details=(
            f"{stage}.",
            f"Its {formats.metric_words(facts.metric)} is {formats.metric(facts.metric, best.value)} ({best.source}). "
            "The best of many single runs looks better than it is, so wait for the confirmation.",
        ),
    )


def _without_best(facts: StudyFacts, progress: Progress) -> Verdict:
    ended = f"{progress.explored} of {progress.to_explore} trials ended"
    if progress.to_confirm and progress.confirmed == progress.to_confirm:
        headline = "No winner is named: no candidate came through on every confirm seed."
    elif progress.explored < progress.to_explore:
        headline = "No trial has been trained to the end yet."
    elif progress.completed:
        headline = f"No winner is named: only the reference arm {facts.reference} has trials trained to the end."
    else:
        headline = "No trial was trained to the end, so there is no best configuration."
    return Verdict(outcome=Outcome.NOT_COMPARED, headline=headline, details=(f"{ended}.",))
