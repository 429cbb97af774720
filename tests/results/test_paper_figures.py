"""The papers' figures: tampering, distillation, timescales; how they look was judged by eye."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from results.figures import (
    EXAMPLE,
    Axis,
    Curve,
    ExploredPoint,
    Fate,
    StudentPoint,
    TamperedPoint,
    TimescalePoint,
    curves_figure,
    example_figure,
    logits_figure,
    students_figure,
    survival_figure,
    temperature_figure,
    timescales_figure,
)
from results.figures.colors import APART, REFERENCE
from results.figures.tampering import EXPONENTS, stationary_threshold, tampered_probabilities
from results.report import Format, build, render
from results.report.panels import panels
from results.schema import TrialState
from results.statistics import mean_interval
from tests.results.synthetic import Study, finished
from tests.results.synthetic_papers import Distilled, Tampered

ALPHA = Axis(label="tampering exponent alpha", log=False)


def random_distribution(seed):
    chance = random.Random(seed)
    weights = [chance.expovariate(1) + 1e-3 for _ in range(chance.randint(2, 12))]
    return [w / sum(weights) for w in weights]


def panel(report, key):
    return next((p for p in panels(report) if p.key == key), None)


# Tampering


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_tampered_probabilities_are_normalised_powers(seed, alpha):
    p = np.array(random_distribution(seed))
    expected = p**alpha / (p**alpha).sum()
    assert tampered_probabilities(p, alpha) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_below_the_threshold_probabilities_rise(seed):
    p = np.array(random_distribution(seed))
    for alpha in (0.0, 0.3, 0.9):
        threshold = stationary_threshold(p, alpha)
        clear = np.abs(p - threshold) > 1e-6
        assert ((tampered_probabilities(p, alpha) > p) == (p < threshold))[clear].all()
    assert stationary_threshold(p, 0.0) == pytest.approx(1 / len(p))
    assert stationary_threshold(p, 1.0) == pytest.approx(math.exp((p * np.log(p)).sum()))
    thresholds = [stationary_threshold(p, a) for a in np.linspace(0, 3, 31)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(thresholds))


def test_the_example_is_a_distribution_in_order():
    assert sum(EXAMPLE) == pytest.approx(1)
    assert sorted(EXAMPLE, reverse=True) == list(EXAMPLE)


def test_the_example_is_drawn_at_every_exponent_with_the_best_in_black():
    figure = example_figure(0.3)
    names = [t.name for t in figure.data if t.name]
    assert names == [*(f"alpha {a:g}" for a in EXPONENTS), "best of the study: alpha 0.3"]
    ranked = figure.data[0]
    assert list(ranked.y) == pytest.approx([100 * p for p in EXAMPLE])
    assert list(figure.data[len(EXPONENTS) - 1].y) == pytest.approx([10.0] * 10)
    best = figure.data[-1]
    assert (best.marker.symbol, best.marker.color) == ("star", REFERENCE)
    assert best.y[0] == pytest.approx(100 * stationary_threshold(EXAMPLE, 0.3))
    assert len(example_figure(None).data) == len(figure.data) - 2


def tampered(alpha, norm, loss, arm="search"):
    return TamperedPoint(trial=f"t{alpha}", arm=arm, alpha=alpha, logit_norm=norm, loss=loss)


def test_norm_and_loss_stand_above_each_other_over_alpha():
    points = [tampered(0.2, 236, 2.8), tampered(0.5, 149, 1.65), tampered(1.0, 79, 1.38, "baseline")]
    figure = logits_figure(points, arms=("search", "baseline"), axis=ALPHA, reference="baseline")
    norms, losses, _, reference = figure.data
    assert (list(norms.x), list(norms.y), list(losses.y)) == ([0.2, 0.5], [236, 149], [2.8, 1.65])
    assert (norms.yaxis, losses.yaxis) == ("y", "y2")
    assert reference.marker.color == REFERENCE
    assert norms.marker.symbol[0] != reference.marker.symbol[0]
    assert figure.layout.xaxis2.title.text == ALPHA.label


def test_a_loss_far_above_the_others_sits_at_the_edge():
    points = [tampered(a, 100, v) for a, v in ((0.2, 0.5), (0.4, 0.51), (0.6, 0.49), (0.8, 40.0))]
    losses = logits_figure(points, arms=("search",), axis=ALPHA, reference=None).data[1]
    assert list(losses.marker.symbol) == ["circle"] * 3 + ["triangle-up"]
    assert losses.y[3] < 1


def test_a_tampering_study_shows_the_papers_figures(tmp_path):
    study = Tampered(tmp_path, trials=12)
    study.begin()
    study.explore()
    study.confirm()
    study.end()
    report = build(study.folder)
    drawn = panel(report, "logits").figure.data
    full = [t for t, (_, s, _) in study.finals.items() if s == "COMPLETED"]
    assert sum(len(t.x) for t in drawn) == 2 * len(full)
    assert any("best of the study" in (t.name or "") for t in panel(report, "tampering").figure.data)
    assert render(report, Format.HTML)


def test_a_tampering_study_without_logit_norms_shows_the_example_only(tmp_path):
    report = build(finished(tmp_path, trials=4, path="loss.alpha"))
    assert panel(report, "logits") is None
    assert panel(report, "tampering") is not None


def test_other_studies_have_none_of_these_figures(tmp_path):
    keys = [p.key for p in panels(build(finished(tmp_path, trials=4)))]
    assert keys == ["seeds", "temperature", "curves", "survival"]
    study = Study(tmp_path, name="new", path="loss.alpha")
    study.writer.close()
    assert panels(build(study.folder)) == ()


# Distillation


def student(arm, value, average, spread):
    return StudentPoint(trial="t1", arm=arm, value=value, derived_average=average, derived_std=spread)


def test_students_stand_over_both_statistics():
    points = [student("kd", 0.95, 0.03, 0.01), student("ats", 0.96, 0.04, 0.02)]
    level = mean_interval([0.93, 0.94, 0.95])
    figure = students_figure(points, arms=("nokd", "kd", "ats"), metric="val/accuracy", reference="nokd", level=level)
    by_arm = [t for t in figure.data if t.legendgroup == "ats"]
    assert [list(t.x) for t in by_arm] == [[0.04], [0.02]]
    assert [list(t.y) for t in by_arm] == [[96.0], [96.0]]
    assert len({(t.marker.color, t.marker.symbol[0]) for t in figure.data if t.legendgroup}) == 2
    assert [s.y0 for s in figure.layout.shapes if s.type == "line"] == [pytest.approx(94)] * 2
    assert figure.layout.yaxis.range[0] < 100 * level.low


def test_fewer_than_five_students_are_not_drawn(tmp_path):
    study = Distilled(tmp_path, trials=2)
    study.begin()
    study._stops = lambda *_: False
    study.explore()
    study.writer.flush()
    assert len(study.finals) == 6
    assert panel(build(study.folder), "students") is None


def test_enough_students_are_drawn_an_arm_a_colour(tmp_path):
    study = Distilled(tmp_path, trials=4)
    study.begin()
    study._stops = lambda *_: False
    study.explore()
    study.writer.flush()
    drawn = panel(build(study.folder), "students").figure.data
    assert {t.name for t in drawn} == {"kd", "ats"}
    assert sum(len(t.x) for t in drawn) == 2 * 8


# Timescales


def test_times_are_drawn_on_one_scale_both_ways():
    points = [
        TimescalePoint(trial="t1", scale="tau_z", predicted=0.001, measured=0.002, note="beta 1"),
        TimescalePoint(trial="t1", scale="tau_nl", predicted=2.0, measured=5.0, note="beta <b>"),
    ]
    figure = timescales_figure(points)
    line, *marks = figure.data
    assert list(line.x) == list(line.y)
    assert [m.name for m in marks] == ["tau_z", "tau_nl"]
    assert (list(marks[1].x), list(marks[1].y)) == ([2.0], [5.0])
    assert "<b>" not in marks[1].text[0]
    assert figure.layout.xaxis.range == figure.layout.yaxis.range
    assert figure.layout.xaxis.type == "log"


def test_a_single_time_is_drawn():
    assert timescales_figure([TimescalePoint(trial="t1", scale="tau_z", predicted=0.1, measured=0.1, note="")]).data


# Many arms, and arms without the temperature


def test_curves_without_a_temperature_are_grey_and_named():
    def curve(trial, arm, x, full):
        return Curve(trial=trial, arm=arm, x=x, epochs=(1, 2), values=(0.5, 0.6), full=full)

    figure = curves_figure(
        [curve("t1", "nokd", None, True), curve("t2", "nokd", None, False), curve("t3", "kd", 2.0, True)],
        axis=ALPHA,
        metric="val/accuracy",
        epochs=2,
        reference="kd",
        best_reference=None,
    )
    grey = [t for t in figure.data if t.line.color == APART]
    assert [(t.name, t.showlegend, t.opacity) for t in grey] == [("nokd", False, 0.35), ("nokd", True, 0.95)]


def test_a_dozen_arms_are_told_apart_and_stand_in_rows():
    arms = [f"arm{i}" for i in range(12)]
    points = [
        ExploredPoint(trial=f"t{i}", arm=arm, x=1.0, y=0.9, epochs=3, state=TrialState.COMPLETED)
        for i, arm in enumerate(arms)
    ]
    figure = temperature_figure(
        points, [], arms=arms, axis=ALPHA, metric="val/accuracy", reference=arms[0], baseline=None
    )
    looks = {(t.marker.line.color, t.marker.symbol[0]) for t in figure.data if t.name}
    assert len(looks) == 12
    assert not any("diamond" in symbol for _, symbol in looks)
    fates = [Fate(arm=arm, epoch=0, went_on=3, stopped=0, diverged=0, failed=0) for arm in arms]
    survival = survival_figure(fates, epochs=3)
    assert len([a for a in survival.layout if a.startswith("xaxis")]) == 12
    assert survival.layout.xaxis5.domain == survival.layout.xaxis.domain
    assert survival.layout.height > 380
