"""How the search went: learning curves, where trials were stopped, whether that was right."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from results import figures
from results.figures.ranges import without_tail
from results.formats import count, listed, metric, metric_words
from results.query import Trial
from results.report.panels.panel import Drawing, Panel
from results.report.trials import place_of, verdicts
from results.schema import TrialState, Verdict

_CURVES = 300  # more would hide each other and make the page heavy
_LEVELS = 8  # rungs of a rule that compares in every epoch


def curves(d: Drawing) -> Panel | None:
    """Learning curves of the search, coloured by temperature."""
    with_epochs = [t for t in d.explored if t.trial in d.view.epoch_means]
    with_epochs.sort(key=lambda t: (t.state is not TrialState.COMPLETED, -t.epochs))
    drawn = []
    for trial in with_epochs[:_CURVES]:
        measured = [
            (e.epoch, e.metrics[d.report.metric])
            for e in d.view.epoch_means[trial.trial]
            if d.report.metric in e.metrics
        ]
        if measured:
            drawn.append(
                figures.Curve(
                    trial=trial.trial,
                    arm=trial.arm,
                    x=place_of(d.view, trial),
                    epochs=tuple(e for e, _ in measured),
                    values=tuple(v for _, v in measured),
                    full=trial.state is TrialState.COMPLETED,
                )
            )
    best_reference = _best_of_reference(d)
    shown = [c for c in drawn if c.arm != d.report.reference_arm or c.trial == best_reference]
    if not any(sum(map(math.isfinite, c.values)) > 1 for c in shown):
        return None  # dots are no curves
    left_out = len(with_epochs) - len(with_epochs[:_CURVES])
    caption = f"Every line is a trial of the search, coloured by {d.axis().label}; faint ones ended early"
    if any(c.x is None and c.arm != d.report.reference_arm for c in drawn):
        caption += ", grey ones have no place on that scale"
    if best_reference:
        caption += f", and the thick one is the best of the arm {d.report.reference_arm}"
    ends = [c.values[-1] for c in shown if c.full]
    if off := len(ends) - len(without_tail(ends, d.report.metric)):
        caption += f"; {count(off, 'trial')} trained to the end stayed far off this range"
    if left_out:
        caption += f"; {count(left_out, 'short trial')} left out"
    return Panel(
        key="curves",
        title=f"{metric_words(d.report.metric).capitalize()} over epochs",
        caption=caption + ".",
        summary=_ends(d, drawn),
        figure=figures.curves_figure(
            drawn,
            axis=d.axis(),
            metric=d.report.metric,
            epochs=d.facts.epochs,
            reference=d.report.reference_arm,
            best_reference=best_reference,
        ),
    )


def _ends(d: Drawing, drawn: Sequence[figures.Curve]) -> str:
    """Where the curves end, in numbers."""
    full = [c for c in drawn if c.full and math.isfinite(c.values[-1])]
    said = f"{count(len(drawn), 'learning curve')}, {len(full)} of them to the last epoch"
    if full:
        best = max(full, key=lambda c: d.sign * c.values[-1])
        first, last = (metric(d.report.metric, best.values[i]) for i in (0, -1))
        said += f"; the best, {best.trial} of {best.arm}, rises from {first} to {last}".replace(
            "rises", "rises" if d.sign > 0 else "falls"
        )
    return said + "."


def _best_of_reference(d: Drawing) -> str | None:
    if d.report.reference:
        return d.report.reference.trial
    best = d.best([t for t in d.full if t.arm == d.report.reference_arm])
    return best.trial if best else None


def survival(d: Drawing) -> Panel | None:
    """What became of the trials at every rung."""
    if not d.explored:
        return None
    last = d.facts.epochs
    said = verdicts(d.view)
    caption = "The height of a bar is the number of trials that reached the rung; the arms are judged apart"
    if any(rung.bracket for rung in d.view.bracket_rungs):
        caption += "; the brackets of Hyperband are added up"
    if d.report.audit:
        caption += "; audited trials went on whatever the rule said"
    fates = [fate for arm in d.arms for fate in _fates(arm, d.explored, said, last)]
    totals = Counter[str]()
    for fate in fates:
        totals.update(stopped=fate.stopped, diverged=fate.diverged, failed=fate.failed)
        totals["waiting"] += fate.waiting
    ended = [f"{n} {word}" for word, n in totals.items() if n]
    came = sum(f.went_on for f in fates if f.epoch == last)
    return Panel(
        key="survival",
        title="Where trials were stopped",
        caption=caption + ".",
        summary=f"{came} of {count(len(d.explored), 'trial')} reached the last epoch"
        + (f"; {listed(ended)}" if ended else "")
        + ".",
        figure=figures.survival_figure(fates, epochs=last),
    )


def _fates(
    arm: str, explored: Sequence[Trial], said: Mapping[str, Mapping[int, Verdict]], last: int
) -> Iterator[figures.Fate]:
    """What became of an arm's trials from one rung to the next; where there are too many rungs, from a few of them."""
    trials = [t for t in explored if t.arm == arm]
    judged = sorted({epoch for t in trials for epoch in said.get(t.trial, ()) if epoch < last})
    if len(judged) > _LEVELS:
        judged = sorted({judged[round(i * (len(judged) - 1) / (_LEVELS - 1))] for i in range(_LEVELS)})
    for level, following in itertools.pairwise([0, *judged, last, math.inf]):
        if level == last:
            yield figures.Fate(
                arm=arm,
                epoch=last,
                went_on=sum(t.state is TrialState.COMPLETED for t in trials),
                stopped=0,
                diverged=0,
                failed=0,
            )
            return
        reached = [t for t in trials if level == 0 or t.epochs > level or level in said.get(t.trial, ())]
        ended = Counter(t.state for t in reached if level < t.epochs <= following or level == t.epochs == 0)
        here = Counter(t.state for t in reached if level <= t.epochs < following)
        fates = {
            "stopped": here[TrialState.PRUNED],
            "waiting": here[TrialState.PAUSED],
            "diverged": ended[TrialState.DIVERGED],
            "failed": ended[TrialState.FAILED],
        }
        yield figures.Fate(arm=arm, epoch=int(level), went_on=len(reached) - sum(fates.values()), **fates)


def audit(d: Drawing) -> Panel | None:
    """What the first rung foretold."""
    found = d.report.audit
    epoch = min((r.epoch for r in found.rungs), default=0) if found else 0
    if found is None or not any(epoch in t.at_rungs for t in found.trials):
        return None
    judged = [t for t in found.trials if epoch in t.at_rungs]
    ended = [t for t in judged if t.stopped_at is not None and t.stopped_at <= epoch]
    good = f"in the best 1/{found.keep:g}"
    return Panel(
        key="audit",
        title="Early stopping audited",
        caption="Trials drawn at random that ran on where the rule would have ended them: the nearer they are to one "
        f"rising order, the more the first rung tells. {found.advice}",
        summary=f"{count(len(judged), 'audited trial')}: the rule would have ended {len(ended)} at epoch {epoch}, and "
        f"{sum(t.good for t in ended)} of these ended {good}.",
        figure=figures.audit_figure(
            [
                figures.AuditPoint(
                    trial=t.trial,
                    arm=t.arm,
                    x=t.x,
                    first=t.at_rungs[epoch],
                    final=t.final,
                    stopped_at=t.stopped_at,
                    good=t.good,
                )
                for t in judged
            ],
            axis=d.axis(),
            metric=d.report.metric,
            epoch=epoch,
            best=good,
        ),
    )
