"""Questions to the records: the attempt rule, trial states, study states."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from results.lock import StudyLock
from results.query import StudyView
from results.report import Format, render_status, status
from results.schema import DecisionRow, EpochRow, SessionRow, StudyState, TrialRow, TrialState
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


def judge(study, trial, rung, verdict, arm="search", bracket=None):
    study.writer.append(
        DecisionRow(
            **study.common,
            trial=trial,
            arm=arm,
            rung=rung,
            value=0.5,
            cutoff=0.6,
            rank=1,
            n=1,
            verdict=verdict,
            bracket=bracket,
        )
    )


def test_the_first_verdict_stands_and_a_promotion_lifts_a_pause(study):
    for trial, verdict in (("t0001", "CONTINUE"), ("t0002", "STOP"), ("t0003", "AUDIT"), ("t0004", "PAUSE")):
        judge(study, trial, 1, verdict)
    judge(study, "t0005", 1, "PAUSE")
    judge(study, "t0005", 1, "PROMOTE")
    judge(study, "t0001", 1, "STOP")  # after a restart
    judge(study, "t0003", 3, "AUDIT")
    found = view(study)
    first, second = found.rungs
    assert (first.epoch, first.reached, first.bracket) == (1, 5, None)
    assert (first.stopped, first.audited, first.paused, first.promoted) == (1, 1, 1, 1)
    assert (second.epoch, second.reached, second.audited, second.stopped) == (3, 1, 1, 0)
    rows = found.rows("select trial, verdict from decisions where rung = 1 order by seq")
    assert [verdict for trial, verdict in rows if trial == "t0001"] == ["CONTINUE"]
    assert [verdict for trial, verdict in rows if trial == "t0005"] == ["PAUSE", "PROMOTE"]


def test_brackets_are_added_up_and_apart(study):
    judge(study, "t0001", 1, "STOP", bracket=0)
    judge(study, "t0002", 3, "CONTINUE", bracket=0)
    judge(study, "t0003", 3, "STOP", bracket=1)
    judge(study, "t0004", 3, "STOP", bracket=1)
    judge(study, "t0005", 3, "CONTINUE", arm="baseline")  # as an older study has it
    found = view(study)
    assert [(r.arm, r.epoch, r.bracket, r.reached, r.stopped) for r in found.rungs] == [
        ("baseline", 3, None, 1, 0),
        ("search", 1, None, 1, 1),
        ("search", 3, None, 3, 2),
    ]
    assert [(r.arm, r.epoch, r.bracket, r.reached, r.stopped) for r in found.bracket_rungs] == [
        ("baseline", 3, 0, 1, 0),
        ("search", 1, 0, 1, 1),
        ("search", 3, 0, 1, 0),
        ("search", 3, 1, 2, 2),
    ]


def test_a_trial_knows_where_it_came_from_and_whether_it_is_audited(study):
    common = {"trial": "t0002", "arm": "search", "stage": "explore", "number": 1}
    study.writer.append(
        TrialRow(
            **study.common,
            **common,
            state="PENDING",
            attempt=0,
            params="{}",
            origin="TPE model of 34 trials",
            audited=1,
        )
    )
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=1))
    older, newer = view(study).trials
    assert (older.origin, older.audited) == (None, False)
    assert (newer.origin, newer.audited) == ("TPE model of 34 trials", True)


def test_a_paused_trial_has_not_ended_until_it_is_pruned(study):
    common = {"trial": "t0001", "arm": "search", "stage": "explore", "number": 0}
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=1))
    epoch(study, "t0001", 1, value=0.6)
    study.writer.append(TrialRow(**study.common, **common, state="PAUSED", attempt=1))
    (paused,) = view(study).trials
    assert (paused.state, paused.ended_at, paused.value, paused.last_value) == (TrialState.PAUSED, None, None, 0.6)
    text = render_status(status(study.folder), Format.TABLE)
    assert "paused" in text
    assert "0 of 96 trials explored" in text
    study.writer.append(
        TrialRow(**study.common, **common, state="PRUNED", attempt=1, epochs=1, value=0.6, reason="never promoted")
    )
    (ended,) = view(study).trials
    assert (ended.state, ended.value, ended.reason) == (TrialState.PRUNED, 0.6, "never promoted")


def test_a_promoted_trial_repeats_nothing(study):
    epoch(study, "t0001", 1)
    epoch(study, "t0001", 2, attempt=2, start=1)
    assert view(study).repeated == ()


def test_epochs_that_a_dead_session_had_trained_are_repeated(study):
    for trial, epochs in (("t0001", 5), ("t0002", 2)):
        for number in range(1, epochs + 1):
            epoch(study, trial, number, time_s=number)
    study.reopen("s0002")
    epoch(study, "t0001", 4, attempt=2, start=3)
    assert [(r.trial, r.from_epoch, r.to_epoch) for r in view(study).repeated] == [
        ("t0001", 4, 4)
    ]  # 5 is still to come
    epoch(study, "t0001", 5, attempt=2, start=3)
    epoch(study, "t0002", 2, attempt=2, start=1)
    first, second = view(study).repeated
    assert (first.trial, first.session, first.trained_in) == ("t0001", "s0002", ("s0001",))
    assert (first.from_epoch, first.to_epoch, first.epochs, first.wasted_s) == (4, 5, 2, 9)
    assert (second.trial, second.from_epoch, second.to_epoch, second.epochs, second.wasted_s) == ("t0002", 2, 2, 1, 2)
    assert view(study).repeated_in_words == (
        "session s0002 took over from s0001: 2 epochs of t0001 and 1 of t0002 were trained again",
    )


def test_epochs_that_a_dead_worker_had_trained_are_repeated(study):
    """Twice, and with two lanes; the time is that of all that was thrown away."""
    for attempt in (1, 2, 3):
        for lane in (0, 1):
            epoch(study, "t0001", 1, lane=lane, attempt=attempt, time_s=3)
    found = view(study).repeated
    assert [(r.session, r.trained_in, r.from_epoch, r.to_epoch, r.wasted_s) for r in found] == [
        ("s0001", ("s0001",), 1, 1, 6),
        ("s0001", ("s0001",), 1, 1, 6),
    ]
    assert view(study).repeated_in_words == (
        "after a worker died in session s0001: 2 epochs of t0001 were trained again",
    )


def test_epochs_are_repeated_in_the_session_that_trains_them_again(study):
    """The second session only threw them away, and came as far as epoch 4."""
    for number in range(1, 7):
        epoch(study, "t0001", number)
    study.reopen("s0002")
    epoch(study, "t0001", 4, attempt=2, start=3)
    study.reopen("s0003")
    for number in (4, 5, 6, 7):
        epoch(study, "t0001", number, attempt=3, start=3)
    assert [(r.session, r.trained_in, r.from_epoch, r.to_epoch) for r in view(study).repeated] == [
        ("s0002", ("s0001",), 4, 4),
        ("s0003", ("s0001", "s0002"), 4, 6),
    ]
    assert view(study).repeated_in_words == (
        "session s0002 took over from s0001: 1 epoch of t0001 was trained again",
        "session s0003 took over from s0001 and s0002: 3 epochs of t0001 were trained again",
    )


@pytest.mark.parametrize(
    ("states", "restarts"),
    [
        ("", 0),
        ("R", 0),
        ("RP", 0),
        ("RR", 1),
        ("RRP", 1),
        ("RRPD", 1),  # crashed, paused, never promoted
        ("RPND", 0),
        ("RPNRC", 0),
        ("RPRC", 0),  # the driver died between the promotion and its record
        ("RPNRRC", 1),
        ("RRPNRRC", 2),
        ("RPNRPNRC", 0),
        ("RPNRRPNRRRC", 3),
        ("RPNRPD", 0),
    ],
)
def test_going_on_after_a_pause_is_no_restart(study, states, restarts):
    names = {"R": "RUNNING", "P": "PAUSED", "N": "PENDING", "C": "COMPLETED", "D": "PRUNED"}
    attempt = 0
    for letter in states:
        attempt += letter == "R"
        study._state("t0001", "search", "explore", names[letter], attempt=attempt)
    (trial,) = view(study).trials
    assert (trial.attempt, trial.restarts) == (attempt, restarts)


def test_what_has_ended_has_ended(study):
    study._state("t0001", "search", "explore", "RUNNING", attempt=1)
    study._state("t0001", "search", "explore", "PRUNED", attempt=1, epochs=3, value=0.5, reason="rank 3 of 3")
    study._state("t0001", "search", "explore", "FAILED", attempt=1, reason="worker lost")
    (trial,) = view(study).trials
    assert (trial.state, trial.reason) == (TrialState.PRUNED, "rank 3 of 3")


def test_an_amendment_belongs_to_the_first_session_that_went_by_it(study):
    assert view(study).amendments == ()
    study.writer.close()
    study.extend(60)
    (waiting,) = StudyView(study.folder).amendments
    assert (waiting.number, waiting.session, waiting.since) == (2, None, None)
    study.amendment = 2
    study.reopen("s0002")
    since = study.clock
    study.reopen("s0003")
    (found,) = view(study).amendments
    assert (found.number, found.session, found.since) == (2, "s0002", since)
    assert list(map(str, found.changes)) == ["search.trials from 48 to 60"]
    assert [s.amendment for s in view(study).sessions] == [None, 2, 2]
    text = render_status(status(study.folder), Format.TABLE)
    assert "Amendment 2 since session s0002: search.trials from 48 to 60" in text


def test_the_budget_is_set_against_what_was_used(study):
    assert view(study).spent == ()
    study.document |= {
        "budget": {"wall_hours": 1.0, "gpu_hours": 2, "trials": 9},
        "resources": {"cpus": 1, "gpus": 0.5},
    }
    study.extend(48)
    common = {"trial": "t0001", "arm": "search", "stage": "explore", "number": 0}
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=1))
    epoch(study, "t0001", 1, time_s=3600)
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=2, gpu_share=1.0))
    epoch(study, "t0001", 2, attempt=2, start=1, time_s=900)
    study.propose("search")  # handed out, and therefore begun
    note = {"arm": "big", "stage": "teach", "number": 0, "trial": "t0003"}
    study.writer.append(TrialRow(**study.common, **note, state="PENDING", attempt=0))
    study.writer.append(TrialRow(**study.common, **note, state="COMPLETED", attempt=0, reason="reused"))
    study.end("INTERRUPTED", "budget used up: 2.0 GPU hours of 2.0")
    found = StudyView(study.folder)
    assert [str(spent) for spent in found.spent][1:] == ["0.75 of 2 GPU hours used", "2 of 9 trials used"]
    assert found.spent[0].used == found.wall_s / 3600
    text = render_status(status(study.folder), Format.TABLE)
    assert "Last session ended: budget used up: 2.0 GPU hours of 2.0" in text
    assert "0.75 of 2 GPU hours used" in text


def test_wall_time_is_that_of_the_sessions_without_the_time_between(study):
    first = study.clock
    epoch(study, "t0001", 1)
    died = (study.clock - first).total_seconds()
    study.reopen("s0002")
    began = study.clock
    study.end("INTERRUPTED", "Ctrl-C")
    found = StudyView(study.folder)
    expected = died + (first - found.sessions[0].started_at).total_seconds() + (study.clock - began).total_seconds()
    assert found.wall_s == pytest.approx(expected)
    assert found.wall_s < 600


def test_a_clock_that_is_set_back_takes_no_time_away(study):
    before = view(study).wall_s
    study.clock += timedelta(seconds=10)
    epoch(study, "t0001", 1)
    study.clock -= timedelta(hours=1)
    epoch(study, "t0001", 2)
    assert view(study).wall_s == pytest.approx(before + 10, abs=0.1)


def test_a_clock_that_is_set_forward_adds_an_hour_at_most(study):
    before = view(study).wall_s
    study.clock += timedelta(days=400)
    epoch(study, "t0001", 1)
    assert view(study).wall_s == pytest.approx(before + 3600, abs=0.1)
    with StudyLock(study.folder):  # and years ago by now, for a driver that still runs
        assert view(study).wall_s <= before + 7200.1


def test_a_running_session_lasts_until_now(study):
    study.clock = datetime.now(UTC) - timedelta(seconds=500)
    epoch(study, "t0001", 1)
    before = view(study).wall_s
    with StudyLock(study.folder):
        assert view(study).wall_s == pytest.approx(before + 500, abs=30)


def test_a_session_that_measured_its_own_time_is_believed(study):
    """The clock of the machine was set back meanwhile."""
    facts = {"host": "node-1", "pid": 1, "slots": 1, "command": "x", "environment": "{}"}
    study.writer.append(SessionRow(**study.common, **facts, state="INTERRUPTED", reason="Ctrl-C", wall_time_s=1234.5))
    study.writer.flush()
    assert StudyView(study.folder).wall_s == 1234.5


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
    for name in ("trials", "epochs", "epoch_means", "decisions", "sessions", "repeats"):
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
