"""What the verdict rests on: the confirm seeds, and the metric against temperature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from results import figures
from results.figures.ridge import NEAR
from results.formats import count, difference, interval, listed, metric, metric_words, setting
from results.report.model import Candidate
from results.report.panels.panel import LR, Drawing, Panel, value_of
from results.report.stability import never_learned
from results.report.trials import number, place_of
from results.schema import TrialState
from results.statistics import mean_interval, paired_difference

_FEWEST_PARTS = 2  # of the temperature's range, for a line through them


def seeds(d: Drawing) -> Panel | None:
    """The confirm seeds of every candidate, on the test split once all candidates have one."""
    ended = [c for c in d.report.candidates if c.validation_by_seed]
    if not ended:
        return None
    tested = all(c.test_by_seed for c in ended)
    name = d.report.test_metric if tested else d.report.metric
    by_trial = {c.trial: c.test_by_seed if tested else c.validation_by_seed for c in ended}
    rows = [
        figures.SeedRow(
            trial=c.trial,
            arm=c.arm,
            values=by_trial[c.trial],
            mean=mean_interval(list(by_trial[c.trial].values())),
            lost=c.diverged + c.failed,
        )
        for c in ended
    ]
    pair = _pair(d, ended)
    caption = f"Every open mark is a fresh seed; candidates in the order of the {metric_words(d.report.metric)}."
    summary = f"{metric_words(name).capitalize()}, mean over the seeds: " + listed(
        [f"{row.trial} of {row.arm} {interval(name, row.mean)}" for row in rows]
    )
    if pair is not None:
        caption += f" Lines join the same seed of {pair[0]} and of the reference's best, {pair[1]}"
        caption += ", whose 95 % interval is shaded: lines that lean to the same side on every seed speak for a "
        caption += "difference, but few seeds alone do not prove it."
        paired = paired_difference(by_trial[pair[0]], by_trial[pair[1]])
        if paired is not None:
            summary += f". {pair[0]} minus {pair[1]}, seed by seed: {difference(name, paired)}"
    return Panel(
        key="seeds",
        title=f"Confirmed on fresh seeds: {metric_words(name)}",
        caption=caption,
        summary=summary + ".",
        figure=figures.seeds_figure(rows, arms=d.arms, metric=name, reference=d.report.reference_arm, pair=pair),
    )


def _pair(d: Drawing, ended: Sequence[Candidate]) -> tuple[str, str] | None:
    best, reference = d.report.challenger, d.report.reference
    there = {c.trial for c in ended}
    if best is None or reference is None or not {best.trial, reference.trial} <= there:
        return None
    return best.trial, reference.trial


def temperature(d: Drawing) -> Panel | None:
    """The metric against temperature."""
    axis = d.axis()
    untrained = never_learned(d.view)
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
        for t in d.explored
        if t.state.is_final and (x := place_of(d.view, t)) is not None
    ]
    by_name = {t.trial: t for t in d.explored}
    confirmed = [
        figures.ConfirmedPoint(
            trial=c.trial, arm=c.arm, x=x, values=tuple(c.validation_by_seed.values()), mean=c.validation
        )
        for c in d.report.candidates
        if c.validation is not None and (x := place_of(d.view, by_name[c.trial])) is not None
    ]
    if not confirmed and not any(point.placed for point in points):
        return None  # a strip alone shows nothing of the metric
    ridges = _ridges(d, untrained)
    caption = (
        "Open marks are trials of the search trained to the end (triangles: off the scale), diamonds the candidates "
        "on fresh seeds with their 95 % interval"
    )
    if ridges:
        caption += (
            f"; the thick line joins medians over the trials whose lr is within a factor of {NEAR:g} of the best one "
            "there, and its thin bars reach from the lowest to the highest of them"
        )
    if any(point.trouble for point in points):
        caption += (
            "; trials that ended early, or were right no more often than by chance, stand in the strip below, where "
            "only their place on the axis counts"
        )
    return Panel(
        key="temperature",
        title=f"{metric_words(d.report.metric).capitalize()} against {axis.label}",
        caption=caption + ".",
        summary=_said(d, points),
        figure=figures.temperature_figure(
            points,
            confirmed,
            arms=d.arms,
            axis=axis,
            metric=d.report.metric,
            reference=d.report.reference_arm,
            baseline=d.report.reference.validation if d.report.reference else None,
            ridges=ridges,
        ),
    )


def _ridges(d: Drawing, untrained: frozenset[str]) -> dict[str, tuple[figures.RidgeLevel, ...]]:
    """The metric at the best learning rate, of the arms in which it can be told."""
    found = {}
    for arm in d.arms:
        trials = [
            (x, lr, value)
            for t in d.full
            if t.arm == arm
            and t.trial not in untrained
            and (x := place_of(d.view, t)) is not None
            and (lr := number(t.coordinates.get(LR))) is not None
            and lr > 0
            and (value := value_of(t)) is not None
        ]
        if d.facts.temperature in d.facts.varying.get(arm, ()):
            levels = figures.ridge(trials, log=d.facts.temperature_is_log, sign=d.sign)
            if len(levels) >= _FEWEST_PARTS:
                found[arm] = levels
    return found


def _said(d: Drawing, points: Sequence[figures.ExploredPoint]) -> str:
    name, label = d.report.metric, d.axis().label
    places = [p.x for p in points]
    ended = Counter(p.trouble for p in points)
    full = [p for p in points if p.state is TrialState.COMPLETED and p.trouble is None and p.y is not None]
    said = f"{count(len(points), 'trial')} with {label} from {setting(min(places))} to {setting(max(places))}"
    said += f": {ended[None]} trained to the end" + "".join(f", {n} {why}" for why, n in ended.items() if why)
    if full:
        best = max(full, key=lambda p: d.sign * (p.y or 0.0))
        said += f". Best of the search: {metric(name, best.y)} at {setting(best.x)} ({best.trial} of {best.arm})"
    if d.report.reference and d.report.reference.validation:
        said += f". The reference on fresh seeds: {interval(name, d.report.reference.validation)}"
    return said + "."
