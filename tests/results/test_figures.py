"""Figures: what is drawn where; how they look was judged by eye."""

from __future__ import annotations

import math

import pytest

from results.figures import (
    Axis,
    CalibrationPoint,
    ConfirmedPoint,
    Curve,
    ExploredPoint,
    Fate,
    ImportanceRow,
    Line,
    Scale,
    SeedRow,
    TeacherPoint,
    calibration_figure,
    curves_figure,
    importance_figure,
    parallel_figure,
    ridge,
    seeds_figure,
    survival_figure,
    teacher_temperatures_figure,
    temperature_figure,
)
from results.figures.colors import ARMS, HEAT, REFERENCE, SYMBOLS, arm_marks, heat
from results.figures.parts import tick
from results.figures.ranges import log_ticks, without_tail, without_tail_ends
from results.importance import Importance
from results.schema import TrialState
from results.statistics import mean_interval

BETA = Axis(label="inverse temperature beta", log=True)


def point(x, y, state=TrialState.COMPLETED, arm="search"):
    return ExploredPoint(trial=f"t{x}", arm=arm, x=x, y=y, epochs=27, state=state)


def traces(figure, text):
    return [t for t in figure.data if text in (t.name or "") or text in str(t.y)]


def temperature(points, confirmed=(), baseline=None, metric="val/accuracy"):
    arms = tuple(dict.fromkeys(p.arm for p in (*points, *confirmed)))
    return temperature_figure(
        points, confirmed, arms=arms, axis=BETA, metric=metric, reference="baseline", baseline=baseline
    )


def test_failures_do_not_squash_the_axis():
    points = [point(1, 0.97), point(2, 0.975), point(3, 0.98), point(0.1, 0.1, TrialState.PRUNED)]
    points.append(point(5, None, TrialState.DIVERGED))
    low, high = temperature(points).layout.yaxis.range
    assert 96 < low < 97
    assert 98 < high < 99


def test_a_bad_trial_that_was_trained_to_the_end_sits_at_the_edge_as_a_triangle():
    points = [point(1, 0.97), point(2, 0.975), point(3, 0.972), point(0.1, 0.3)]
    figure = temperature(points)
    (marks,) = traces(figure, "explored to the end")
    assert list(marks.marker.symbol) == ["circle"] * 3 + ["triangle-down"]
    assert figure.layout.yaxis.range[0] < marks.y[3] < 97
    assert "30.00 %" in marks.text[3]


def test_for_a_loss_the_bad_side_is_above():
    assert without_tail([0.1, 0.11, 0.12, 5.0], "val/loss") == [0.1, 0.11, 0.12]
    assert without_tail([0.9, 0.89, 0.88, 0.1], "val/accuracy") == [0.9, 0.89, 0.88]


def test_tukeys_outliers_on_the_bad_side_do_not_take_a_scale_of_colours():
    usual = [0.935, 0.944, 0.945, 0.947, 0.950, 0.951, 0.953, 0.955, 0.958, 0.975]
    assert without_tail_ends([0.86, *usual], "val/accuracy") == (0.935, 0.975)
    assert without_tail_ends([1 - v for v in (0.86, *usual)], "val/loss") == (1 - 0.975, 1 - 0.935)
    assert without_tail_ends([*usual, 0.999], "val/accuracy") == (0.935, 0.999)  # a good one is none
    assert without_tail_ends([0.2] * 9 + [0.9], "val/accuracy") == (0.2, 0.9)


@pytest.mark.parametrize("reference", [None, "arm-04", "arm-00"])
def test_thirty_arms_share_no_pair_of_colour_and_marker(reference):
    arms = [f"arm-{i:02d}" for i in range(30)]
    marks = arm_marks(arms, reference)
    assert len({*marks.values()}) == 30
    assert marks.keys() == {*arms}
    assert len({marks[arm].symbol for arm in arms[: len(SYMBOLS)]}) >= len(SYMBOLS) - 1
    assert [arm for arm in arms if marks[arm].color not in ARMS] == [arm for arm in arms if arm == reference]


def test_an_arm_has_one_mark_in_all_figures():
    arms = tuple(f"arm-{i:02d}" for i in range(12))
    expected = {arm: (mark.color, mark.symbol) for arm, mark in arm_marks(arms, "arm-04").items()}
    points = [point(1 + i, 0.97, arm=arm) for i, arm in enumerate(arms)]
    drawn = temperature_figure(
        points, [], arms=arms, axis=BETA, metric="val/accuracy", reference="arm-04", baseline=None
    )
    seeds = seeds_figure(
        [seeds_of(f"t{i}", arm, {1: 0.97, 2: 0.98}) for i, arm in enumerate(arms)],
        arms=arms,
        metric="val/accuracy",
        reference="arm-04",
        pair=None,
    )
    explored = {t.name.partition(",")[0]: (t.marker.line.color, t.marker.symbol[0]) for t in drawn.data}
    confirmed = [(t.marker.color, t.marker.symbol.removesuffix("-open")) for t in seeds.data if "seed" in str(t.text)]
    assert explored == expected
    assert [pair for pair in confirmed if pair[1] != "diamond"] == [expected[arm] for arm in arms]


@pytest.mark.parametrize(
    ("value", "text"), [(0.03, "0.03"), (1000, "1000"), (102617000.0, "1.03e+08"), (0.0123456, "0.0123")]
)
def test_a_tick_of_a_log_axis_has_three_digits(value, text):
    assert tick(math.log10(value)) == text


@pytest.mark.parametrize(
    ("state", "row"),
    [(TrialState.PRUNED, "stopped early"), (TrialState.DIVERGED, "diverged"), (TrialState.FAILED, "failed")],
)
def test_trials_that_ended_early_stand_in_a_strip_of_their_own(state, row):
    figure = temperature([point(1, 0.97), point(2, 0.5, state)])
    (marks,) = [t for t in figure.data if t.y is not None and row in t.y]
    assert marks.yaxis == "y2"
    assert list(marks.x) == [2]
    if state is TrialState.DIVERGED:
        assert (marks.marker.symbol, marks.marker.color) == ("x", "#c81e1e")


def test_without_such_trials_there_is_no_strip_and_the_axis_is_still_labelled():
    figure = temperature([point(1, 0.97), point(2, 0.5)])
    assert "yaxis2" not in figure.to_dict()["layout"]
    assert figure.layout.xaxis.title.text


def test_the_baseline_is_a_line_with_its_interval():
    level = mean_interval([0.96, 0.97, 0.98])
    figure = temperature([point(1, 0.97)], baseline=level)
    band, line = figure.layout.shapes
    assert (band.y0, band.y1) == (100 * level.low, 100 * level.high)
    assert line.y0 == line.y1 == 100 * level.mean
    assert figure.layout.yaxis.range[0] < 100 * level.low


def test_confirmed_candidates_show_seeds_mean_and_interval():
    values = (0.97, 0.975, 0.98)
    mean = mean_interval(values)
    figure = temperature([], [ConfirmedPoint(trial="t1", arm="search", x=2.0, values=values, mean=mean)])
    seeds, average = figure.data
    assert list(seeds.y) == [100 * v for v in values]
    assert list(average.y) == [100 * mean.mean]
    assert average.error_y.array[0] == pytest.approx(100 * (mean.high - mean.mean))


def test_losses_are_drawn_in_nats():
    figure = temperature([point(1, 0.25)], metric="val/loss")
    assert list(figure.data[0].y) == [0.25]
    assert "nats" in figure.layout.yaxis.title.text


def curve(trial, x, values, *, arm="search", full=True):
    return Curve(trial=trial, arm=arm, x=x, epochs=tuple(range(1, len(values) + 1)), values=values, full=full)


def draw(curves, best="t9"):
    return curves_figure(curves, axis=BETA, metric="val/accuracy", epochs=4, reference="baseline", best_reference=best)


def test_the_best_of_the_reference_is_black_and_on_top():
    figure = draw(
        [curve("t9", 1.0, (0.5, 0.9), arm="baseline"), curve("t1", 0.1, (0.4, 0.8)), curve("t2", 9, (0.4, 0.8))]
    )
    drawn = [t for t in figure.data if t.mode == "lines"]
    assert (drawn[-1].line.color, drawn[-1].line.width) == (REFERENCE, 3)
    assert drawn[-1].name == "best of the reference baseline"
    assert len({t.line.color for t in drawn}) == 3


def test_other_curves_of_the_reference_are_left_out():
    figure = draw([curve("t8", 1.0, (0.5, 0.9), arm="baseline")])
    assert not [t for t in figure.data if t.mode == "lines"]


def test_curves_of_nan_have_gaps_and_one_value_is_enough():
    figure = draw([curve("t1", 0.1, (0.4, math.nan, 0.8)), curve("t2", 0.1, (0.3,), full=False)])
    assert [y for t in figure.data for y in t.y if y is not None] == [30.0, 40.0, 80.0]


def test_curves_of_one_temperature_and_of_none_are_drawn():
    assert draw([curve("t1", 2.0, (0.4, 0.5))]).data
    assert curves_figure(
        [], axis=Axis(label="trial", log=False), metric="val/loss", epochs=4, reference=None, best_reference=None
    )


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("place", [i / 20 for i in range(21)])
def test_every_colour_of_the_scale_can_be_seen_on_white(place):
    contrast = 1.05 / (luminance(heat(place)) + 0.05)
    assert contrast >= 3  # WCAG: graphical objects


def test_the_scale_meets_its_steps():
    assert [heat(place) for place, _ in HEAT] == [color for _, color in HEAT]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-2, 1, [0.01, 0.03, 0.1, 0.3, 1, 3, 10]), (-6, 0, [10.0**e for e in range(-6, 1)]), (0.1, 0.2, None)],
)
def test_ticks_of_a_log_axis(low, high, expected):
    ticks = log_ticks(low, high)
    assert len(ticks) >= 2
    if expected:
        assert [10**t for t in ticks] == pytest.approx(expected)


def test_bars_of_survival_add_up_to_what_reached_the_rung():
    fates = [
        Fate(arm="search", epoch=0, went_on=10, stopped=0, diverged=2, failed=1),
        Fate(arm="search", epoch=1, went_on=3, stopped=7, diverged=0, failed=0),
        Fate(arm="search", epoch=27, went_on=3, stopped=0, diverged=0, failed=0),
        Fate(arm="base<b>line", epoch=0, went_on=4, stopped=0, diverged=0, failed=0),
    ]
    figure = survival_figure(fates, epochs=27)
    bars = [t for t in figure.data if t.type == "bar" and t.xaxis in (None, "x")]
    assert list(bars[0].x) == ["start", "epoch 1", "end"]
    assert [sum(t.y[i] for t in bars) for i in range(3)] == [13, 10, 3]
    assert figure.layout.annotations[1].text == "base&lt;b&gt;line"


def test_titles_of_survival_are_cut_and_parts_without_trials_are_no_key():
    fates = [
        Fate(arm="a" * 60, epoch=0, went_on=0, stopped=0, diverged=3, failed=0),
        Fate(arm="a" * 60, epoch=27, went_on=0, stopped=0, diverged=0, failed=0),
    ]
    figure = survival_figure(fates, epochs=27)
    assert figure.layout.annotations[0].text == "a" * 13 + "\N{HORIZONTAL ELLIPSIS}"
    assert [t.name for t in figure.data if t.type == "bar"] == ["diverged before the next"]


@pytest.mark.parametrize(("name", "columns"), [("a", 4), ("a" * 14, 3)])
def test_long_names_of_arms_have_wider_columns(name, columns):
    fates = [Fate(arm=f"{i}{name}", epoch=0, went_on=1, stopped=0, diverged=0, failed=0) for i in range(5)]
    figure = survival_figure(fates, epochs=27)
    assert len({title.x for title in figure.layout.annotations}) == columns
    assert len(figure.layout.annotations) == 5


def test_trials_that_wait_have_a_part_of_the_bar():
    fates = [Fate(arm="search", epoch=1, went_on=3, stopped=0, diverged=0, failed=0, waiting=6)]
    (waiting,) = [t for t in survival_figure(fates, epochs=27).data if t.name == "wait here"]
    assert list(waiting.y) == [6]
    assert fates[0].reached == 9


def untrained(x, state):
    return ExploredPoint(trial=f"t{x}", arm="search", x=x, y=0.1, epochs=27, state=state, trained=False)


@pytest.mark.parametrize("state", [TrialState.COMPLETED, TrialState.PRUNED])
def test_trials_that_failed_to_train_stand_in_the_strip_and_do_not_count_for_the_range(state):
    figure = temperature([point(1, 0.97), point(2, 0.98), untrained(0.01, state)])
    (marks,) = [t for t in figure.data if t.y is not None and "failed to train" in t.y]
    assert (list(marks.x), marks.yaxis) == ([0.01], "y2")
    assert figure.layout.yaxis.range[0] > 90
    (full,) = traces(figure, "explored to the end")
    assert list(full.x) == [1, 2]


def test_a_diverged_trial_is_no_failure_to_train():
    assert untrained(1, TrialState.DIVERGED).trouble == "diverged"


def test_the_line_at_the_best_learning_rate_has_its_spread():
    levels = ridge([(b, 0.1, v) for b in (0.1, 10.0) for v in (0.90, 0.92, 0.97)], log=True, sign=1)
    points = [point(1, 0.97), point(2, 0.98)]
    figure = temperature_figure(
        points,
        [],
        arms=("search",),
        axis=BETA,
        metric="val/accuracy",
        reference=None,
        baseline=None,
        ridges={"search": levels},
    )
    (line,) = traces(figure, "median at the best lr")
    assert list(line.y) == [92, 92]
    assert list(line.error_y.array) == pytest.approx([5, 5])
    assert list(line.error_y.arrayminus) == pytest.approx([2, 2])


def test_long_curves_are_thinned_with_their_ends_kept():
    figure = draw([curve("t1", 0.1, tuple(0.001 * e for e in range(1, 801)))])
    (line,) = [t for t in figure.data if t.mode == "lines"]
    assert len(line.x) == 61
    assert (line.x[0], line.x[-2], line.x[-1]) == (1, 800, None)


# The confirm stage


def seeds_of(trial, arm, values, lost=0):
    return SeedRow(trial=trial, arm=arm, values=values, mean=mean_interval(list(values.values())), lost=lost)


ROWS = [
    seeds_of("t2", "search", {1: 0.98, 2: 0.97, 4: 0.98}, lost=1),
    seeds_of("t1", "baseline", {1: 0.96, 2: 0.965, 3: 0.97}),
]


def test_common_seeds_of_best_and_reference_are_joined():
    figure = seeds_figure(
        ROWS, arms=("search", "baseline"), metric="test/accuracy", reference="baseline", pair=("t2", "t1")
    )
    (lines,) = traces(figure, "same seed")
    assert list(lines.x) == [98, 96, None, 97, 96.5, None]
    marks = {(x, y) for t in figure.data if t.name == "one seed" for x, y in zip(t.x, t.y, strict=True)}
    assert {(x, y) for x, y in zip(lines.x, lines.y, strict=True) if x is not None} <= marks
    assert len(marks) == 6  # equal values do not hide each other
    (band,) = figure.layout.shapes
    assert (band.x0, band.x1) == (100 * ROWS[1].mean.low, 100 * ROWS[1].mean.high)


def test_candidates_keep_their_order_and_lost_seeds_are_said():
    figure = seeds_figure(ROWS, arms=("search", "baseline"), metric="test/accuracy", reference="baseline", pair=None)
    at = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert at == {"t2<br>search": 1, "t1<br>baseline": 0}
    assert "1 of 4 seeds did not come through" in str([t.text for t in figure.data])
    means = traces(figure, "mean, 95 %")
    assert [t.x[0] for t in means] == [pytest.approx(100 * row.mean.mean) for row in ROWS]
    assert not figure.layout.shapes


def calibrated(seed, **values):
    known = {"ece": 0.05, "ece_refit": 0.02, "loss": 0.3, "loss_refit": 0.2, "temperature": 1.5} | values
    return CalibrationPoint(trial="t1", arm="search", seed=seed, **known)


def test_calibration_goes_from_open_to_filled_for_every_seed():
    figure = calibration_figure([calibrated(1), calibrated(2, loss=0.4)], arms=("search",), reference=None)
    before, after = [t for t in figure.data if t.name and t.xaxis == "x"]
    assert (list(before.x), list(after.x)) == ([0.3, 0.4], [0.2, 0.2])
    assert (set(before.marker.color), set(after.marker.color)) == ({"white"}, {"#2563a8"})
    assert before.y == after.y
    joined = next(t for t in figure.data if t.mode == "lines" and t.xaxis == "x")
    assert list(joined.x) == [0.3, 0.2, None, 0.4, 0.2, None]
    assert len(set(before.y)) == 2
    low, high = figure.layout.xaxis3.range
    assert low < 1 < 1.5 < high


def test_calibration_without_its_error_is_of_likelihood_and_temperature():
    points = [calibrated(1, ece=None, ece_refit=None)]
    figure = calibration_figure(points, arms=("search",), reference=None)
    titles = [figure.layout[f"xaxis{i}"].title.text for i in ("", 2)]
    assert titles == ["NLL (nats)", "fitted temperature (1: as trained)"]
    assert "xaxis3" not in figure.to_dict()["layout"]


# All settings


def test_bars_of_importance_stand_side_by_side():
    shares = Importance(
        fanova={"loss.beta": 0.2, "optimizer.lr": 0.8}, ped_anova={"loss.beta": 0.7, "optimizer.lr": 0.3}, n=48
    )
    figure = importance_figure([ImportanceRow(arm="search", survivors=False, shares=shares, total=48)])
    found = {t.name: dict(zip(t.y, t.x, strict=True)) for t in figure.data}
    assert found == {"fANOVA": {"beta": 20, "lr": 80}, "PED-ANOVA": {"beta": 70, "lr": 30}}
    assert figure.layout.annotations[0].text == "search: all 48 trials"
    assert len({t.marker.pattern.shape for t in figure.data}) == 2


@pytest.mark.parametrize(
    ("survivors", "total", "said"),
    [
        (False, 150, "all 150 trials"),
        (False, 500, "150 of 500 trials"),
        (True, 150, "150 trained to the end"),
        (True, 200, "150 of 200 trained to the end"),
    ],
)
def test_importance_says_of_how_many_trials_it_took_some(survivors, total, said):
    shares = Importance(fanova={"lr": 1.0}, ped_anova={"lr": 1.0}, n=150)
    assert ImportanceRow(arm="search", survivors=survivors, shares=shares, total=total).trials == said


SCALES = [Scale(label="beta", log=True), Scale(label="model", log=False)]


def line(trial, settings, value, state=TrialState.COMPLETED):
    return Line(trial=trial, arm="search", settings=settings, value=value, state=state)


def parallel(*lines):
    return parallel_figure(lines, scales=SCALES, metric="val/accuracy", mode="max")


def test_diverged_and_stopped_trials_end_apart_from_the_values():
    figure = parallel(
        line("t1", (0.1, "mlp"), 0.9),
        line("t2", (10.0, "wrn"), 0.97),
        line("t3", (1.0, "wrn"), 0.99, TrialState.PRUNED),
        line("t4", (1.0, "wrn"), None, TrialState.DIVERGED),
    )
    ends = {t.name: t.y[2] for t in figure.data if t.name}
    assert ends["diverged"] < ends["stopped early"] < 0
    assert ends["highest in the search: t2 of search"] == 1
    (stopped,) = [t for t in figure.data if t.name == "stopped early"]
    assert stopped.y[0] == pytest.approx(0.5)
    ticks = [a.text for a in figure.layout.annotations]
    assert {"0.1", "1", "10", "mlp", "wrn", "stopped", "diverged"} <= set(ticks)


def test_a_trial_without_a_setting_passes_below_its_axis():
    figure = parallel(line("t1", (0.1, "mlp"), 0.9), line("t2", (None, None), 0.97))
    best = figure.data[-1]
    assert best.y[0] < 0
    assert best.y[1] < 0
    assert [a.text for a in figure.layout.annotations].count("none") == 2


def test_where_low_is_good_the_lowest_is_best():
    lines = [line("t1", (0.1, "a"), 0.3), line("t2", (0.2, "a"), 0.1)]
    figure = parallel_figure(lines, scales=SCALES, metric="val/loss", mode="min")
    assert figure.data[-1].name == "lowest in the search: t2 of search"


def test_a_search_without_full_trials_is_drawn():
    assert parallel(line("t1", (0.1, "a"), None, TrialState.DIVERGED)).data


def test_one_outlier_does_not_take_the_axis_of_values():
    values = [0.86, 0.944, 0.945, 0.947, 0.947, 0.95, 0.95, 0.953, 0.955, 0.975]
    figure = parallel(*(line(f"t{i}", (1.0 + i, "a"), v) for i, v in enumerate(values)))
    place = {text: y for t in figure.data if not t.name for text, y in zip(t.text, t.y, strict=True)}
    assert (place["t0 (search): 86.00 %"], place["t1 (search): 94.40 %"]) == (0, 0)
    assert place["t4 (search): 94.70 %"] == pytest.approx((94.7 - 94.4) / (97.5 - 94.4), abs=1e-3)


def test_teacher_temperatures_are_coloured_by_value_where_trained_to_the_end():
    def student(tau1, tau2, value, state=TrialState.COMPLETED):
        return TeacherPoint(trial="t1", arm="kd", tau1=tau1, tau2=tau2, value=value, epochs=3, state=state)

    points = [student(4, 4, 0.9), student(6, 5, 0.95), student(3, 2, 0.5, TrialState.PRUNED)]
    figure = teacher_temperatures_figure(points, arms=("kd",), reference=None, metric="val/accuracy", mode="max")
    diagonal, stopped, key, full = figure.data
    assert diagonal.x == diagonal.y
    assert (list(stopped.x), stopped.marker.symbol) == ([3], "line-ew-open")
    assert list(full.marker.color) == [90, 95]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (90, 95)
    assert (full.showlegend, key.name, key.marker.symbol) == (False, full.name, full.marker.symbol)


def test_a_hostile_label_is_inert():
    axis = Axis(label="<script>x", log=True)
    figure = curves_figure(
        [curve("t1", 0.1, (0.4, 0.5))], axis=axis, metric="val/loss", epochs=2, reference=None, best_reference=None
    )
    assert "<script" not in figure.to_json().replace("\\u003c", "<")
