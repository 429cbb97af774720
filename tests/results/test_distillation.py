"""Studies with teachers: what status and report say of them, and the tables of arms, calibration and teachers."""

from __future__ import annotations

import json
import re

import pytest
from scipy import stats

from results.lock import StudyLock
from results.query import StudyView
from results.report import Format, build, render, render_status, render_statuses, status, statuses
from results.report.tables import tables
from results.schema import Stage, TrialState
from results.statistics import Outcome
from tests.results.synthetic import EPOCHS, Study, finished
from tests.results.synthetic_papers import Distilled, distilled

NEW_TABLES = {"Arms on the test split", "Calibration", "Teachers", "What the teacher tells the student"}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return distilled(tmp_path_factory.mktemp("distilled"), trials=16)


@pytest.fixture(scope="module")
def finished_report(done):
    return build(done)


@pytest.fixture
def study(tmp_path):
    made = Distilled(tmp_path, trials=2)
    made.begin()
    return made


def flushed(study):
    study.writer.flush()
    return study.folder


def plain(text):
    return re.sub(r"\s+", " ", text.replace("&nbsp;", " ").replace("\\", ""))


def table_of(report, title):
    return next((t for t in tables(report) if t.title == title), None)


# While the teachers are trained


def test_status_says_that_teachers_are_being_trained(study):
    study.teach("small")
    trial = study.teach("big", "RUNNING", 2)
    folder = flushed(study)
    with StudyLock(folder):
        found = status(folder)
        text = plain(render_status(found, Format.TABLE))
        line = plain(render_statuses(statuses(folder.parent), Format.TABLE, width=200))
    assert "RUNNING, training the teachers: 1 of 2, 0 of 6 trials explored" in text
    assert "training the teachers: 1 of 2" in line
    assert [(r.trial, r.stage, r.arm, r.epoch, r.epochs) for r in found.running] == [(trial, "teach", "big", 2, 6)]
    assert "2/6" in text
    assert (found.progress.taught, found.progress.to_teach) == (1, 2)
    report = build(folder)
    assert "1 of 2 teachers trained." in report.verdict.details
    assert any("resume" in step.command for step in report.steps)


def test_a_study_that_has_not_begun_has_all_its_teachers_before_it(study):
    study.writer.close()
    report = build(study.folder)
    assert [(t.name, t.state) for t in report.teachers] == [("small", None), ("big", None)]
    assert "not begun" in plain(render(report, Format.MARKDOWN))
    assert "0 of 2 teachers trained" in plain(render(report, Format.TABLE))


def test_where_all_are_taught_nobody_speaks_of_it(study):
    study.teach("small")
    study.teach("big")
    study.propose("kd")
    assert "teacher" not in render_status(status(flushed(study)), Format.TABLE)
    assert "teachers trained" not in plain(render(build(study.folder), Format.TABLE))


def test_a_teacher_that_was_trained_before_is_there(study):
    study.teach("small", epochs=0, reason="reused: trained before as 0123456789abcdef")
    study.teach("big")
    report = build(flushed(study))
    small, big = report.teachers
    assert (small.reused, small.accuracy, big.reused) == (True, None, False)
    assert big.accuracy == pytest.approx(0.985 - 0.4 / 36)
    assert (report.progress.taught, report.notes) == (2, ())
    rows = table_of(report, "Teachers").rows
    assert rows[0] == ("small", "mlp-64", "6", "-", "trained before", "-")
    assert rows[1] == ("big", "mlp-512-512", "6/6 of 9", "97.39 %", "COMPLETED", "small")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("DIVERGED", ["diverged (the training loss is inf)", "Lower teachers.big.recipe.optimizer.lr", "another name"]),
        ("FAILED", ["failed (the training loss is inf)", "resume trains it again"]),
    ],
)
def test_a_lost_teacher_is_a_note_with_what_to_do(study, state, words):
    study.teach("small")
    study.teach("big", state, 1, "the training loss is inf")
    study.end("INTERRUPTED", "a teacher was lost")
    report = build(study.folder)
    (note,) = report.notes
    assert all(word in note for word in words)
    assert "1 of 2 teachers trained, big lost" in plain(render_status(status(study.folder), Format.TABLE))


def test_a_teacher_that_failed_and_was_trained_again_is_no_note(study):
    study.teach("small", "FAILED", 1, "killed")
    study.teach("small")
    study.teach("big")
    report = build(flushed(study))
    assert report.notes == ()
    assert [t.trial for t in report.teachers] == ["t0002", "t0003"]
    counts = {(c.stage, c.arm): c for c in report.counts}
    assert counts[Stage.TEACH, "small"].states == {TrialState.FAILED: 1, TrialState.COMPLETED: 1}
    assert counts[Stage.TEACH, "small"].planned == 1


# Teachers are no trials of the search


def test_teachers_are_counted_by_themselves_and_first(finished_report):
    counted = [(c.stage.value, c.arm, c.planned, c.ended) for c in finished_report.counts]
    assert counted[:3] == [("teach", "small", 1, 1), ("teach", "big", 1, 1), ("explore", "nokd", 16, 16)]
    assert (finished_report.progress.explored, finished_report.progress.to_explore) == (48, 48)


def test_teachers_are_never_among_the_best(finished_report):
    assert {t.arm for t in finished_report.top} <= {"nokd", "kd", "ats"}
    assert {r.arm for r in finished_report.view.rungs} == {"nokd", "kd", "ats"}
    assert "t0001" not in plain(render(finished_report, Format.TABLE))


def test_time_of_teachers_is_spent_and_shown(done, finished_report):
    view = StudyView(done)
    spent = sum(t.train_time_s for t in view.trials)
    assert finished_report.time.training_s == pytest.approx(spent)
    assert finished_report.time.teaching_s == pytest.approx(24)
    assert "24.0 s of it for teachers" in plain(render(finished_report, Format.TABLE))


def test_a_diverged_teacher_saved_no_time(study):
    study.teach("small", "DIVERGED", 2)
    assert build(flushed(study)).time.diverged_saved_epochs == 0


def test_a_teacher_between_two_confirm_runs_opens_no_second_look_at_the_test_split(tmp_path):
    study = Distilled(tmp_path, trials=1)
    study.begin()
    source = study.explored("kd", 0.9)
    study.confirmed(source, "kd", [0.9, 0.91])
    study.teach("small")
    study.confirmed(source, "kd", [0.9])
    study.end()
    assert build(study.folder).test_openings == 1


# Arms


def test_every_arm_is_set_against_the_reference_as_scipy_does(finished_report):
    results = {r.arm: r for r in finished_report.arms}
    assert list(results) == ["nokd", "kd", "ats"]
    assert results["nokd"].comparison is None
    tested = {c.trial: list(c.test_by_seed.values()) for c in finished_report.candidates}
    for arm in ("kd", "ats"):
        theirs = stats.ttest_rel(tested[results[arm].trial], tested[results["nokd"].trial])
        interval, difference = theirs.confidence_interval(), results[arm].comparison.difference
        assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))
        assert difference.p == pytest.approx(theirs.pvalue)
    best = [c.trial for c in finished_report.candidates if c.arm == "kd"]
    assert results["kd"].trial == best[0]
    rows = table_of(finished_report, "Arms on the test split").rows
    assert [row[0] for row in rows] == ["nokd (ref.)", "kd", "ats"]
    assert rows[2][-1] == results["ats"].comparison.outcome == Outcome.BETTER


def test_arms_are_not_compared_before_all_is_confirmed(tmp_path):
    study = Distilled(tmp_path, trials=2)
    study.begin()
    study.explore()
    study.confirm(7)
    report = build(flushed(study))
    assert report.arms == ()
    assert table_of(report, "Arms on the test split") is None


def test_an_arm_that_diverged_on_a_seed_is_left_out(study):
    for arm in ("nokd", "kd", "ats"):
        for value in (0.9, 0.8):
            study.explored(arm, value)
    values = [0.90, 0.91, 0.92, 0.90, 0.91]
    for source, arm in (("t0001", "nokd"), ("t0003", "kd"), ("t0005", "ats"), ("t0006", "ats")):
        study.confirmed(source, arm, values)
    study.confirmed("t0004", "kd", values)
    study.end()
    assert [r.arm for r in build(study.folder).arms] == ["nokd", "kd", "ats"]
    other = Distilled(study.root, name="other", trials=1)
    other.begin()
    for arm in ("nokd", "kd", "ats"):
        other.explored(arm, 0.9)
    for source, arm in (("t0001", "nokd"), ("t0003", "ats")):
        other.confirmed(source, arm, values)
    other.confirmed("t0002", "kd", [*values[:4], "DIVERGED"])
    other.end()
    assert [r.arm for r in build(other.folder).arms] == ["nokd", "ats"]


def test_arms_with_more_to_search_are_said_to_be_further_from_their_best(finished_report):
    assert any("(1 in nokd; 3 in kd; 4 in ats)" in note for note in finished_report.notes)


def test_settings_are_what_is_searched_in_the_arm(finished_report):
    by_arm = {c.arm: c.settings for c in finished_report.candidates}
    assert list(by_arm["nokd"]) == ["optimizer.lr"]
    assert by_arm["kd"]["loss.gap"] == 0
    assert not any("optimizer.weight_decay" in settings for settings in by_arm.values())
    page = render(finished_report, Format.HTML)
    assert "Following: optimizer.weight_decay (0.0005 times loss.weight ** 1)" in page
    assert json.loads(render(finished_report, Format.JSON))["derived"]


# Calibration and teachers' targets


def test_calibration_is_the_mean_over_the_confirm_seeds(finished_report):
    assert [c.trial for c in finished_report.calibration] == [c.trial for c in finished_report.candidates]
    view = finished_report.view
    first = finished_report.calibration[0]
    losses = [
        view.epoch_means[t.trial][-1].metrics["test/loss"]
        for t in view.trials
        if t.source == first.trial and t.stage is Stage.CONFIRM
    ]
    assert first.nll == pytest.approx(sum(losses) / 5)
    assert (first.nll_refit, first.ece, first.ece_refit) == pytest.approx((0.11, 0.031, 0.012))
    assert (first.temperature, first.seeds) == (pytest.approx(1.25), 5)
    assert table_of(finished_report, "Calibration").rows[0][2:] == (
        f"{first.nll:.4f}",
        "0.1100",
        "3.10 %",
        "1.20 %",
        "1.25",
        "5",
    )


def test_the_teachers_targets_are_those_of_the_candidates(finished_report):
    view = finished_report.view
    taught = [c for c in finished_report.candidates if c.arm != "nokd"]
    assert [s.trial for s in finished_report.signals] == [c.trial for c in taught]
    for found, candidate in zip(finished_report.signals, taught, strict=True):
        first = view.epoch_means[candidate.trial][0].metrics
        assert found.tau2 == pytest.approx(found.tau1 - candidate.settings["loss.gap"])
        assert found.derived_std == first["teacher/derived_std"]
        assert found.teacher == "big"
    table = table_of(finished_report, "What the teacher tells the student")
    assert "teacher" not in table.columns
    assert all(word in table.caption for word in ("DA is", "DV,", "IV is", "training split"))


def test_before_there_are_candidates_the_best_of_every_arm_shows_its_targets(tmp_path):
    study = Distilled(tmp_path, trials=9)
    study.begin()
    study.explore(8)
    report = build(flushed(study))
    assert report.candidates == ()
    best = {arm: max((v, t) for t, (a, s, v) in study.finals.items() if a == arm and s == "COMPLETED")[1]
            for arm in ("kd", "ats")}  # fmt: skip
    assert {s.arm: s.trial for s in report.signals} == best


def test_students_of_several_teachers_name_theirs(study):
    for arm, teacher in (("kd", "big"), ("ats", "small")):
        study.document["recipe"]["loss"]["teacher"] = teacher
        study.run(study.propose(arm), arm)
    report = build(flushed(study))
    table = table_of(report, "What the teacher tells the student")
    assert table.columns[2] == "teacher"
    assert {row[1]: row[2] for row in table.rows} == {"kd": "big", "ats": "small"}


# All formats


@pytest.mark.parametrize("form", list(Format))
def test_every_format_has_the_new_tables(finished_report, form):
    text = render(finished_report, form, width=160) if form is Format.TABLE else render(finished_report, form)
    words = ("arms", "calibration", "teachers", "signals") if form is Format.JSON else NEW_TABLES
    assert all(word in text for word in words)
    if form is Format.HTML:
        assert 'id="plot-temperature"' in text


@pytest.mark.parametrize("width", [80, 100])
def test_the_tables_of_numbers_fit_a_terminal(finished_report, width):
    text = render(finished_report, Format.TABLE, width=width)
    assert all(len(line) <= width for line in text.splitlines() if "thermotune" not in line and "mlflow" not in line)
    if width == 100:
        assert re.search(r"t\d+ +ats +[\d.]+ / [\d.]+ +14 +1.66 ", text)


def test_other_studies_have_none_of_this(tmp_path):
    report = build(finished(tmp_path, trials=12))
    assert not NEW_TABLES & {t.title for t in tables(report)}
    assert (report.arms, report.calibration, report.teachers, report.signals) == ((), (), (), ())
    assert not re.search("teacher|calibration", render(report, Format.TABLE), re.IGNORECASE)


def test_an_arm_without_the_temperature_breaks_nothing(tmp_path):
    study = Distilled(tmp_path, reference="kd", trials=3)
    study.begin()
    study.explore()
    study.confirm()
    study.end()
    report = build(study.folder)
    page = render(report, Format.HTML)
    assert "grey ones have no place on that scale" in page
    assert 'id="plot-temperature"' in page
    assert "grey ones" not in render(build(finished(tmp_path, trials=3)), Format.HTML)


def test_a_study_whose_arms_are_all_fixed_is_shown(tmp_path):
    study = Study(tmp_path, trials=1, arms={"a": {"loss.beta": 1.0, "optimizer.lr": 0.1}})
    study.begin()
    study._final(study.propose("a"), "a", "explore", "COMPLETED", EPOCHS, 0.9, "end")
    study.end()
    assert render(build(study.folder), Format.HTML)
