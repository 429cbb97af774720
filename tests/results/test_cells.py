"""Maps of trials: which trial lies in which cell, what a cell shows, the metric at the best learning rate."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.figures import Axis, MapPoint, instability_figure, ridge, value_map_figure
from results.figures.cells import Grid, edges
from results.figures.colors import INK, LOST, MERIT, TRIED
from results.figures.maps import cell_state, median_of
from results.figures.parts import merit_axis
from results.figures.ridge import NEAR
from results.report.page.dark import PAPER, on_dark
from results.schema import TrialState
from results.statistics import wilson_interval

BETA = Axis(label="beta", log=True)
LR = Axis(label="learning rate", log=True)
PLACES = st.floats(-3, 3, allow_nan=False)


def point(x, y, value=0.9, state=TrialState.COMPLETED, arm="search"):
    return MapPoint(trial="t1", arm=arm, x=x, y=y, value=value, epochs=27, state=state)


@given(st.lists(st.tuples(PLACES, PLACES), min_size=1, max_size=60))
def test_every_trial_lies_in_one_cell_and_within_its_ends(places):
    points = [point(10**a, 10**b) for a, b in places]
    grid = Grid(points, BETA, LR, 6)
    assert sorted(id(p) for cell in grid.cells for p in cell.points) == sorted(map(id, points))
    for cell in grid.cells:
        for p in cell.points:
            low, high = grid.columns[cell.column : cell.column + 2]
            assert low - 1e-9 <= math.log10(p.x) <= high + 1e-9
            low, high = grid.rows[cell.row : cell.row + 2]
            assert low - 1e-9 <= math.log10(p.y) <= high + 1e-9


@given(st.lists(PLACES, min_size=1, max_size=40), st.integers(1, 9))
def test_ends_of_parts_rise_around_all_places(places, n):
    ends = edges(places, n, 9)
    assert ends == sorted(set(ends))
    assert ends[0] <= min(places)
    assert max(places) <= ends[-1]


def test_few_values_have_a_part_each_with_the_value_inside():
    assert edges([0.0, 0.0, 1.0, 3.0], 2, 9) == [-0.5, 0.5, 2.0, 4.0]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["COMPLETED", "DIVERGED", "PRUNED"], TrialState.COMPLETED),
        (["DIVERGED", "PRUNED"], TrialState.DIVERGED),
        (["PRUNED", "PRUNED"], TrialState.PRUNED),
    ],
)
def test_a_cell_tells_a_value_from_divergence_and_from_early_stopping(states, expected):
    points = [point(1, 0.1, state=TrialState(s)) for s in states]
    (cell,) = Grid(points, BETA, LR, 6).cells
    assert cell_state(cell) is expected
    figure = value_map_figure([points], x=BETA, ys=[LR], metric="val/accuracy", mode="max")
    (fill,) = [t for t in figure.data if t.type == "heatmap"]
    assert fill.z[0][0] == (90.0 if expected is TrialState.COMPLETED else 0)
    if expected is not TrialState.COMPLETED:
        assert fill.colorscale[0][1] == {TrialState.DIVERGED: LOST, TrialState.PRUNED: TRIED}[expected]
    assert {t.name for t in figure.data if t.name} >= {
        {"COMPLETED": "trained to the end", "PRUNED": "stopped early", "DIVERGED": "diverged"}[s] for s in states
    }


def test_a_cell_that_was_never_tried_is_empty():
    points = [point(1, 0.1), point(10, 1.0)] * 3
    figure = value_map_figure([points], x=BETA, ys=[LR], metric="val/accuracy", mode="max")
    (fill,) = [t for t in figure.data if t.type == "heatmap"]
    assert [list(row) for row in fill.z] == [[90.0, None], [None, 90.0]]


def test_a_cell_shows_the_median_of_trials_trained_to_the_end():
    values = (0.5, 0.9, 0.8)
    points = [point(1, 0.1, v) for v in values] + [point(1, 0.1, 0.1, TrialState.PRUNED)]
    (cell,) = Grid(points, BETA, LR, 6).cells
    assert median_of(cell) == statistics.median(values)


def test_one_bad_cell_does_not_take_the_colours():
    axis = merit_axis([97.0, 96.8, 96.9, 10.0], metric="val/accuracy", mode="max", height=400)
    assert axis["cmin"] > 95
    assert axis["cmax"] == 97.0


def test_where_low_is_good_the_good_colour_is_low():
    scale = merit_axis([0.1, 0.2], metric="val/loss", mode="min", height=400)["colorscale"]
    assert scale[0] == (0.0, MERIT[-1][1])
    assert scale[-1] == (1.0, MERIT[0][1])


def test_instability_counts_and_their_intervals():
    points = [point(1, 0.1, state=TrialState.DIVERGED)] * 3 + [point(1, 0.1)] * 7 + [point(100, 1.0)] * 4
    figure = instability_figure(points, x=BETA, y=LR)
    fill, counts = figure.data
    assert sorted(counts.text) == ["0/4", "<b>3/10</b>"]
    assert fill.z[0][0] == pytest.approx(30)
    low, high = wilson_interval(3, 10)
    assert f"95 % interval {100 * low:.2f} % to {100 * high:.2f} %" in fill.text[0][0]


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_worst_value_stands_out_from_paper_more_than_a_cell_without_one():
    for paper, worst, none in (("#ffffff", MERIT[0][1], TRIED), (PAPER, on_dark(MERIT[0][1]), on_dark(TRIED))):
        behind = luminance(paper) + 0.05
        there = [luminance(color) + 0.05 for color in (worst, none)]
        contrast = [max(behind, shade) / min(behind, shade) for shade in there]
        assert contrast[0] > 1.5 > contrast[1], (paper, contrast)


def test_marks_can_be_seen_on_every_colour_of_the_map():
    assert all((luminance(color) + 0.05) / (luminance(INK) + 0.05) >= 3 for _, color in MERIT)


def test_better_is_darker_so_that_the_map_can_be_read_in_grey():
    shades = [luminance(color) for _, color in MERIT]
    assert shades == sorted(shades, reverse=True)


# The metric at the best learning rate


def brute_force(trials, sign, near):
    best = max(trials, key=lambda t: sign * t[2])
    return [v for _, lr, v in trials if max(lr / best[1], best[1] / lr) <= near]


@given(
    st.lists(st.tuples(st.just(1.0), st.floats(-3, 0), st.floats(0, 1)), min_size=2, max_size=30),
    st.sampled_from([1, -1]),
)
def test_at_one_temperature_the_level_is_the_median_near_the_best(places, sign):
    trials = [(x, 10**lr, value) for x, lr, value in places]
    values = brute_force(trials, sign, NEAR * (1 + 1e-9))
    levels = ridge(trials, log=True, sign=sign)
    if len(values) < 2:
        assert levels == ()
    else:
        (level,) = levels
        assert level.median == pytest.approx(statistics.median(values))
        assert (level.low, level.high, level.n) == (min(values), max(values), len(values))


def test_bad_learning_rates_do_not_pull_the_line_down():
    near_best = [(beta, 0.1 * f, 0.9) for beta in (0.1, 1.0, 10.0) for f in (0.9, 1.0, 1.1)]
    far = [(beta, lr, 0.2) for beta in (0.1, 1.0, 10.0) for lr in (0.001, 0.003, 0.01, 1.0)]
    levels = ridge([*near_best, *far], log=True, sign=1)
    assert [level.median for level in levels] == [0.9] * 3
    assert [level.x for level in levels] == [0.1, 1.0, 10.0]


def test_without_trials_there_is_no_line():
    assert ridge([], log=True, sign=1) == ()
