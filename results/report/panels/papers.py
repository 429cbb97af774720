"""Figures of the three papers: what the teacher tells, what tampering does, timescales of early learning."""

from __future__ import annotations

import math

from results import figures
from results.formats import count, metric, metric_words, setting
from results.report.panels.panel import Drawing, Panel
from results.report.theory import learning_of
from results.report.trials import number, place_of

_ALPHA = "loss.alpha"
_FEWEST_STUDENTS = 5  # fewer show no relation


def students(d: Drawing) -> Panel | None:
    """The metric against what the teachers told."""
    points = []
    for trial in d.full:
        average = d.view.measured(trial.trial, "teacher/derived_average")
        spread = d.view.measured(trial.trial, "teacher/derived_std")
        value = number(trial.value)
        if average is not None and spread is not None and value is not None:
            points.append(
                figures.StudentPoint(
                    trial=trial.trial, arm=trial.arm, value=value, derived_average=average, derived_std=spread
                )
            )
    if len(points) < _FEWEST_STUDENTS:
        return None
    best = max(points, key=lambda p: d.sign * p.value)
    return Panel(
        key="students",
        title=f"{metric_words(d.report.metric).capitalize()} against what the teacher tells",
        caption="Every mark is a student of the search trained to the end (triangles: off the scale). DA says how "
        "strongly its targets are smoothed, DV how clearly they tell the wrong classes apart; both are means over the "
        "training split.",
        summary=f"{count(len(points), 'student')} with DA from {setting(min(p.derived_average for p in points))} to "
        f"{setting(max(p.derived_average for p in points))}; the {d.extreme} of these, {best.trial} of {best.arm}, has "
        f"{metric(d.report.metric, best.value)} at DA {setting(best.derived_average)} and DV (standard deviation) "
        f"{setting(best.derived_std)}.",
        figure=figures.students_figure(
            points,
            arms=d.arms,
            metric=d.report.metric,
            reference=d.report.reference_arm,
            level=d.report.reference.validation if d.report.reference else None,
        ),
    )


def tampered_logits(d: Drawing) -> Panel | None:
    """What tampering made of the trained logits."""
    if _ALPHA not in d.facts.space:
        return None
    points = []
    for trial in d.full:
        alpha = place_of(d.view, trial, _ALPHA)
        norm = d.view.measured(trial.trial, "val/logit_norm", last=True)
        loss = d.view.measured(trial.trial, "val/loss", last=True)
        if alpha is not None and norm is not None and loss is not None:
            points.append(
                figures.TamperedPoint(trial=trial.trial, arm=trial.arm, alpha=alpha, logit_norm=norm, loss=loss)
            )
    if not points:
        return None
    ends = [f(points, key=lambda p: p.alpha) for f in (min, max)]
    return Panel(
        key="logits",
        title="Logit norm and cross-entropy against alpha",
        caption="Trials of the search trained to the end, on the validation split after the last epoch; triangles are "
        "off the scale. In the paper the norm falls as alpha grows.",
        summary=f"{count(len(points), 'trial')}. "
        + "; ".join(
            f"at alpha {setting(p.alpha)} the logit norm is {setting(p.logit_norm)} and the cross-entropy "
            f"{metric('val/loss', p.loss)}"
            for p in ends[: len(points)]
        ).capitalize()
        + ".",
        figure=figures.logits_figure(points, arms=d.arms, axis=d.axis(_ALPHA), reference=d.report.reference_arm),
    )


def tampering(d: Drawing) -> Panel | None:
    """What alpha does to the probabilities in the gradient, by an example."""
    if _ALPHA not in d.facts.space or not d.explored:
        return None
    best = number(d.report.best.settings.get(_ALPHA)) if d.report.best else None
    return Panel(
        key="tampering",
        title="What alpha does to the gradient",
        caption=f"An example: a sample whose {len(figures.EXAMPLE)} classes have the probabilities "
        f"{', '.join(f'{100 * p:g}' for p in figures.EXAMPLE)} %, and what takes their place in the gradient. "
        "Probabilities below the stationary threshold rise, those above it fall.",
        summary="A calculation, no measurement: the smaller alpha, the more even are the probabilities that enter the "
        "gradient" + ("" if best is None else f"; the study's best alpha is {setting(best)}") + ".",
        figure=figures.example_figure(best),
    )


def timescales(d: Drawing) -> Panel | None:
    """Predicted against measured times of early learning."""
    points = [
        figures.TimescalePoint(trial=row.trial, scale=scale.name, predicted=predicted, measured=measured, note=row.note)
        for row in learning_of(d.view)
        for scale in row.scales
        if (predicted := scale.predicted or 0.0) > 0 and (measured := scale.measured or 0.0) > 0
    ]
    if not points:
        return None
    off = sorted(abs(math.log(p.measured / p.predicted)) for p in points)
    return Panel(
        key="theory",
        title="Timescales of early learning",
        caption="As predicted from the network before its first step, against as they came, in learning time (the sum "
        "of the learning rates of the steps). tau_z: until the logits have changed by their own norm; tau_nl: until "
        "the tangent kernel has. Trials that ended before are left out.",
        summary=f"{count(len(points), 'timescale')} predicted and measured; half of them agree within a factor of "
        f"{setting(math.exp(off[(len(off) - 1) // 2]))}.",
        figure=figures.timescales_figure(points),
    )
