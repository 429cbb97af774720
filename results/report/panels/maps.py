"""Maps of the search: temperature against learning rate, and the teacher's two temperatures."""

from __future__ import annotations

from results import figures
from results.figures.cells import Grid
from results.figures.maps import cell_state
from results.formats import count, metric, percent, setting
from results.query import Trial
from results.report.panels.panel import LR, Drawing, Panel, off_the_scale, value_of
from results.report.trials import number, place_of
from results.schema import TrialState
from results.statistics import wilson_interval

_FEWEST = 10  # trials; fewer make no map
_TAU1, _GAP = "loss.tau1", "loss.gap"


def value_map(d: Drawing) -> Panel | None:
    """The metric over temperature and learning rate: the latter as used, and as the study's rule rescales it."""
    arm = _arm(d)
    trials = [] if arm is None else _ended(d, arm)
    if arm is None or len(trials) < _FEWEST:
        return None
    plain = [_point(d, t, number(t.params.get(LR))) for t in trials]
    rescaled = [_point(d, t, number(t.coordinates.get(LR))) for t in trials]
    rule = d.facts.space[LR].partition(", times ")[2].partition(", when ")[0]
    views, axes = [plain], [d.axis(LR)]
    if rule:
        views.append(rescaled)
        axes.append(figures.Axis(label=f"lr / ({rule})", log=d.facts.is_log(LR)))
    caption = (
        f"Trials of the arm {arm}. A cell has the colour of the median over its trials trained to the end; grey: all "
        "its trials were stopped early; red: none came through and some diverged; empty: never tried. A median far "
        "worse than the others has the colour of the end of the scale."
    )
    if rule:
        caption += (
            " Above the learning rate as it was used; below as it was searched, divided by the rule of the study file: "
            "where the good cells lie level there, the rule is right."
        )
    full = [t for t in trials if t.state is TrialState.COMPLETED and value_of(t) is not None]
    best = d.best(full)
    cells = [cell_state(cell) for cell in Grid(views[-1], d.axis(), axes[-1], most=9).cells]
    summary = f"{count(len(trials), 'trial')} of {arm} over temperature and learning rate: "
    summary += f"{len(full)} trained to the end, in {count(cells.count(TrialState.COMPLETED), 'cell')} of the last map"
    if best is not None:
        at, lr = place_of(d.view, best), number(best.params.get(LR))
        summary += f". The {d.extreme} of these, {best.trial}, has {metric(d.report.metric, value_of(best))} at "
        summary += f"{d.axis().label} {setting(at)} and lr {setting(lr)}"
    return Panel(
        key="map",
        title="Where the search found good settings",
        caption=caption,
        summary=summary + ".",
        figure=figures.value_map_figure(views, x=d.axis(), ys=axes, metric=d.report.metric, mode=d.report.mode),
    )


def instability(d: Drawing) -> Panel | None:
    """How often trials diverged, over temperature and learning rate; None where none did."""
    arm = _arm(d)
    trials = [] if arm is None else [t for t in _ended(d, arm) if t.state is not TrialState.FAILED]
    lost = sum(t.state is TrialState.DIVERGED for t in trials)
    if len(trials) < _FEWEST or not lost:
        return None
    low, high = wilson_interval(lost, len(trials))
    points = [_point(d, t, number(t.params.get(LR))) for t in trials]
    cells = Grid(points, d.axis(), d.axis(LR), most=6).cells
    worst = max(cells, key=lambda c: (c.ended(TrialState.DIVERGED) / len(c.points), len(c.points)))
    return Panel(
        key="instability",
        title="Where training diverged",
        caption=f"Trials of the arm {arm}. The numbers are diverged trials of all that ended in the cell; its 95 % "
        "Wilson interval shows when it is pointed at. A cell with few trials proves little.",
        summary=f"{lost} of {len(trials)} trials of {arm} diverged: {percent(lost / len(trials))}, 95 % interval "
        f"{percent(low)} to {percent(high)}. The worst cell has {worst.ended(TrialState.DIVERGED)} of "
        f"{len(worst.points)}, around {d.axis().label} {setting(worst.points[0].x)} and learning rate "
        f"{setting(worst.points[0].y)}.",
        figure=figures.instability_figure(points, x=d.axis(), y=d.axis(LR)),
    )


def teacher_temperatures(d: Drawing) -> Panel | None:
    """The metric over the teacher's two temperatures, where students searched them."""
    if _TAU1 not in d.facts.space:
        return None
    points = [
        figures.TeacherPoint(
            trial=t.trial, arm=t.arm, tau1=tau1, tau2=tau1 - gap, value=value_of(t), epochs=t.epochs, state=t.state
        )
        for t in d.explored
        if t.state.is_final
        and t.setting("loss.name") == "distilled"
        and (tau1 := number(t.setting(_TAU1))) is not None
        and (gap := number(t.setting(_GAP))) is not None
    ]
    if len(points) < _FEWEST:
        return None
    full = [p for p in points if p.state is TrialState.COMPLETED and p.value is not None]
    summary = f"{count(len(points), 'student')}, {len(full)} of them trained to the end"
    if full:
        best = max(full, key=lambda p: d.sign * (p.value or 0.0))
        summary += (
            f"; the {d.extreme} of these, {best.trial} of {best.arm}, has {metric(d.report.metric, best.value)} at "
            f"tau1 {setting(best.tau1)} and tau2 {setting(best.tau2)}"
        )
    return Panel(
        key="teacher-temperatures",
        title="The teacher's two temperatures",
        caption="Every mark is a student of the search; coloured ones were trained to the end. On the dashed line both "
        "temperatures are equal, which is plain distillation. Learning rate and weight vary too, so near marks may "
        "differ." + off_the_scale([p.value for p in full if p.value is not None], d.report.metric),
        summary=summary + ".",
        figure=figures.teacher_temperatures_figure(
            points, arms=d.arms, reference=d.report.reference_arm, metric=d.report.metric, mode=d.report.mode
        ),
    )


def _arm(d: Drawing) -> str | None:
    """The arm that is mapped: of those that search temperature and learning rate that with the best trial."""
    path = d.facts.temperature
    both = [arm for arm in d.arms if path and {path, LR} <= {*d.facts.varying.get(arm, ())} and path != LR]
    best = d.best([t for t in d.full if t.arm in both])
    return best.arm if best is not None else next(iter(both), None)


def _ended(d: Drawing, arm: str) -> list[Trial]:
    """Its trials that ended and have a place on both axes."""
    log = d.facts.is_log(LR)
    places = ((t, number(t.params.get(LR)), number(t.coordinates.get(LR))) for t in d.explored if t.arm == arm)
    return [
        t
        for t, lr, rescaled in places
        if t.state.is_final
        and place_of(d.view, t) is not None
        and lr is not None
        and rescaled is not None
        and (min(lr, rescaled) > 0 or not log)
    ]


def _point(d: Drawing, trial: Trial, lr: float | None) -> figures.MapPoint:
    x = place_of(d.view, trial)
    assert x is not None  # _ended
    assert lr is not None
    return figures.MapPoint(
        trial=trial.trial, arm=trial.arm, x=x, y=lr, value=value_of(trial), epochs=trial.epochs, state=trial.state
    )
