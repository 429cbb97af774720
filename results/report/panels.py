"""The figures of a report, each with a title and a sentence: picks from the records what ``figures`` draws."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import plotly.graph_objects as go

from results import figures
from results.formats import count, metric_words
from results.query import Trial
from results.report.model import Report
from results.schema import Stage, TrialState

_CURVES = 300  # more would hide each other and make the page heavy


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
    made = (_temperature(report, explored), _curves(report, explored), _survival(report, explored))
    return tuple(panel for panel in made if panel is not None)


def _temperature(report: Report, explored: list[Trial]) -> Panel | None:
    axis = _axis(report)
    points = [
        figures.ExploredPoint(
            trial=t.trial,
            arm=t.arm,
            x=x,
            y=t.value if t.value is not None else t.last_value,
            epochs=t.epochs,
            state=t.state,
        )
        for t in explored
        if t.state.is_final and (x := _x(report, t)) is not None
    ]
    if not points:
        return None
    by_name = {t.trial: t for t in explored}
    confirmed = [
        figures.ConfirmedPoint(
            trial=c.trial, arm=c.arm, x=x, values=tuple(c.validation_by_seed.values()), mean=c.validation
        )
        for c in report.candidates
        if c.validation is not None and (x := _x(report, by_name[c.trial])) is not None
    ]
    baseline = report.reference.validation if report.reference else None
    return Panel(
        key="temperature",
        title=f"{metric_words(report.metric).capitalize()} against {axis.label}",
        caption="Circles are trials of the search trained to the end (triangles: off the scale), diamonds the "
        "candidates on fresh seeds with their 95 % interval; trials that ended early stand in the strip "
        "below, where only their place on the axis counts.",
        figure=figures.temperature_figure(
            points,
            confirmed,
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
                    x=_x(report, trial),
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
    fates = []
    for arm in dict.fromkeys(t.arm for t in explored):
        trials = [t for t in explored if t.arm == arm]
        judged = {r.epoch: r for r in report.view.rungs if r.arm == arm and r.epoch < last}
        levels = [0, *judged, last]
        for level, following in itertools.pairwise([*levels, math.inf]):
            if level == last:
                reached, stopped = sum(t.state is TrialState.COMPLETED for t in trials), 0
            else:
                reached = judged[int(level)].reached if level else len(trials)
                stopped = judged[int(level)].stopped if level else 0
            between = [t for t in trials if level < t.epochs <= following or (level == t.epochs == 0)]
            diverged = sum(t.state is TrialState.DIVERGED for t in between) if level < last else 0
            failed = sum(t.state is TrialState.FAILED for t in between) if level < last else 0
            fates.append(
                figures.Fate(
                    arm=arm,
                    epoch=int(level),
                    went_on=max(0, reached - stopped - diverged - failed),
                    stopped=stopped,
                    diverged=diverged,
                    failed=failed,
                )
            )
    return Panel(
        key="survival",
        title="Where trials were stopped",
        caption="The height of a bar is the number of trials that reached the rung; the arms are judged apart.",
        figure=figures.survival_figure(fates, epochs=last),
    )


def _axis(report: Report) -> figures.Axis:
    facts = report.view.facts
    return figures.Axis(label=facts.axis_label, log=facts.temperature_is_log)


def _x(report: Report, trial: Trial) -> float | None:
    """The trial's place on the temperature axis; None where it has no number there."""
    facts = report.view.facts
    value = trial.setting(facts.temperature) if facts.temperature else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return None if facts.temperature_is_log and value <= 0 else float(value)


def _best_of_reference(report: Report, trials: list[Trial]) -> str | None:
    if report.reference:
        return report.reference.trial
    sign = 1 if report.mode == "max" else -1
    done = [t for t in trials if t.arm == report.reference_arm and t.state is TrialState.COMPLETED]
    ranked = [(sign * t.value, t.trial) for t in done if t.value is not None and math.isfinite(t.value)]
    return max(ranked)[1] if ranked else None
