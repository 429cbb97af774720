"""The panels of a report: which figures a study has, in which order, what they say in numbers, how heavy they are."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import yaml

from results.importance import importance
from results.report import build
from results.report.panels import details, panels
from results.report.panels.details import _observations, _ranks, importances
from results.report.panels.panel import Drawing
from results.schema import TrialRow
from tests.results.synthetic import EPOCHS, Study, finished
from tests.results.synthetic_papers import distilled
from tests.results.synthetic_search import Tabulated, searched

STUDY = 40
HOSTILE = "<script>alert(1)<"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of two arms in which some trials diverged."""
    return {p.key: p for p in panels(build(finished(tmp_path_factory.mktemp("study"), trials=STUDY)))}


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    return {p.key: p for p in panels(build(distilled(tmp_path_factory.mktemp("students"), trials=12)))}


def test_the_verdicts_figures_come_first_then_maps_then_dynamics_then_details(study):
    assert list(study) == [
        *("seeds", "temperature"),
        *("map", "instability"),
        *("curves", "survival"),
        *("importance", "parallel"),
    ]


def test_every_panel_says_in_numbers_what_it_shows(study, students):
    for panel in (*study.values(), *students.values()):
        assert re.search(r"\d", panel.summary), panel.key
        assert panel.summary.endswith("."), panel.key
        assert panel.caption.endswith("."), panel.key
        assert "None" not in panel.summary + panel.caption, panel.key
        assert "nan" not in panel.summary.split(), panel.key


def test_figures_have_no_fixed_width_and_their_keys_stand_below(study, students):
    for panel in (*study.values(), *students.values()):
        layout = panel.figure.layout
        assert layout.width is None
        assert layout.height
        assert (layout.legend.orientation, layout.legend.yref, layout.legend.y) == ("h", "container", 0)


def colors(value, key=""):
    """Everything that a figure gives as a colour."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from colors(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from colors(part, key)
    elif isinstance(value, str) and re.search(r"color(scale)?$", key):
        yield value


def test_colours_are_hex_or_white_so_that_a_dark_page_can_exchange_them(study, students):
    for panel in (*study.values(), *students.values()):
        found = {c for c in colors(json.loads(panel.figure.to_json())) if c != "coloraxis"}
        assert all(re.fullmatch(r"#[0-9a-f]{6}|white", c) for c in found), (panel.key, found)


def test_marks_in_a_key_have_no_colours_by_number(study, students):
    for panel in (*study.values(), *students.values()):
        for trace in panel.figure.data:
            if trace.type == "scatter" and trace.showlegend is not False and not isinstance(trace.marker.color, str):
                found = () if trace.marker.color is None else trace.marker.color
                assert all(isinstance(color, str) for color in found), (panel.key, trace.name)


def test_where_every_trial_diverged_only_what_shows_something_is_drawn(tmp_path):
    study = Tabulated(tmp_path, trials=4)
    study.begin()
    for beta in (1.0, 2.0, 3.0, 4.0):
        study.trial({1: 0.1}, state="DIVERGED", beta=beta, lr=1e8 * beta)
    study.end()
    assert [p.key for p in panels(build(study.folder))] == ["survival"]


def test_the_seeds_caption_does_not_take_one_leaning_for_proof(study):
    assert "few seeds alone do not prove it" in study["seeds"].caption


def test_values_off_the_scale_are_counted(tmp_path):
    study = Tabulated(tmp_path, trials=12)
    study.begin()
    for i in range(12):
        study.trial({1: 0.4, EPOCHS: 0.95 + 0.002 * i if i else 0.7}, beta=1.0 + i, lr=0.01 * (1 + i % 7))
    study.end()
    found = {p.key: p for p in panels(build(study.folder))}
    assert "drawn at the end of the scale: 1 trial." in found["parallel"].caption


def test_a_hostile_arm_and_study_are_inert(tmp_path):
    folder = finished(
        tmp_path, trials=24, name=HOSTILE, arms={HOSTILE: {}, "base": {"loss.beta": 1.0}}, reference="base"
    )
    drawn = panels(build(folder))
    assert {"seeds", "temperature", "map", "curves", "importance", "parallel"} <= {p.key for p in drawn}
    for panel in drawn:
        assert "<script" not in panel.figure.to_json().replace("\\u003c", "<"), panel.key


@pytest.mark.parametrize("metric", ["val/accuracy", "val/loss"])
def test_the_best_of_the_map_is_that_of_the_records(tmp_path, metric):
    folder = finished(tmp_path, trials=16, metric=metric)
    report = build(folder)
    found = {p.key: p for p in panels(report)}["map"]
    full = [t for t in report.view.trials if t.stage == "explore" and t.state == "COMPLETED" and t.arm == "search"]
    best = (min if metric.endswith("loss") else max)(full, key=lambda t: t.value)
    extreme = "lowest" if metric.endswith("loss") else "highest"
    assert f"The {extreme} of these, {best.trial}, " in found.summary


def rescaled(study: Study) -> None:
    """The learning rate is searched times beta, and used divided by it."""
    study.document["space"]["optimizer.lr"]["times"] = "loss.beta ** -1"
    (study.folder / "study.yaml").write_text(yaml.safe_dump(study.document, sort_keys=False), encoding="utf-8")
    append = study.writer.append

    def append_rescaled(row):
        if isinstance(row, TrialRow) and row.coordinates:
            found = json.loads(row.coordinates)
            found["optimizer.lr"] *= found.get("loss.beta", 1.0)
            row = replace(row, coordinates=json.dumps(found))
        append(row)

    study.writer.append = append_rescaled


def test_a_rescaled_learning_rate_gives_a_second_map(tmp_path):
    study = Study(tmp_path, trials=30)
    rescaled(study)
    study.begin()
    study.explore()
    study.end()
    report = build(study.folder)
    found = {p.key: p for p in panels(report)}["map"]
    assert found.figure.layout.yaxis2.title.text == "lr / (loss.beta ** -1)"
    assert "where the good cells lie level there, the rule is right" in found.caption
    full = [t for t in report.view.trials if (t.arm, t.state, t.stage) == ("search", "COMPLETED", "explore")]
    plain, below = [t for t in found.figure.data if t.name == "trained to the end"]
    assert list(plain.y) == pytest.approx([math.log10(t.params["optimizer.lr"]) for t in full])
    assert list(below.y) == pytest.approx([math.log10(t.params["optimizer.lr"] * t.params["loss.beta"]) for t in full])


def test_without_a_rule_there_is_one_map(study):
    assert "yaxis2" not in study["map"].figure.to_dict()["layout"]


def test_the_instability_map_counts_every_trial_that_ended_but_the_failed(tmp_path):
    study = Tabulated(tmp_path, trials=12)
    study.begin()
    for i in range(12):
        state = ("COMPLETED", "DIVERGED", "FAILED")[i % 3]
        study.trial({1: 0.5}, state=state, beta=10 ** (i / 6 - 1), lr=10 ** (i % 4 - 3))
    for i in range(4):
        study.trial({1: 0.5}, state="PRUNED", beta=1 + i, lr=0.1)
    study.end()
    found = {p.key: p for p in panels(build(study.folder))}["instability"]
    assert found.summary.startswith("4 of 12 trials of search diverged: 33.33 %, 95 % interval 13.81 % to 60.94 %.")
    counts = [re.sub("<.*?>", "", t).split("/") for t in found.figure.data[1].text]
    assert [sum(int(pair[i]) for pair in counts) for i in (0, 1)] == [4, 12]


def test_without_divergence_there_is_no_instability_map(tmp_path):
    study = Tabulated(tmp_path, trials=12)
    study.begin()
    for i in range(12):
        study.trial({1: 0.5}, beta=1 + i)
    study.end()
    keys = [p.key for p in panels(build(study.folder))]
    assert "map" in keys
    assert "instability" not in keys


def test_a_grid_with_few_values_has_a_cell_for_each(tmp_path):
    study = Tabulated(tmp_path, trials=12)
    study.begin()
    for beta in (0.1, 1.0, 10.0):
        for lr in (0.01, 0.03, 0.1, 0.3):
            study.trial({1: beta * lr}, beta=beta, lr=lr)
    study.end()
    (cells,) = [t for t in {p.key: p for p in panels(build(study.folder))}["map"].figure.data if t.type == "heatmap"]
    assert [list(row) for row in cells.z] == [
        pytest.approx([100 * beta * lr for beta in (0.1, 1.0, 10.0)]) for lr in (0.01, 0.03, 0.1, 0.3)
    ]


def test_the_seeds_are_those_of_the_test_split_in_pairs(study, tmp_path):
    report = build(finished(tmp_path, trials=STUDY))
    panel = study["seeds"]
    joined = next(t for t in panel.figure.data if (t.name or "").startswith("same seed"))
    pairs = [(joined.x[i], joined.x[i + 1]) for i in range(0, len(joined.x), 3)]
    best, base = report.challenger, report.reference
    seeds = sorted(best.test_by_seed)
    assert pairs == [(100 * best.test_by_seed[s], 100 * base.test_by_seed[s]) for s in seeds]
    assert f"{best.trial} minus {base.trial}, seed by seed:" in panel.summary
    assert len([s for s in panel.figure.layout.shapes if s.fillcolor]) == 1


def test_students_show_both_temperatures_and_calibration(students):
    marks = [t for t in students["teacher-temperatures"].figure.data if t.marker.coloraxis]
    assert {t.name.partition(",")[0] for t in marks} == {"kd", "ats"}
    assert all(y == pytest.approx(x) for t in marks if t.name.startswith("kd,") for x, y in zip(t.x, t.y, strict=True))
    assert all(0.5 <= x - y <= 2 for t in marks if t.name.startswith("ats,") for x, y in zip(t.x, t.y, strict=True))
    assert "refitted" in students["calibration"].summary
    assert students["calibration"].summary.count("NLL") == len(
        {t for t in students["calibration"].figure.layout.yaxis.ticktext}
    )


def test_the_line_at_the_best_learning_rate_needs_trials_in_several_parts(tmp_path):
    found = {p.key: p for p in panels(build(searched(tmp_path, trials=40, audit=0.8).folder))}
    assert "median at the best lr" in str([t.name for t in found["temperature"].figure.data])
    assert "within a factor of 2 of the best one" in found["temperature"].caption


@pytest.mark.slow
def test_a_thousand_trials_make_a_light_page(tmp_path):
    study = searched(tmp_path, trials=500)
    study.end()
    found = panels(build(study.folder))
    assert sum(len(p.figure.to_json()) for p in found) < 1_500_000
    assert "left out" in next(p for p in found if p.key == "curves").caption


def test_importance_is_skipped_with_few_trials(tmp_path):
    study = Study(tmp_path, trials=15)
    study.begin()
    study.explore()
    study.end()
    assert "importance" not in [p.key for p in panels(build(study.folder))]


def test_importance_says_how_many_trials_it_rests_on_and_that_it_is_unstable(study):
    panel = study["importance"]
    assert f"search: all {STUDY} trials" in [a.text for a in panel.figure.layout.annotations]
    assert "Read it with care" in panel.caption
    assert "PED-ANOVA" in panel.summary


def test_a_report_is_written_when_optuna_fails(tmp_path, monkeypatch):
    import optuna.importance

    def broken(*_, **__):
        raise RuntimeError("no forest")

    monkeypatch.setattr(optuna.importance, "get_param_importances", broken)
    drawing = Drawing(build(finished(tmp_path, trials=31, seed=5)))
    assert importances(drawing) is None
    assert panels(drawing.report)


def test_values_that_are_not_finite_take_no_part(tmp_path):
    study = Tabulated(tmp_path, trials=30)
    study.begin()
    for i in range(30):
        study.trial({1: 0.5, EPOCHS: math.nan if i % 5 == 0 else 0.9 + i / 1000}, beta=1 + i, lr=0.01 * (1 + i % 7))
    study.end()
    found = {p.key: p for p in panels(build(study.folder))}
    assert {"temperature", "map", "curves", "importance", "parallel"} <= found.keys()
    assert "t0030" in found["map"].summary


def mixed_fates(root):
    """25 trials: the rest stopped at epoch 1, four to the end of which the second is best, one diverged after more."""
    study = Tabulated(root, trials=25)
    study.begin()
    for value in (0.90, 0.97, 0.95, 0.93):
        study.trial({1: 0.5, EPOCHS: value}, beta=0.01, lr=0.1)
    study.trial({1: 0.9, 5: 0.99}, state="DIVERGED", beta=1.0, lr=0.9)
    for i in range(20):
        study.trial({1: 0.99 - i / 1000}, state="PRUNED", beta=0.5 + i, lr=0.01 * (1 + i % 7))
    study.end()
    return Drawing(build(study.folder))


def test_all_trials_are_ordered_by_how_far_they_came_then_by_value_with_diverged_ones_last(tmp_path):
    drawing = mixed_fates(tmp_path)
    trials = list(drawing.explored)
    ranks = dict(zip([t.trial for t in trials], _ranks(drawing, trials), strict=True))
    ordered = sorted(ranks, key=ranks.__getitem__, reverse=True)
    assert ordered == ["t0002", "t0003", "t0004", "t0001", *(f"t{i:04d}" for i in range(6, 26)), "t0005"]
    assert (ranks["t0002"], ranks["t0005"]) == (1, 0)


def test_importance_sees_logarithms_where_the_search_was_logarithmic(tmp_path):
    drawing = mixed_fates(tmp_path)
    first = _observations(drawing, "search", [drawing.explored[0]], [0.5])
    expected = ((("loss.beta", math.log(0.01)), ("optimizer.lr", math.log(0.1))), 0.5)
    assert [(o.settings, o.score) for o in first] == [expected]


@pytest.mark.parametrize(("metric", "values"), [("val/accuracy", (0.1, 0.9)), ("val/loss", (0.9, 0.1))])
def test_importance_of_survivors_takes_better_for_higher(tmp_path, monkeypatch, metric, values):
    study = Tabulated(tmp_path, trials=24, metric=metric)
    study.begin()
    for i in range(24):
        study.trial({EPOCHS: values[i % 2]}, beta=1.0 + i, lr=0.01 * (1 + i % 5))
    study.end()
    seen = []
    monkeypatch.setattr(details, "importance", lambda found, seed: seen.append(found) or importance(found, seed=seed))
    importances(Drawing(build(study.folder)))
    assert [o.score > seen[0][0].score for o in seen[0]] == [i % 2 == 1 for i in range(24)]
