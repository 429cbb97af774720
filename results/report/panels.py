"""The figures of a report, each with a title and a sentence: picks from the records what ``figures`` draws."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import plotly.graph_objects as go

from results import figures
from results.formats import count, metric_words, settings
from results.query import Trial
from results.report.model import Report
from results.report.pareto import ACCURACY, LIKELIHOOD
from results.report.stability import never_learned
from results.report.theory import learning_of
from results.report.trials import number, place_of, verdicts
from results.schema import Stage, TrialState, Verdict

_CURVES = 300  # more would hide each other and make the page heavy
_ALPHA = "loss.alpha"
_LEVELS = 8  # rungs of a rule that compares in every epoch
_FEWEST_STUDENTS = 5  # fewer show no relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A figure as the page shows it."""

    key: str
    """Identifier in the page."""
    title: str
    caption: str
    """One sentence."""
    figure: go.Figure


def panels(report: Report) -> tuple[Panel, ...]:
    """The figures that a report has data for, in the order of the page."""
    explored = [t for t in report.view.trials if t.stage is Stage.EXPLORE and t.attempt > 0]
    made = (
        _temperature(report, explored),
        _pareto(report, explored),
        _students(report, explored),
        _tampered_logits(report, explored),
        _tampering(report, explored),
        _timescales(report),
        _curves(report, explored),
        _survival(report, explored),
        _audit(report),
    )
    return tuple(panel for panel in made if panel is not None)


def _temperature(report: Report, explored: list[Trial]) -> Panel | None:
    axis = _axis(report)
    untrained = never_learned(report.view)
    points = [
        figures.ExploredPoint(
            trial=t.trial,
            arm=t.arm,
            x=x,
            y=t.value if t.value is not None else t.last_value,
            epochs=t.epochs,
            state=t.state,
            trained=t.trial not in untrained,
        )
        for t in explored
        if t.state.is_final and (x := place_of(report.view, t)) is not None
    ]
    if not points:
        return None
    by_name = {t.trial: t for t in explored}
    confirmed = [
        figures.ConfirmedPoint(
            trial=c.trial, arm=c.arm, x=x, values=tuple(c.validation_by_seed.values()), mean=c.validation
        )
        for c in report.candidates
        if c.validation is not None and (x := place_of(report.view, by_name[c.trial])) is not None
    ]
    baseline = report.reference.validation if report.reference else None
    below = any(point.trouble for point in points)
    strip = (
        "; trials that ended early, or were right no more often than by chance, stand in the strip below, where only "
        "their place on the axis counts"
    )
    return Panel(
        key="temperature",
        title=f"{metric_words(report.metric).capitalize()} against {axis.label}",
        caption="Open marks are trials of the search trained to the end (triangles: off the scale), diamonds the "
        "candidates on fresh seeds with their 95 % interval" + (strip if below else "") + ".",
        figure=figures.temperature_figure(
            points,
            confirmed,
            arms=_arms(explored),
            axis=axis,
            metric=report.metric,
            reference=report.reference_arm,
            baseline=baseline,
        ),
    )


def _curves(report: Report, explored: list[Trial]) -> Panel | None:
    with_epochs = [t for t in explored if t.trial in report.view.epoch_means]
    with_epochs.sort(key=lambda t: (t.state is not TrialState.COMPLETED, -t.epochs))
    curves = []
    for trial in with_epochs[:_CURVES]:
        measured = [
            (e.epoch, e.metrics[report.metric])
            for e in report.view.epoch_means[trial.trial]
            if report.metric in e.metrics
        ]
        if measured:
            curves.append(
                figures.Curve(
                    trial=trial.trial,
                    arm=trial.arm,
                    x=place_of(report.view, trial),
                    epochs=tuple(e for e, _ in measured),
                    values=tuple(v for _, v in measured),
                    full=trial.state is TrialState.COMPLETED,
                )
            )
    if not curves:
        return None
    axis = _axis(report)
    best_reference = _best_of_reference(report, with_epochs)
    left_out = len(with_epochs) - len(with_epochs[:_CURVES])
    caption = f"Every line is a trial of the search, coloured by {axis.label}; faint ones ended early"
    if any(c.x is None and c.arm != report.reference_arm for c in curves):
        caption += ", grey ones have no place on that scale"
    if best_reference:
        caption += f", and the black one is the best of the arm {report.reference_arm}"
    if left_out:
        caption += f"; {count(left_out, 'short trial')} left out"
    return Panel(
        key="curves",
        title=f"{metric_words(report.metric).capitalize()} over epochs",
        caption=caption + ".",
        figure=figures.curves_figure(
            curves,
            axis=axis,
            metric=report.metric,
            epochs=report.view.facts.epochs,
            reference=report.reference_arm,
            best_reference=best_reference,
        ),
    )


def _survival(report: Report, explored: list[Trial]) -> Panel | None:
    if not explored:
        return None
    last = report.view.facts.epochs
    said = verdicts(report.view)
    caption = "The height of a bar is the number of trials that reached the rung; the arms are judged apart"
    if any(rung.bracket for rung in report.view.bracket_rungs):
        caption += "; the brackets of Hyperband are added up"
    if report.audit:
        caption += "; audited trials went on whatever the rule said"
    return Panel(
        key="survival",
        title="Where trials were stopped",
        caption=caption + ".",
        figure=figures.survival_figure(
            [fate for arm in _arms(explored) for fate in _fates(arm, explored, said, last)], epochs=last
        ),
    )


def _fates(
    arm: str, explored: list[Trial], said: Mapping[str, Mapping[int, Verdict]], last: int
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


def _audit(report: Report) -> Panel | None:
    """What the first rung foretold."""
    audit = report.audit
    epoch = min((r.epoch for r in audit.rungs), default=0) if audit else 0
    if audit is None or not any(epoch in t.at_rungs for t in audit.trials):
        return None
    good = f"in the best 1/{audit.keep:g}"
    return Panel(
        key="audit",
        title="Early stopping audited",
        caption="Trials drawn at random that ran on where the rule would have ended them: the nearer they are to one "
        f"rising order, the more the first rung tells. {audit.advice}",
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
                for t in audit.trials
                if epoch in t.at_rungs
            ],
            axis=_axis(report),
            metric=report.metric,
            epoch=epoch,
            best=good,
        ),
    )


def _pareto(report: Report, explored: list[Trial]) -> Panel | None:
    """Accuracy against calibrated likelihood."""
    found = report.pareto
    if found is None or not {ACCURACY, LIKELIHOOD} <= {*found.objectives}:
        return None
    return Panel(
        key="pareto",
        title="Accuracy against likelihood",
        caption="Trials of the search trained to the end, on the validation split (triangles: off the scale). Filled: "
        "no other trial beats them in everything that is weighed in the table of the Pareto set.",
        figure=figures.pareto_figure(
            [
                figures.TradeOff(
                    trial=t.trial,
                    arm=t.arm,
                    accuracy=t.values[ACCURACY],
                    loss=t.values[LIKELIHOOD],
                    efficient=t.efficient,
                    note=settings(t.settings),
                )
                for t in found.trials
            ],
            arms=_arms(explored),
            reference=report.reference_arm,
        ),
    )


def _students(report: Report, explored: list[Trial]) -> Panel | None:
    """The metric against what the teachers told."""
    view = report.view
    points = []
    for trial in explored:
        average = view.measured(trial.trial, "teacher/derived_average")
        spread = view.measured(trial.trial, "teacher/derived_std")
        value = number(trial.value)
        if trial.state is TrialState.COMPLETED and average is not None and spread is not None and value is not None:
            points.append(
                figures.StudentPoint(
                    trial=trial.trial, arm=trial.arm, value=value, derived_average=average, derived_std=spread
                )
            )
    if len(points) < _FEWEST_STUDENTS:
        return None
    level = report.reference.validation if report.reference else None
    return Panel(
        key="students",
        title=f"{metric_words(report.metric).capitalize()} against what the teacher tells",
        caption="Every mark is a student of the search trained to the end (triangles: off the scale). DA says how "
        "strongly its targets are smoothed, DV how clearly they tell the wrong classes apart; both are means over the "
        "training split.",
        figure=figures.students_figure(
            points, arms=_arms(explored), metric=report.metric, reference=report.reference_arm, level=level
        ),
    )


def _tampered_logits(report: Report, explored: list[Trial]) -> Panel | None:
    """What tampering made of the trained logits."""
    view = report.view
    if _ALPHA not in view.facts.space:
        return None
    points = []
    for trial in explored:
        alpha = place_of(report.view, trial, _ALPHA)
        norm = view.measured(trial.trial, "val/logit_norm", last=True)
        loss = view.measured(trial.trial, "val/loss", last=True)
        if trial.state is TrialState.COMPLETED and alpha is not None and norm is not None and loss is not None:
            points.append(
                figures.TamperedPoint(trial=trial.trial, arm=trial.arm, alpha=alpha, logit_norm=norm, loss=loss)
            )
    if not points:
        return None
    return Panel(
        key="logits",
        title="Logit norm and cross-entropy against alpha",
        caption="Trials of the search trained to the end, on the validation split after the last epoch; triangles are "
        "off the scale. In the paper the norm falls as alpha grows.",
        figure=figures.logits_figure(
            points, arms=_arms(explored), axis=_axis(report, _ALPHA), reference=report.reference_arm
        ),
    )


def _tampering(report: Report, explored: list[Trial]) -> Panel | None:
    """What alpha does to the probabilities in the gradient, by an example."""
    if _ALPHA not in report.view.facts.space or not explored:
        return None
    best = number(report.best.settings.get(_ALPHA)) if report.best else None
    return Panel(
        key="tampering",
        title="What alpha does to the gradient",
        caption=f"An example: a sample whose {len(figures.EXAMPLE)} classes have the probabilities "
        f"{', '.join(f'{100 * p:g}' for p in figures.EXAMPLE)} %, and what takes their place in the gradient. "
        "Probabilities below the stationary threshold rise, those above it fall.",
        figure=figures.example_figure(best),
    )


def _timescales(report: Report) -> Panel | None:
    """Predicted against measured times of early learning."""
    points = [
        figures.TimescalePoint(trial=row.trial, scale=scale.name, predicted=predicted, measured=measured, note=row.note)
        for row in learning_of(report.view)
        for scale in row.scales
        if (predicted := scale.predicted or 0.0) > 0 and (measured := scale.measured or 0.0) > 0
    ]
    if not points:
        return None
    return Panel(
        key="theory",
        title="Timescales of early learning",
        caption="As predicted from the network before its first step, against as they came, in learning time (the sum "
        "of the learning rates of the steps). tau_z: until the logits have changed by their own norm; tau_nl: until "
        "the tangent kernel has. Trials that ended before are left out.",
        figure=figures.timescales_figure(points),
    )


def _arms(explored: list[Trial]) -> tuple[str, ...]:
    """Arms in the order in which the figures give them their colours."""
    return tuple(dict.fromkeys(t.arm for t in explored))


def _axis(report: Report, path: str | None = None) -> figures.Axis:
    """The axis of a searched path; that of the temperature if none is named."""
    facts = report.view.facts
    if path is None:
        return figures.Axis(label=facts.axis_label, log=facts.temperature_is_log)
    return figures.Axis(label=facts.label_of(path), log=facts.is_log(path))


def _best_of_reference(report: Report, trials: list[Trial]) -> str | None:
    if report.reference:
        return report.reference.trial
    sign = 1 if report.mode == "max" else -1
    done = [t for t in trials if t.arm == report.reference_arm and t.state is TrialState.COMPLETED]
    ranked = [(sign * t.value, t.trial) for t in done if t.value is not None and math.isfinite(t.value)]
    return max(ranked)[1] if ranked else None
