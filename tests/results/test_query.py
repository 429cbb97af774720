"""Questions to the records: the attempt rule, trial states, study states."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC

import pytest

from results.lock import StudyLock
from results.query import StudyView
from results.schema import EpochRow, StudyState, TrialRow, TrialState
from tests.results.synthetic import EPOCHS, START, Study, finished
from tests.results.synthetic_papers import Distilled


def epoch(study, trial, number, attempt=1, start=0, lane=0, value=0.5, time_s=2.0):
    study.writer.append(
        EpochRow(
            **study.common,
            trial=trial,
            arm="search",
            stage="explore",
            lane=lane,
            seed=lane,
            epoch=number,
            attempt=attempt,
            attempt_start=start,
            epoch_time_s=time_s,
            metrics={"val/accuracy": value},
        )
    )


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path)
    made.begin()
    made.propose("search")
    return made


def view(study):
    study.writer.flush()
    return StudyView(study.folder)


def visible(study):
    return view(study).rows('select epoch, attempt, "val/accuracy" from epochs order by epoch, lane')


def test_one_attempt_shows_all_its_epochs(study):
    for number in (1, 2, 3):
        epoch(study, "t0001", number)
    assert [(e, a) for e, a, _ in visible(study)] == [(1, 1), (2, 1), (3, 1)]


def test_a_later_attempt_hides_what_it_repeats_even_before_it_got_there(study):
    for number in range(1, 7):
        epoch(study, "t0001", number)
    epoch(study, "t0001", 4, attempt=2, start=3, value=0.7)
    assert visible(study) == [(1, 1, 0.5), (2, 1, 0.5), (3, 1, 0.5), (4, 2, 0.7)]


def test_an_attempt_from_scratch_hides_everything_before(study):
    for number in (1, 2, 3):
        epoch(study, "t0001", number)
    epoch(study, "t0001", 4, attempt=2, start=3)
    epoch(study, "t0001", 1, attempt=3, start=0, value=0.9)
    assert visible(study) == [(1, 3, 0.9)]


def test_attempts_that_went_on_where_the_last_stopped_hide_nothing(study):
    epoch(study, "t0001", 1)
    epoch(study, "t0001", 2, attempt=2, start=1)
    epoch(study, "t0001", 3, attempt=3, start=2)
    assert [(e, a) for e, a, _ in visible(study)] == [(1, 1), (2, 2), (3, 3)]


def test_the_visible_rows_are_those_of_the_schemas_rule(study):
    """The rule written again, over random attempts."""
    import random

    chance = random.Random(3)
    rows, done = [], 0
    for attempt in range(1, 8):
        start = chance.randint(0, done)
        done = start + chance.randint(0, 5)
        for number in range(start + 1, done + 1):
            rows.append((number, attempt, start))
            epoch(study, "t0001", number, attempt=attempt, start=start)
    starts = {attempt: start for _, attempt, start in rows}
    expected = [(e, a) for e, a, _ in rows if not any(b > a and starts[b] < e for b in starts)]
    assert [(e, a) for e, a, _ in visible(study)] == sorted(expected)


def test_means_are_over_lanes(study):
    epoch(study, "t0001", 1, lane=0, value=0.25, time_s=2)
    epoch(study, "t0001", 1, lane=1, value=0.75, time_s=3)
    found = view(study)
    (mean,) = found.epoch_means["t0001"]
    assert (mean.lanes, mean.metrics["val/accuracy"], mean.epoch_time_s) == (2, 0.5, 5)
    assert mean.reported_at.tzinfo is UTC
    (ends,) = found.rows('select "val/accuracy/min", "val/accuracy/max" from epoch_means')
    assert ends == (0.25, 0.75)


def test_a_trial_is_its_first_row_in_what_it_is_and_its_last_in_where_it_stands(study):
    common = {"trial": "t0001", "arm": "search", "stage": "explore", "number": 0}
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=1))
    epoch(study, "t0001", 1, value=0.5)
    epoch(study, "t0001", 2, value=0.6)
    (running,) = view(study).trials
    assert (running.state, running.attempt, running.epochs, running.last_value) == (TrialState.RUNNING, 1, 2, 0.6)
    assert (running.value, running.ended_at) == (None, None)
    study.writer.append(
        TrialRow(**study.common, **common, state="PRUNED", attempt=1, epochs=2, value=0.6, reason="below the cutoff")
    )
    (trial,) = view(study).trials
    assert (trial.state, trial.value, trial.reason) == (TrialState.PRUNED, 0.6, "below the cutoff")
    assert set(trial.params) == {"loss.beta", "optimizer.lr"}
    assert trial.setting("loss.beta") == trial.params["loss.beta"]
    assert trial.setting("loss.name") == "tempered"
    assert trial.setting("loss.nothing.here") is None
    assert START < trial.created_at < trial.started_at < trial.ended_at
    assert (trial.train_time_s, trial.mean_epoch_time_s) == (4, 2)


def test_time_of_repeated_epochs_is_spent_but_not_in_the_mean(study):
    for number in (1, 2, 3):
        epoch(study, "t0001", number, time_s=1)
    epoch(study, "t0001", 1, attempt=2, start=0, time_s=5)
    (trial,) = view(study).trials
    assert (trial.train_time_s, trial.mean_epoch_time_s) == (8, 5)


def test_searched_paths_are_columns_for_every_arm(study):
    study.propose("baseline")
    rows = view(study).rows('select trial, "loss.beta", "optimizer.lr" from trials')
    assert rows[0][1] == study.proposals["t0001"]["loss.beta"]
    assert rows[1][:2] == ("t0002", 1.0)


def test_a_dimension_of_words_is_a_column_of_words(tmp_path):
    study = Study(tmp_path, path="loss.name")
    study.proposals = {}
    for trial, name in (("t0001", "tempered"), ("t0002", "tampered")):
        study.writer.append(
            TrialRow(
                **study.common,
                trial=trial,
                arm="search",
                stage="explore",
                number=0,
                state="PENDING",
                attempt=0,
                params=json.dumps({"loss.name": name}),
            )
        )
    assert view(study).rows('select "loss.name" from trials') == [("tempered",), ("tampered",)]


def test_the_ten_thousandth_trial_comes_after_the_others(study):
    first = study.propose("search")
    study.count = 9999
    study.propose("search")
    assert [t.trial for t in view(study).trials] == ["t0001", first, "t10000"]


def test_epochs_before_their_trials_row_are_no_trial(study):
    epoch(study, "t0099", 1)
    assert [t.trial for t in view(study).trials] == ["t0001"]


def test_rungs_count_each_trial_once(study):
    values = iter([0.9, 0.8, 0.1])
    for trial in ("t0001", "t0002", "t0003"):
        study._stops(trial, "search", 3, next(values))
    study._stops("t0003", "search", 3, 0.05)
    (rung,) = view(study).rungs
    assert (rung.arm, rung.epoch, rung.reached, rung.stopped) == ("search", 3, 3, 1)


def test_states_of_a_study(tmp_path):
    study = Study(tmp_path)
    assert view(study).state is StudyState.NEW
    with StudyLock(study.folder):
        assert view(study).state is StudyState.RUNNING
    study.begin()
    assert view(study).state is StudyState.INTERRUPTED
    study.reopen("s0002")
    with StudyLock(study.folder):
        assert view(study).state is StudyState.RUNNING
    study.end("INTERRUPTED", "Ctrl-C")
    assert StudyView(study.folder).state is StudyState.INTERRUPTED
    study.reopen("s0003")
    study.end()
    assert StudyView(study.folder).state is StudyState.COMPLETED


def test_a_session_that_never_said_its_end_ends_with_its_last_row(study):
    epoch(study, "t0001", 1)
    last = study.clock
    study.reopen("s0002")
    study.end("INTERRUPTED", "Ctrl-C")
    first, second = StudyView(study.folder).sessions
    assert (first.state, first.ended_at, first.last_row_at) == (StudyState.RUNNING, None, last)
    assert (second.state, second.reason) == (StudyState.INTERRUPTED, "Ctrl-C")
    assert second.ended_at == second.last_row_at == study.clock
    assert first.environment["versions"]["torch"] == "2.11"


def test_all_views_can_be_selected_from(tmp_path):
    folder = finished(tmp_path, trials=6)
    found = StudyView(folder)
    for name in ("trials", "epochs", "epoch_means", "decisions", "sessions"):
        assert found.rows(f"select * from {name}")
    assert all(t.epochs <= EPOCHS for t in found.trials)


def test_a_metric_of_some_epochs_is_found_wherever_it_stands(study):
    for number, metrics in ((1, {"theory/tau_z": 2.0}), (2, {"theory/tau_z_measured": 3.0}), (3, {})):
        study.writer.append(
            EpochRow(
                **study.common,
                **{"trial": "t0001", "arm": "search", "stage": "explore", "lane": 0, "seed": 0},
                epoch=number,
                attempt=1,
                attempt_start=0,
                epoch_time_s=1.0,
                metrics={"val/accuracy": 0.1 * number, **metrics},
            )
        )
    found = view(study)
    assert found.measured("t0001", "theory/tau_z") == found.measured("t0001", "theory/tau_z", last=True) == 2
    assert found.measured("t0001", "theory/tau_z_measured") == 3
    assert found.measured("t0001", "val/accuracy") == pytest.approx(0.1)
    assert found.measured("t0001", "val/accuracy", last=True) == pytest.approx(0.3)
    assert found.measured("t0001", "theory/tau_nl") is None
    assert found.measured("t0099", "theory/tau_z") is None


def test_values_that_are_not_finite_are_not_measured(study):
    epoch(study, "t0001", 1, value=float("nan"))
    epoch(study, "t0001", 2, value=0.5)
    assert view(study).measured("t0001", "val/accuracy") == 0.5


def test_a_teacher_has_a_length_of_its_own(tmp_path):
    study = Distilled(tmp_path)
    study.begin()
    study.teach("small", "RUNNING", 2)
    study.teach("big", "RUNNING", 2)
    study.propose("kd")
    found = view(study)
    assert [found.length_of(t) for t in found.trials] == [6, 6, EPOCHS]


def test_values_that_follow_others_are_columns(tmp_path):
    study = Distilled(tmp_path)
    study.begin()
    study.propose("kd")
    weight, decay = view(study).rows('select "loss.weight", "optimizer.weight_decay" from trials')[0]
    assert decay == pytest.approx(0.0005 * weight)


def test_views_are_snapshots(study):
    before = view(study)
    epoch(study, "t0001", 1)
    study.writer.flush()
    assert before.epoch_means == {}
    assert view(study).epoch_means["t0001"]
    assert replace(before.facts) == before.facts
