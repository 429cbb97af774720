"""Why a search has no trial that was trained to the end, and what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from results import formats
from results.query import StudyView, Trial
from results.report.trials import number
from results.schema import Stage, TrialState

_RATE, _LARGEST = "optimizer.lr", "max_loss"
_WORDS = {TrialState.DIVERGED: "diverged", TrialState.PRUNED: "stopped early", TrialState.FAILED: "failed"}


def why_fruitless(view: StudyView) -> tuple[str, ...]:
    """What became of the explored trials, where they diverged, and what to change.

    Args:
        view: The records.

    Returns:
        Sentences, for a study in which no explored trial was trained to the end; none before the first trial ended.
    """
    ended = [t for t in view.trials if t.stage is Stage.EXPLORE and t.state.is_final]
    diverged = [t for t in ended if t.state is TrialState.DIVERGED]
    counts = Counter(t.state for t in ended)
    parts = [f"{counts[state]} {word}" for state, word in _WORDS.items() if counts[state]]
    if not parts:
        return ()
    said = [f"{formats.listed(parts)} of {formats.count(len(ended), 'trial')}."]
    if diverged:
        said += [_where(view, diverged), _remedy(view, diverged)]
    return tuple(said)


def _where(view: StudyView, diverged: Sequence[Trial]) -> str:
    first = diverged[0]
    where = ", ".join(_spans(view, diverged))
    at = f", at {where}" if where else ""
    why = formats.first_line(first.reason or "no reason recorded").rstrip(".")
    return f"They diverged in epoch {_span([t.epochs for t in diverged])}{at}; the first, {first.trial}: {why}."


def _spans(view: StudyView, trials: Sequence[Trial]) -> Iterator[str]:
    """What is searched, with the smallest and the largest value of these trials."""
    for path in view.facts.space:
        values = [value for t in trials if (value := number(t.setting(path))) is not None]
        if values:
            yield f"{path} {_span(values)}"


def _span(values: Sequence[float]) -> str:
    low, high = (formats.setting(end) for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _remedy(view: StudyView, diverged: Sequence[Trial]) -> str:
    facts = view.facts
    if _RATE in facts.space:
        what = f"Lower the range of {_RATE}, now {facts.space[_RATE]}"
    else:
        rates = [rate for t in diverged if (rate := number(t.setting(_RATE))) is not None]
        what = f"Lower recipe.{_RATE}" + (f", now {_span(rates)}" if rates else "")
    bounded = any(_LARGEST in (t.reason or "") for t in diverged)
    instead = f"; if a loss so large is no harm here, raise stopping.{_LARGEST} instead" if bounded else ""
    return f"{what}, and submit the study file under another name than {facts.name}{instead}."
