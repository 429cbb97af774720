"""Reports: what they say of finished studies, of studies under way, and when nothing can be said."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from scipy import stats

from results import report as module
from results.errors import ResultsError
from results.facts import StudyFacts
from results.lock import StudyLock
from results.query import StudyView
from results.report import (
    Format,
    build,
    render,
    render_best,
    render_status,
    render_statuses,
    status,
    statuses,
    to_json,
    write_files,
)
from results.report.panels import panels
from results.schema import StudyState, TrialRow, TrialState
from results.statistics import Outcome
from tests.results.synthetic import EPOCHS, Study, finished
from tests.results.synthetic_search import Tabulated, searched


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("done"))


@pytest.fixture(scope="module")
def finished_report(done):
    return build(done, command="uv run thermotune --root runs")


def explored(tmp_path, trials=12, **options):
    study = Study(tmp_path, trials=trials, **options)
    study.begin()
    study.explore()
    return study


def test_the_winner_is_the_best_mean_on_validation(done, finished_report):
    view = StudyView(done)
    means = {}
    for trial in view.trials:
        if trial.source and trial.arm != "baseline":
            means.setdefault(trial.source, []).append(trial.value)
    averages = {source: sum(values) / 5 for source, values in means.items()}
    assert finished_report.best.trial == max(averages, key=averages.get)
    assert finished_report.best.value == pytest.approx(max(averages.values()))
    assert finished_report.best.confirmed
    assert "validation split, last epoch, mean over 5 confirm seeds" in finished_report.best.source
    assert (
        finished_report.best.retrain == f"uv run thermotune --root runs train digits-beta {finished_report.best.trial}"
    )


def test_the_test_split_is_compared_in_pairs_as_scipy_does(done, finished_report):
    view = StudyView(done)
    tested = {}
    for trial in view.trials:
        if trial.source in (finished_report.best.trial, finished_report.reference.trial):
            tested.setdefault(trial.source, []).append(view.epoch_means[trial.trial][-1].metrics["test/accuracy"])
    theirs = stats.ttest_rel(tested[finished_report.best.trial], tested[finished_report.reference.trial])
    interval = theirs.confidence_interval()
    difference = finished_report.comparison.difference
    assert (difference.low, difference.high, difference.p) == pytest.approx(
        (interval.low, interval.high, theirs.pvalue)
    )
    expected = Outcome.BETTER if interval.low > 0 else Outcome.WORSE if interval.high < 0 else Outcome.NOT_SHOWN
    assert finished_report.verdict.outcome is expected
    assert finished_report.test_openings == 1


def test_counts_are_complete(finished_report):
    by_arm = {(c.stage, c.arm): c for c in finished_report.counts}
    assert by_arm["explore", "search"].ended == by_arm["explore", "baseline"].ended == 48
    assert by_arm["confirm", "search"].states == {TrialState.COMPLETED: 10}
    assert by_arm["confirm", "baseline"].planned == 5


def test_time_spent_and_saved(done, finished_report):
    view = StudyView(done)
    time = finished_report.time
    (all_epochs,) = view.rows("select sum(epoch_time_s) from all_epochs")[0]
    assert time.training_s == pytest.approx(all_epochs)
    pruned = [t for t in view.trials if t.state is TrialState.PRUNED]
    assert time.stopped_saved_epochs == sum(EPOCHS - t.epochs for t in pruned)
    assert time.stopped_saved_s == pytest.approx(sum((EPOCHS - t.epochs) * t.mean_epoch_time_s for t in pruned))
    diverged = [t for t in view.trials if t.state is TrialState.DIVERGED]
    assert diverged
    assert time.diverged_saved_epochs == sum(EPOCHS - t.epochs for t in diverged)
    assert (time.restarts, time.restarted_trials, time.sessions) == (1, 1, 1)
    (session,) = view.sessions
    assert timedelta(seconds=time.wall_s) == session.ended_at - session.started_at


def test_the_top_ten_has_full_trials_first(finished_report):
    rows = finished_report.top
    assert len(rows) == 10
    full = [r for r in rows if r.state is TrialState.COMPLETED]
    assert list(rows[: len(full)]) == full
    assert [r.value for r in full] == sorted((r.value for r in full), reverse=True)


@pytest.mark.parametrize("form", list(Format))
def test_every_format_says_the_verdict_and_how_to_go_on(finished_report, form):
    text = render(finished_report, form)
    plain = re.sub(r"\s+", " ", text.replace("&nbsp;", " ").replace("\\", ""))
    assert finished_report.verdict.headline in plain
    assert finished_report.best.retrain in plain
    assert "n = 5" in plain
    assert text.endswith("\n")


def test_json_is_strict_and_whole(finished_report):
    document = json.loads(to_json(finished_report), parse_constant=lambda name: pytest.fail(name))
    assert document["best"]["settings"]["loss.beta"] == finished_report.best.settings["loss.beta"]
    assert document["comparison"]["difference"]["n"] == 5
    assert document["schema"] == 1


def test_keys_of_the_json_document_stay(finished_report):
    """Others read these: whoever takes one away or gives it another meaning raises ``schema``."""
    document = json.loads(to_json(finished_report))
    assert set(document) >= {
        *("schema", "study", "state", "generated_at", "metric", "test_metric", "mode", "space", "derived"),
        *("reference_arm", "progress", "verdict", "best", "candidates", "earlier", "challenger", "reference"),
        *("comparison", "arms", "calibration", "teachers", "signals", "test_openings", "pareto", "audit", "stability"),
        *("amendments", "repeated", "spent", "top", "counts", "time", "notes", "steps", "run_on", "standings"),
        "seeds_needed",
    }
    assert "view" not in document
    assert set(document["comparison"]) >= {"outcome", "difference", "reason", "p_corrected", "compared"}
    assert set(document["comparison"]["difference"]) >= {"mean", "low", "high", "p", "n", "sd"}
    assert set(document["best"]) >= {
        "trial",
        "arm",
        "settings",
        "value",
        "confirmed",
        "recipe",
        "study_file",
        "retrain",
    }
    assert set(document["standings"][0]) >= {"trial", "optimism", "first_share", "comparison", "may_be_best"}


def test_a_narrow_terminal_breaks_no_command(finished_report):
    text = render(finished_report, Format.TABLE, width=40)
    assert finished_report.best.retrain in text
    assert "\x1b" not in text
    assert "\x1b" in render(finished_report, Format.TABLE, color=True)


def test_the_page_needs_nothing_from_outside(finished_report):
    page = render(finished_report, Format.HTML)
    page = re.sub(r"<script>/\*\*.*?</script>", "", page, flags=re.S)
    assert len(page) < 500_000
    assert not re.search("https?:", page.replace("http://www.w3.org", ""))
    assert not re.search(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=(?!\"data:)", page)


def test_every_text_in_the_page_is_escaped(tmp_path):
    evil = "</script><script>alert(1)</script>"
    study = Study(tmp_path, trials=2, reference="base<b>line")
    study.begin()
    study.explore()
    common = {"trial": "t0099", "arm": evil, "stage": "explore", "number": 9}
    study.writer.append(
        TrialRow(**study.common, **common, state="PENDING", attempt=0, params=json.dumps({"loss.beta": 1}))
    )
    study.writer.append(TrialRow(**study.common, **common, state="FAILED", attempt=1, reason=evil, error=evil))
    study.end()
    page = render(build(study.folder), Format.HTML)
    assert evil not in page
    assert "alert(1)" in page
    assert "base<b>line" not in page


def test_files_are_written_whole_and_again(done):
    for _ in range(2):
        report, page = write_files(done)
    assert json.loads((done / "report.json").read_text())["study"] == report.study == "digits-beta"
    assert page.read_text().startswith("<!doctype html>")
    assert not list(done.glob(".report-*"))


def test_a_report_that_cannot_be_written_leaves_the_old_one(done, monkeypatch):
    write_files(done)
    document = done / "report.json"
    before = document.read_text()
    monkeypatch.setattr(module.output, "render", lambda report, form: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_files(done)
    assert document.read_text() == before
    assert not list(done.glob(".report-*"))


def test_a_study_under_way_names_its_best_as_unconfirmed(tmp_path):
    study = explored(tmp_path, trials=20)
    study.writer.flush()
    found = build(study.folder)
    assert found.best.trial in study.finals
    assert not found.best.confirmed
    assert "search stage only, one seed: not confirmed" in found.best.source
    assert "Nothing is confirmed yet" in found.verdict.headline
    assert found.comparison is None
    assert found.state is StudyState.INTERRUPTED
    assert any("resume digits-beta" in step.command for step in found.steps)


def test_a_confirmation_under_way_names_no_winner(tmp_path):
    study = explored(tmp_path)
    study.confirm(7)
    study.writer.flush()
    found = build(study.folder)
    assert not found.best.confirmed
    assert found.verdict.outcome is Outcome.NOT_COMPARED
    assert "7 of 15" in " ".join(found.verdict.details)


def test_a_study_that_has_not_begun_is_no_error(tmp_path):
    study = Study(tmp_path)
    study.writer.close()
    found = build(study.folder)
    assert found.state is StudyState.NEW
    assert found.best is None
    for form in Format:
        assert "No trial" in render(found, form)


def test_a_reference_with_fewer_trials_names_no_winner(tmp_path):
    study = explored(tmp_path)
    for _ in range(3):
        study.run(study.propose("search"), "search")
    study.confirm()
    study.end()
    found = build(study.folder)
    assert any("12 trials" in note and "15" in note for note in found.notes)
    assert found.verdict.outcome is not Outcome.BETTER


def test_where_every_trial_diverged_there_is_no_best(tmp_path):
    study = Study(tmp_path, trials=1)
    study.begin()
    for arm in ("search", "baseline"):
        trial = study.propose(arm)
        study._final(trial, arm, "explore", "DIVERGED", 1, None, "loss inf")
    study.end()
    found = build(study.folder)
    assert found.best is None
    assert "No trial was trained to the end" in found.verdict.headline
    assert "No trial was trained" in render_best(found, Format.TABLE)


def test_a_candidate_that_diverged_on_a_seed_is_out(tmp_path):
    study = explored(tmp_path)
    study.confirm(0)
    runs = sorted(t for t in study.proposals if int(t[1:]) > 24)
    view = StudyView(_flushed(study))
    first = next(t.source for t in view.trials if t.trial == runs[0])
    for index, run in enumerate(runs):
        arm = "baseline" if index >= 10 else "search"
        if index == 2:
            study._final(run, arm, "confirm", "DIVERGED", 3, None, "loss inf")
        else:
            study.run(run, arm, "confirm", seed=1000 + index % 5)
    study.end()
    found = build(study.folder)
    assert found.best.trial != first
    assert any(first in note and "diverged on 1 of 5" in note for note in found.notes)


def _flushed(study):
    study.writer.flush()
    return study.folder


def test_a_study_without_reference_compares_nothing(tmp_path):
    found = build(finished(tmp_path, trials=12, reference=None))
    assert found.best.confirmed
    assert found.verdict.outcome is Outcome.NOT_COMPARED
    assert "no reference arm" in found.verdict.headline
    assert render(found, Format.HTML)


def test_a_loss_is_minimised(tmp_path):
    found = build(finished(tmp_path, trials=16, path="loss.alpha", metric="val/loss"))
    means = [c.validation.mean for c in found.candidates]
    assert means == sorted(means)
    assert "nats" in found.verdict.headline
    assert "tampering exponent alpha" in render(found, Format.HTML)


def test_a_second_confirmation_opens_the_test_split_again(tmp_path):
    study = explored(tmp_path)
    study.confirm()
    study.run(study.propose("search"), "search")
    study.confirm()
    study.end()
    found = build(study.folder)
    assert found.test_openings == 2
    assert any("opened 2 times" in note for note in found.notes)


def test_ties_go_to_the_earlier_trial(tmp_path, monkeypatch):
    study = Study(tmp_path, trials=2)
    study.begin()
    for arm in ("search", "search", "baseline", "baseline"):
        trial = study.propose(arm)
        study._final(trial, arm, "explore", "COMPLETED", EPOCHS, 0.5, "end")
    study.end()
    assert build(study.folder).best.trial == "t0001"


def test_a_failed_trial_is_mentioned_with_its_reason(tmp_path):
    study = explored(tmp_path, trials=3)
    trial = study.propose("search")
    study._final(trial, "search", "explore", "FAILED", 0, None, "CUDA out of memory\nmore")
    study.writer.flush()
    assert any("CUDA out of memory" in note and trial in note for note in build(study.folder).notes)


def test_status_names_the_driver_and_the_running_trials(tmp_path):
    study = explored(tmp_path, trials=4)
    trial = study.propose("search")
    study._state(trial, "search", "explore", "RUNNING", attempt=1)
    study.writer.flush()
    with StudyLock(study.folder):
        found = status(study.folder)
        text = render_status(found, Format.TABLE)
    assert found.state is StudyState.RUNNING
    assert [r.trial for r in found.running] == [trial]
    assert "Driver: process" in text
    assert "0/27" in text
    assert "8 of 9 trials explored" in text


def test_all_studies_of_a_root_are_a_line_each(tmp_path):
    assert render_statuses(statuses(tmp_path), Format.TABLE) == "No study yet.\n"
    finished(tmp_path, trials=6)
    Study(tmp_path, name="another").writer.close()
    found = statuses(tmp_path)
    assert [(s.study, s.state) for s in found] == [("another", StudyState.NEW), ("digits-beta", StudyState.COMPLETED)]
    assert [s["study"] for s in json.loads(render_statuses(found, Format.JSON))] == ["another", "digits-beta"]
    assert "digits-beta" in render_statuses(found, Format.MARKDOWN)


def test_a_damaged_study_does_not_hide_the_others(tmp_path):
    for name in ("another", "broken"):
        Study(tmp_path, name=name).writer.close()
    (tmp_path / "broken" / "study.yaml").write_text("- no\n- study\n")
    found = statuses(tmp_path)
    assert [s.study for s in found] == ["another", "broken"]
    text = render_statuses(found, Format.TABLE, width=300)
    assert re.search(r"broken +UNREADABLE .*must be a YAML mapping", text)
    assert "YAML mapping" in json.loads(render_statuses(found, Format.JSON))[1]["error"]


def test_short_answers_are_no_page(done, finished_report):
    for render_short, what in ((render_status, status(done)), (render_best, finished_report)):
        assert json.loads(render_short(what, Format.JSON))
        with pytest.raises(ResultsError, match="table, json or markdown"):
            render_short(what, Format.HTML)


def test_credentials_of_the_tracker_are_not_shown(done, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pw@tracker/x")
    text = render(build(done), Format.TABLE)
    assert "pw@" not in text
    assert "https://***@tracker/x" in text


def test_facts_are_frozen(done):
    with pytest.raises(AttributeError):
        StudyView(done).facts.name = "x"
    assert isinstance(StudyView(done).facts, StudyFacts)


def plain(text):
    return re.sub(r"\s+", " ", text.replace("&nbsp;", " ").replace("\\", ""))


@pytest.fixture(scope="module")
def whole_report(tmp_path_factory):
    """A search with an audit, failures to train, divergence, a confirmation."""
    study = searched(tmp_path_factory.mktemp("whole"), trials=60)
    study.confirm()
    study.end()
    return build(study.folder)


def test_at_80_columns_no_word_is_broken(whole_report):
    text = render(whole_report, Format.TABLE, width=80)
    lines = [line for line in text.splitlines() if not line.startswith("   ") or "  " in line.strip()]
    assert all(len(line) <= 80 for line in lines[: len(lines) - 6])
    for word in ("val/accuracy", "test/accuracy", "settings", "COMPLETED", "baseline", "audited", "planned"):
        assert word in text
    for candidate in whole_report.candidates:
        mean = candidate.test
        assert f"[{100 * mean.low:.2f}, {100 * mean.high:.2f}]" in text


def test_amendments_are_shown_with_their_session_and_changes(tmp_path):
    study = explored(tmp_path, trials=3)
    study.end("INTERRUPTED", "stopped")
    study.extend(4)
    study.amendment = 2
    study.reopen("s0002")
    study.end("INTERRUPTED", "stopped")
    found = build(study.folder)
    (amendment,) = found.amendments
    assert (amendment.number, amendment.session) == (2, "s0002")
    assert [(c["key"], c["before"], c["after"]) for c in json.loads(to_json(found))["amendments"][0]["changes"]] == [
        ("search.trials", 3, 4)
    ]
    for form in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        text = plain(render(found, form, width=200))
        assert "Amended" in text
        assert "study-2.yaml" in text
        assert "search.trials from 3 to 4" in text


def test_work_that_was_done_twice_is_told(done, finished_report):
    (sentence,) = finished_report.repeated
    assert "t0003" in sentence
    for form in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        text = plain(render(finished_report, form, width=200))
        assert "repeated work" in text
        assert sentence in text


def test_the_best_configuration_says_how_it_was_found(whole_report):
    number = next(t.number for t in whole_report.view.trials if t.trial == whole_report.best.trial)
    origin = "random start-up" if number < 10 else f"TPE model of {number} trials"
    assert whole_report.best.origin == origin
    for form in (Format.TABLE, Format.MARKDOWN, Format.HTML):
        assert re.search(rf"[Ff]ound by:? {origin}", plain(render(whole_report, form)))


def test_the_budget_is_shown_with_what_was_used(tmp_path):
    study = Study(tmp_path, trials=1)
    study.document["budget"] = {"trials": 8}
    study.extend(1)
    study.explored("search", 0.9)
    study.end()
    (spent,) = build(study.folder).spent
    assert str(spent) in plain(render(build(study.folder), Format.TABLE))


# Stability


def test_trials_that_never_left_chance_failed_to_train(tmp_path):
    study = Tabulated(tmp_path, trials=4, reference=None)
    study.data(classes=10, val=900)  # two standard errors are 0.02
    study.begin()
    at_chance = study.trial({1: 0.1, 2: 0.119, EPOCHS: 0.08}, beta=0.01)
    study.trial({1: 0.1, 2: 0.121, EPOCHS: 0.09}, beta=0.01)
    stopped = study.trial({1: 0.11}, {1: "STOP"}, state="PRUNED", beta=0.01)
    study.trial({1: 0.1}, state="DIVERGED", beta=10.0)
    study.trial({1: 0.1}, state="FAILED", beta=10.0)
    study.trial({1: 0.1}, state="RUNNING", beta=10.0)
    study.end()
    found = build(study.folder)
    cold, hot = found.stability
    assert (cold.n, cold.trained, cold.diverged.count, cold.failed_to_train.count) == (3, 1, 0, 2)
    assert (hot.n, hot.trained, hot.diverged.count, hot.failed_to_train.count) == (1, 0, 1, 0)
    low, high = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert (cold.failed_to_train.low, cold.failed_to_train.high) == pytest.approx((low, high))
    figure = next(p.figure for p in panels(found) if p.key == "temperature")
    (marks,) = [t for t in figure.data if t.y is not None and "failed to train" in t.y]
    assert [text.split()[0] for text in marks.text] == [at_chance, stopped]
    text = plain(render(found, Format.TABLE))
    assert "Stability by inverse temperature beta" in text
    assert "2: 67 % [21, 94]" in text


@pytest.mark.parametrize(("sizes", "failed"), [({}, [1, 2]), ({"val": 10_000}, [])])
def test_without_the_size_of_the_split_the_margin_is_two_points(tmp_path, sizes, failed):
    study = Tabulated(tmp_path, trials=2, reference=None)
    study.data(classes=2, **sizes)
    study.begin()
    study.trial({EPOCHS: 0.515})
    study.trial({EPOCHS: 0.52})
    study.end()
    lost = [b.failed_to_train.count for b in build(study.folder).stability]
    assert lost == ([len(failed)] if failed else [])


def test_where_the_number_of_classes_is_unknown_nobody_failed_to_train(tmp_path):
    study = Tabulated(tmp_path, trials=2, reference=None)
    study.begin()
    study.trial({EPOCHS: 0.1})
    study.trial({1: 0.1}, state="DIVERGED")
    study.end()
    (row,) = build(study.folder).stability
    assert (row.failed_to_train, row.diverged.count, row.trained) == (None, 1, 1)
    assert "failed to train" not in render(build(study.folder), Format.TABLE)


def test_a_study_in_which_all_trained_has_no_table_of_stability(tmp_path):
    study = Tabulated(tmp_path, trials=1, reference=None)
    study.data()
    study.begin()
    study.trial({EPOCHS: 0.9})
    study.end()
    assert build(study.folder).stability == ()


# Survival


def bars(study):
    study.writer.flush()
    figure = next(p.figure for p in panels(build(study.folder)) if p.key == "survival")
    return {t.name: dict(zip(t.x, t.y, strict=True)) for t in figure.data if t.type == "bar"}


def test_brackets_of_hyperband_are_added_up(tmp_path):
    study = Tabulated(tmp_path, trials=4, reference=None)
    study.begin()
    study.trial({1: 0.1}, {1: "STOP"}, state="PRUNED")
    study.trial({1: 0.2, 3: 0.3}, {1: "CONTINUE", 3: "STOP"}, state="PRUNED")
    study.trial({1: 0.2, 3: 0.3}, {3: "STOP"}, state="PRUNED", bracket=1)
    study.trial({1: 0.2, EPOCHS: 0.9}, bracket=2)
    found = bars(study)
    assert found["went on"] == {"start": 4, "epoch 1": 3, "epoch 3": 1, "end": 1}
    assert found["stopped here"] == {"start": 0, "epoch 1": 1, "epoch 3": 2, "end": 0}


def test_trials_that_wait_are_neither_stopped_nor_gone_on(tmp_path):
    study = Tabulated(tmp_path, trials=3, reference=None)
    study.begin()
    study.trial({1: 0.1}, {1: "PAUSE"}, state="PAUSED")
    study.trial({1: 0.2}, {1: "PAUSE"}, state="PRUNED")
    study.trial({1: 0.2, EPOCHS: 0.9}, {1: "PAUSE"})
    study.trial({1: 0.2, EPOCHS: 0.9}, {1: "AUDIT"}, audited=True)
    found = bars(study)
    assert (found["wait here"]["epoch 1"], found["stopped here"]["epoch 1"], found["went on"]["epoch 1"]) == (1, 1, 2)
