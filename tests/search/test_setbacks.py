"""Attempts that break off: what the conductor makes of crashes, lost nodes and a lack of memory."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.schema import EpochRow, Setback, StudyState, TrialRow, TrialState, Verdict
from search.conductor import Conductor
from search.failures import Failure
from search.history import History
from tests.search.simulator import Cluster, Disk, drive, story, study

SMALL = ("search.trials=6", "seeds.confirm=2", "confirm.top=1")
BOOM = Failure(setback=Setback.CRASH, reason="RuntimeError: boom", error="Traceback\n  ...\nRuntimeError: boom")
GONE = Failure(setback=Setback.MOVE, reason="its node 10.0.0.7 was lost")
GIB = 2**30


def taken_up(rows, *overrides, gpus=0.0):
    """A conductor whose session has begun; that there are GPUs is checked when a study is loaded, and not here."""
    history = History.fold(sorted(rows, key=lambda row: row.seq))
    session = f"s{history.sessions + 1:04d}"
    spec = study(*SMALL, *overrides)
    spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": gpus})})
    conductor = Conductor(spec, history, Disk(rows), session=session)
    facts = {"host": "h", "pid": 1, "slots": 2, "command": "c", "environment": "{}"}
    conductor.records.session(StudyState.RUNNING, **facts)
    return conductor


def begin(conductor):
    trial = conductor.next_trial()
    conductor.started(trial.name)
    return trial


def report(trial, *epochs, **values):
    rows = [{"epoch": n, "lane": 0, "seed": 0, "epoch_time_s": 1.0, "metrics": {"val/accuracy": 0.5}} for n in epochs]
    plain = {"attempt_start": 0, "divergence": None, "finished": False, "memory": None, "out_of_memory": None}
    return {"trial": trial.name, "attempt": trial.attempt, "epochs": rows, **plain, **values}


def written(conductor):
    conductor.records.flush()
    return conductor.records._writer.safe


@pytest.mark.parametrize("allowed", [0, 2])
def test_a_trial_may_crash_as_often_as_allowed_and_then_fails_with_its_traceback(allowed):
    conductor = taken_up([], f"resources.max_failures={allowed}")
    for crash in range(allowed):
        trial = begin(conductor)
        assert (trial.name, trial.attempt) == ("t0001", crash + 1)
        conductor.lost(trial.name, BOOM)
        assert (trial.state, trial.crashes) == (TrialState.PENDING, crash + 1)
    trial = begin(conductor)
    conductor.lost(trial.name, BOOM)
    assert (trial.state, trial.reason, trial.crashes) == (TrialState.FAILED, BOOM.reason, allowed + 1)
    assert conductor.active == set()
    assert begin(conductor).name == "t0002"
    kept = [r for r in written(conductor) if isinstance(r, TrialRow) and r.setback]
    assert [r.error for r in kept] == [BOOM.error] * (allowed + 1)
    assert {r.setback for r in kept} == {Setback.CRASH}


def test_crashes_count_over_sessions():
    rows = []
    for _ in range(3):
        conductor = taken_up(rows, "resources.max_failures=3")
        conductor.lost(begin(conductor).name, BOOM)
        conductor.records.flush()  # and the driver is killed
    conductor = taken_up(rows, "resources.max_failures=3")
    trial = begin(conductor)
    assert (trial.name, trial.crashes, trial.attempt) == ("t0001", 3, 4)
    conductor.lost(trial.name, BOOM)
    assert trial.state is TrialState.FAILED


def test_lost_nodes_use_up_no_allowance():
    conductor = taken_up([], "resources.max_failures=0")
    for _ in range(4):
        trial = begin(conductor)
        conductor.lost(trial.name, GONE)
    assert (trial.name, trial.moves, trial.crashes, trial.state) == ("t0001", 4, 0, TrialState.PENDING)
    last = written(conductor)[-1]
    assert (last.state, last.setback, last.reason, last.error, last.epochs) == (
        "PENDING", "MOVE", GONE.reason, None, 0
    )  # fmt: skip


def test_moves_count_as_crashes_from_the_fifth_on_without_a_new_epoch():
    rows = []
    conductor = taken_up(rows, "resources.max_failures=1")

    def move():
        trial = begin(conductor)
        conductor.report(trial.name, report(trial, *epochs))
        conductor.lost(trial.name, GONE)
        return trial

    for epoch in (1, 2):  # the allowance is renewed by an epoch that was never trained before, and by no other
        epochs = range(1, epoch + 1)
        for _ in range(4):
            trial = move()
    assert (trial.moves, trial.crashes) == (8, 0)
    move()
    assert (trial.moves, trial.crashes, trial.state) == (8, 1, TrialState.PENDING)
    conductor.records.flush()
    conductor = taken_up(rows, "resources.max_failures=1")  # another driver counts on
    trial = move()
    assert (trial.moves, trial.crashes, trial.state) == (8, 2, TrialState.FAILED)
    assert trial.reason == f"{GONE.reason}, the fifth time or more without a new epoch, which counts as a crash"


def test_a_worker_that_breaks_before_it_begins_is_an_attempt_too_but_no_start():
    conductor = taken_up([], "resources.max_failures=1")
    trial = conductor.next_trial()
    conductor.lost(trial.name, BOOM)
    assert (trial.state, trial.attempt, trial.crashes) == (TrialState.PENDING, 0, 1)
    conductor.lost(conductor.next_trial().name, BOOM)
    assert trial.state is TrialState.FAILED


def test_late_reports_of_a_worker_that_was_given_up_change_nothing():
    conductor = taken_up([])
    trial = begin(conductor)
    late = report(trial, 2, 3)
    assert conductor.report(trial.name, report(trial, 1)) is Verdict.CONTINUE
    conductor.lost(trial.name, GONE)
    before = conductor.history.seq
    assert conductor.report(trial.name, late) is Verdict.STOP  # nobody has it yet
    again = begin(conductor)
    assert again is trial
    assert conductor.report(trial.name, late) is Verdict.STOP  # another worker has it
    assert conductor.history.seq == before + 1
    assert trial.last_epoch == 1
    assert conductor.report(trial.name, report(trial, 1, attempt_start=1)) is Verdict.CONTINUE
    assert conductor.report(trial.name, report(trial, 2, attempt_start=1)) is Verdict.CONTINUE
    assert trial.last_epoch == 2


def test_a_loss_that_is_heard_of_after_the_end_changes_nothing():
    conductor = taken_up([])
    trial = begin(conductor)
    conductor.report(trial.name, report(trial, 1, divergence={"epoch": 1, "reason": "train/loss is nan"}))
    before = conductor.history.seq
    conductor.lost(trial.name, GONE)
    assert (conductor.history.seq, trial.state) == (before, TrialState.DIVERGED)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.floats(0.0, 0.4))
def test_a_study_whose_workers_are_taken_away_ends_as_the_undisturbed_one(seed, rate):
    spec = study(*SMALL)
    assert story(drive(spec, [], {}, cluster=Cluster(seed, rate))) == story(drive(spec, [], {}))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 6))
def test_with_several_workers_late_reports_enter_once(seed, workers):
    rows = []
    history = drive(study(*SMALL), rows, {}, workers=workers, order=seed, cluster=Cluster(seed, 0.2))
    epochs = Counter((r.trial, r.lane, r.epoch, r.attempt) for r in rows if isinstance(r, EpochRow))
    assert set(epochs.values()) <= {1}
    for trial in history.trials.values():
        assert trial.state.is_final
        assert sorted(trial.epochs) == list(range(1, trial.last_epoch + 1))
    moved = Counter(r.trial for r in rows if isinstance(r, TrialRow) and r.setback)
    assert {name: trial.moves for name, trial in history.trials.items() if trial.moves} == moved


def test_an_event_is_kept_with_its_session_and_changes_no_state():
    conductor = taken_up([])
    begin(conductor)
    conductor.records.event("the node 10.0.0.7 was lost")
    last = written(conductor)[-1]
    assert (last.session, last.state, last.reason) == ("s0001", "RUNNING", "the node 10.0.0.7 was lost")
    assert conductor.history.state is StudyState.RUNNING
    assert conductor.history.sessions == 1
    assert [row.reason for row in conductor.history.events] == ["the node 10.0.0.7 was lost"]


# Memory


@pytest.mark.parametrize("gpus", [0.0, 1.0, 2.0])
def test_a_trial_that_was_alone_and_ran_out_of_memory_fails_at_once(gpus):
    conductor = taken_up([], gpus=gpus)
    trial = begin(conductor)
    assert conductor.report(trial.name, report(trial, out_of_memory="can't allocate memory")) is Verdict.STOP
    assert (trial.state, trial.reason) == (TrialState.FAILED, "out of memory: can't allocate memory")
    assert trial.crashes == 0
    assert begin(conductor).name == "t0002"


def test_a_trial_that_shared_its_gpu_gets_more_of_it_until_it_is_alone():
    conductor = taken_up([], "resources.max_failures=0", gpus=0.25)
    given = []
    while True:
        trial = begin(conductor)
        given.append(trial.gpu_share)
        full = {"peak_bytes": 1 * GIB, "total_bytes": 80 * GIB}
        verdict = conductor.report(trial.name, report(trial, memory=full, out_of_memory="CUDA out of memory"))
        if verdict is Verdict.STOP:
            break
        assert (verdict, trial.name, trial.state) == (Verdict.PAUSE, "t0001", TrialState.PENDING)
    assert given == [0.25, 0.3333, 0.5, 1.0]
    assert trial.state is TrialState.FAILED
    assert begin(conductor).gpu_share == 0.25  # the others are no larger for it


def test_a_trial_that_needs_more_memory_has_it_in_the_next_session_too():
    rows = []
    conductor = taken_up(rows, gpus=0.5)
    trial = begin(conductor)
    conductor.report(trial.name, report(trial, out_of_memory="CUDA out of memory"))
    conductor.records.flush()
    assert begin(taken_up(rows, gpus=0.5)).gpu_share == 1.0


def test_measured_memory_lowers_how_many_trials_share_a_gpu_and_says_so_once():
    rows = []
    conductor = taken_up(rows, gpus=0.25)
    first, second = begin(conductor), begin(conductor)
    memory = {"peak_bytes": 24 * GIB, "total_bytes": 80 * GIB}
    conductor.report(first.name, report(first, 1, memory=memory))
    conductor.report(second.name, report(second, 1, memory=memory))
    third = begin(conductor)
    assert (first.gpu_share, third.gpu_share) == (0.25, 0.3333)
    assert [row.reason for row in conductor.history.events] == [
        "trials get 0.333 GPU from now on, not 0.25: t0001 took 24.0 of 80.0 GiB of its memory"
    ]
    conductor.report(first.name, report(first, 2, memory=memory, divergence={"epoch": 2, "reason": "nan"}))
    end = next(r for r in reversed(written(conductor)) if isinstance(r, TrialRow) and r.trial == first.name)
    assert (end.gpu_share, end.gpu_peak_bytes, end.gpu_total_bytes) == (0.25, 24 * GIB, 80 * GIB)
    later = taken_up(rows, gpus=0.25)
    assert begin(later).gpu_share == 0.3333
    assert len(later.history.events) == 1  # nothing new


def test_records_of_before_setbacks_are_read_as_ever():
    rows = []
    drive(study(*SMALL), rows, {})
    assert all(r.setback is None for r in rows if isinstance(r, TrialRow))
    plain = History.fold(rows)
    assert all((t.crashes, t.moves, t.gpu_share) == (0, 0, None) for t in plain.trials.values())
    failed = [dataclasses.replace(r, state="FAILED", error="Traceback") for r in rows[-8:] if isinstance(r, TrialRow)]
    assert all(History.fold([*rows, r]).trials[r.trial].state.is_final for r in failed)
