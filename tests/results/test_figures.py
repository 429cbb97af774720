"""Figures: what is drawn where; how they look was judged by eye."""

from __future__ import annotations

import math

import pytest

from results.figures import (
    Axis,
    ConfirmedPoint,
    Curve,
    ExploredPoint,
    Fate,
    curves_figure,
    survival_figure,
    temperature_figure,
)
from results.figures.parts import HEAT, REFERENCE, heat, log_ticks, without_tail
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
