"""Details of the search: what matters, all settings at a glance, other objectives, calibration."""

from __future__ import annotations

import math

from results import figures
from results.formats import count, listed, metric, percent, settings
from results.importance import FEWEST, ImportanceUnknown, Observation, importance
from results.query import Trial
from results.report.panels.panel import Drawing, Panel, off_the_scale, value_of
from results.report.pareto import ACCURACY, LIKELIHOOD
from results.report.trials import number
from results.schema import Stage, TrialState

_ARMS = 3  # whose importances are worked out: each takes a second
_FEWEST_LINES = 10
_LINES = 400  # more would hide each other and make the page heavy


def importances(d: Drawing) -> Panel | None:
    """Which searched value matters, by two methods, over survivors and over all."""
    arms = [arm for arm in d.arms if len(d.facts.varying.get(arm, ())) > 1]
    rows, untold = [], []
    for arm in arms[:_ARMS]:
        ended = [t for t in d.explored if t.arm == arm and t.state.is_final and t.state is not TrialState.FAILED]
        full = [t for t in ended if t.state is TrialState.COMPLETED and value_of(t) is not None]
        sets = [(True, [d.sign * (value_of(t) or 0.0) for t in full], full)]
        if len(full) < len(ended):
            sets.append((False, _ranks(d, ended), ended))
        for survivors, scores, trials in sets:
            try:
                shares = importance(_observations(d, arm, trials, scores), seed=d.facts.seed % 2**32)
            except ImportanceUnknown as error:
                if len(ended) >= FEWEST:
                    untold.append(f"{arm}, {'trained to the end' if survivors else 'all trials'}: {error}")
                continue
            rows.append(figures.ImportanceRow(arm=arm, survivors=survivors, shares=shares, total=len(trials)))
    if not rows:
        return None
    caption = (
        "The share of the differences between trials that a setting explains: fANOVA over its whole range, PED-ANOVA "
        "among the best tenth. Read it with care: such shares change much from study to study, and where the methods "
        "disagree the trials do not tell. Among trials trained to the end a setting looks unimportant if early "
        "stopping left little variety in it; all trials are ordered by epochs reached and then by value, diverged ones "
        "last."
    )
    if untold:
        caption += f" Not shown: {'; '.join(untold)}."
    if len(arms) > _ARMS:
        caption += f" Only of the first {_ARMS} arms."
    return Panel(
        key="importance",
        title="Which setting matters",
        caption=caption,
        summary=". ".join(_leader(row) for row in rows) + ".",
        figure=figures.importance_figure(rows),
    )


def _leader(row: figures.ImportanceRow) -> str:
    first = [max(shares, key=lambda path: shares[path]) for shares in (row.shares.fanova, row.shares.ped_anova)]
    return (
        f"{row.arm}, {row.trials}: fANOVA gives {first[0]} "
        f"{100 * row.shares.fanova[first[0]]:.0f} %, PED-ANOVA {first[1]} {100 * row.shares.ped_anova[first[1]]:.0f} %"
    )


def _ranks(d: Drawing, trials: list[Trial]) -> list[float]:
    """Place of each trial, 0..1, higher is better: diverged last, then by epochs reached, then by value."""

    def key(trial: Trial) -> tuple[bool, int, float]:
        value = value_of(trial)
        return trial.state is not TrialState.DIVERGED, trial.epochs, -math.inf if value is None else d.sign * value

    order = {kept: i for i, kept in enumerate(sorted({key(t) for t in trials}))}
    return [order[key(t)] / max(1, len(order) - 1) for t in trials]


def _observations(d: Drawing, arm: str, trials: list[Trial], scores: list[float]) -> tuple[Observation, ...]:
    """Trials by the coordinates that the search moved; those without one of them are left out."""
    found = []
    for trial, score in zip(trials, scores, strict=True):
        values: list[tuple[str, float | str]] = []
        for path in d.facts.varying[arm]:
            raw = trial.coordinates.get(path)
            value = number(raw)
            if value is None:
                values += [] if raw is None else [(path, str(raw))]
            elif not d.facts.is_log(path):
                values.append((path, value))
            elif value > 0:
                values.append((path, math.log(value)))
        if len(values) == len(d.facts.varying[arm]):
            found.append(Observation(tuple(values), score))
    return tuple(found)


def parallel(d: Drawing) -> Panel | None:
    """All settings of all trials at a glance."""
    trials = [t for t in d.explored if t.state.is_final and t.state is not TrialState.FAILED]
    trials.sort(key=lambda t: t.state is not TrialState.COMPLETED)
    left_out = len(trials) - len(trials[:_LINES])
    paths = [path for path in d.facts.space if len({str(t.setting(path)) for t in trials}) > 1]
    if len(trials) < _FEWEST_LINES or len(paths) < 2:
        return None
    lines = [
        figures.Line(
            trial=t.trial,
            arm=t.arm,
            settings=tuple(t.setting(path) for path in paths),
            value=value_of(t),
            state=t.state,
        )
        for t in trials[:_LINES]
    ]
    values = [n.value for n in lines if n.state is TrialState.COMPLETED and n.value is not None]
    states = [t.state for t in trials]
    ended = [
        f"{n} {word}"
        for state, word in (
            (TrialState.COMPLETED, "trained to the end"),
            (TrialState.PRUNED, "stopped early"),
            (TrialState.DIVERGED, "diverged"),
        )
        if (n := states.count(state))
    ]
    best = d.best(list(d.full))
    summary = f"{count(len(trials), 'trial')}: {listed(ended)}"
    if best is not None:
        at = {path: best.setting(path) for path in paths}
        summary += f". The {d.extreme} in the search, {best.trial}, has {metric(d.report.metric, value_of(best))}"
        summary += f" with {settings(at)}"
    return Panel(
        key="parallel",
        title="All settings at a glance",
        caption="Every line is a trial of the search; those trained to the end end at their value, from ochre (bad) to "
        f"blue (good), and the {d.extreme} is thick. Grey ones were stopped early and dotted red ones diverged: they "
        "have no such value and end below."
        + off_the_scale(values, d.report.metric)
        + (f" {count(left_out, 'trial')} that ended early left out." if left_out else ""),
        summary=summary + ".",
        figure=figures.parallel_figure(
            lines,
            scales=[figures.Scale(label=path.rpartition(".")[2], log=d.facts.is_log(path)) for path in paths],
            metric=d.report.metric,
            mode=d.report.mode,
        ),
    )


def pareto(d: Drawing) -> Panel | None:
    """Accuracy against calibrated likelihood."""
    found = d.report.pareto
    if found is None or not {ACCURACY, LIKELIHOOD} <= {*found.objectives}:
        return None
    efficient = [t for t in found.trials if t.efficient]
    top = max(found.trials, key=lambda t: t.values[ACCURACY])
    likeliest = min(found.trials, key=lambda t: t.values[LIKELIHOOD])
    return Panel(
        key="pareto",
        title="Accuracy against likelihood",
        caption="Trials of the search trained to the end, on the validation split (triangles: off the scale). Filled: "
        "no other trial beats them in everything that is weighed in the table of the Pareto set.",
        summary=f"{len(efficient)} of {count(len(found.trials), 'trial')} are in the Pareto set. The most accurate, "
        f"{top.trial}, has {percent(top.values[ACCURACY])}; the likeliest, {likeliest.trial}, "
        f"{metric('val/loss', likeliest.values[LIKELIHOOD])} after its temperature was refitted.",
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
            arms=d.arms,
            reference=d.report.reference_arm,
        ),
    )


def calibration(d: Drawing) -> Panel | None:
    """How sure candidates are of themselves on the test split, before and after one temperature was fitted."""
    points = []
    for candidate in d.report.candidates:
        for run in d.view.trials:
            if run.stage is Stage.CONFIRM and run.source == candidate.trial and run.state is TrialState.COMPLETED:
                loss, refit, ece, ece_refit, fitted = (
                    d.view.measured(run.trial, name, last=True)
                    for name in ("test/loss", "test/loss_refit", "test/ece", "test/ece_refit", "val/refit_temperature")
                )
                if loss is not None and refit is not None:
                    points.append(
                        figures.CalibrationPoint(
                            trial=candidate.trial,
                            arm=candidate.arm,
                            seed=next(iter(run.seeds), 0),
                            ece=ece,
                            ece_refit=ece_refit,
                            loss=loss,
                            loss_refit=refit,
                            temperature=fitted,
                        )
                    )
    if not points:
        return None
    means = [
        f"{row.trial} of {row.arm}: NLL {metric('test/loss', row.nll)} as trained, "
        f"{metric('test/loss', row.nll_refit)} refitted"
        + ("" if row.ece is None else f", ECE {percent(row.ece)} and {percent(row.ece_refit)}")
        for row in d.report.calibration
    ]
    return Panel(
        key="calibration",
        title="Calibration before and after refitting",
        caption="Candidates on the test split, a line for each confirm seed: open as trained, filled after one "
        "temperature was fitted on the validation split. NLL and ECE are better to the left; a temperature below 1 "
        "means that the network was not sure enough, above 1 too sure.",
        summary="Means over the confirm seeds. " + "; ".join(means) + ".",
        figure=figures.calibration_figure(points, arms=d.arms, reference=d.report.reference_arm),
    )
