import dataclasses
import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.schema import DecisionRow, EpochRow, Stage, TrialRow, TrialState, Verdict
from search.conductor import Conductor
from search.history import History
from search.proposing import next_proposal
from tests.search.simulator import Disk, Killed, drive, story, study

SMALL = ("search.trials=8", "seeds.confirm=2", "confirm.top=1")


@pytest.fixture(scope="module")
def uninterrupted():
    rows, checkpoints = [], {}
    return drive(study(*SMALL), rows, checkpoints), rows


def resumed(kills, *, workers=1, order=0, spec=None):
    """A study whose driver is killed at these events, one session after the other, and then left alone."""
    rows, checkpoints = [], {}
    for session, dies_at in enumerate(kills):
        try:
            drive(spec or study(*SMALL), rows, checkpoints, workers=workers, order=order + session, dies_at=dies_at)
        except Killed:
            continue
    return drive(spec or study(*SMALL), rows, checkpoints, workers=workers, order=order + 99), rows


@settings(max_examples=40, deadline=None)
@given(kills=st.lists(st.integers(1, 160), min_size=1, max_size=12))
def test_study_killed_anywhere_ends_as_the_uninterrupted_one(uninterrupted, kills):
    history, _ = resumed(kills)
    assert story(history) == story(uninterrupted[0])


@settings(max_examples=15, deadline=None)
@given(kills=st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_study_with_several_lanes_killed_anywhere_ends_as_the_uninterrupted_one(kills):
    spec = study("search.trials=4", "seeds.confirm=2", "seeds.search=3")
    history, _ = resumed(kills, spec=spec)
    assert story(history) == story(drive(spec, [], {}))


@settings(max_examples=30, deadline=None)
@given(kills=st.lists(st.integers(1, 160), max_size=8), order=st.integers(0, 10**6), workers=st.integers(2, 6))
def test_several_workers_lose_nothing_and_do_nothing_twice(kills, order, workers):
    history, rows = resumed(kills, workers=workers, order=order)
    spec = study(*SMALL)
    assert all(trial.state.is_final for trial in history.trials.values())
    assert Counter(t.arm for t in history.of()) == {"search": 8, "baseline": 8}
    decisions = Counter((r.trial, r.rung) for r in rows if isinstance(r, DecisionRow))
    assert set(decisions.values()) <= {1}
    epochs = Counter((r.trial, r.lane, r.epoch, r.attempt) for r in rows if isinstance(r, EpochRow))
    assert set(epochs.values()) <= {1}
    ends = Counter(r.trial for r in rows if isinstance(r, TrialRow) and TrialState(r.state).is_final)
    assert set(ends.values()) == {1}
    for trial in history.trials.values():
        assert sorted(trial.epochs) == list(range(1, trial.last_epoch + 1))
        assert (trial.state is TrialState.COMPLETED) == (trial.last_epoch == spec.recipe.epochs)
    assert sorted(r.seq for r in rows) == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_proposal_can_be_made_again_from_the_rows_before_it(workers):
    _, rows = resumed([], workers=workers, order=5)
    spec = study(*SMALL)
    proposals = [r for r in rows if isinstance(r, TrialRow) and r.state == "PENDING" and r.stage == "explore"]
    for row in proposals:
        before = History.fold(r for r in rows if r.seq < row.seq)
        again = next_proposal(spec, before, row.arm, {})
        assert (json.loads(row.coordinates), row.origin) == (again.coordinates, again.origin)
    assert len(proposals) == 16


def test_history_folded_from_rows_is_the_drivers_own(uninterrupted):
    history, rows = uninterrupted
    assert story(History.fold(rows)) == story(history)


def test_arms_take_turns_and_have_rungs_of_their_own(uninterrupted):
    history, rows = uninterrupted
    explored = [t.arm for t in history.of()]
    assert explored == ["search", "baseline"] * 8
    for row in (r for r in rows if isinstance(r, DecisionRow) and r.rung == 1):
        earlier = [r for r in rows if isinstance(r, DecisionRow) and r.seq < row.seq and r.rung == 1]
        assert row.n == 1 + sum(r.arm == row.arm for r in earlier)


def test_baseline_arm_keeps_its_value_and_searches_the_rest(uninterrupted):
    for trial in uninterrupted[0].of("baseline"):
        assert trial.recipe["loss"]["beta"] == 1.0
        assert list(trial.coordinates) == ["optimizer.lr"]


def test_confirm_runs_the_best_of_every_arm_in_full_on_common_fresh_seeds(uninterrupted):
    history, _ = uninterrupted
    spec = study(*SMALL)
    confirmed = list(history.of(stage=Stage.CONFIRM))
    best = {arm: history.best(arm, "val/accuracy", "max", 1)[0].name for arm in spec.arms}
    assert Counter((t.arm, t.source) for t in confirmed) == {(arm, name): 2 for arm, name in best.items()}
    assert {seed for t in confirmed for seed in t.seeds}.isdisjoint(spec.search_seeds)
    assert all(t.last_epoch == 27 and not t.decisions for t in confirmed)


def test_diverged_trial_ends_at_once_and_nothing_else_changes(uninterrupted):
    history, rows = uninterrupted
    diverged = [t for t in history.of() if t.state is TrialState.DIVERGED]
    assert diverged
    for trial in diverged:
        assert trial.last_epoch == 2  # curve() breaks there
        end = next(r for r in rows if isinstance(r, TrialRow) and r.trial == trial.name and r.state == "DIVERGED")
        assert end.reason == "train/loss is nan at epoch 2"
    assert all(math.isfinite(r.value) for r in rows if isinstance(r, DecisionRow))


def test_finished_study_can_be_extended_and_confirms_only_what_is_new():
    rows, checkpoints = [], {}
    drive(study(*SMALL), rows, checkpoints)
    before = History.fold(rows)
    longer = study("search.trials=12", "seeds.confirm=2", "confirm.top=1")
    after = drive(longer, rows, checkpoints)
    assert story(History.fold(r for r in rows if r.seq <= before.seq)) == story(before)
    assert Counter(t.arm for t in after.of()) == {"search": 12, "baseline": 12}
    pairs = Counter((t.source, t.seeds[0]) for t in after.of(stage=Stage.CONFIRM))
    assert set(pairs.values()) == {1}


def test_rule_sees_the_mean_over_lanes():
    spec = study(*SMALL, "seeds.search=3")
    rows = []
    history = drive(spec, rows, {})
    for row in (r for r in rows if isinstance(r, DecisionRow)):
        lanes = history.trials[row.trial].epochs[row.rung]
        assert sorted(lanes) == [0, 1, 2]
        assert row.value == pytest.approx(sum(m["val/accuracy"] for m in lanes.values()) / 3)


def test_epochs_trained_again_replace_those_on_record(uninterrupted):
    _, rows = uninterrupted
    completed = next(r for r in rows if isinstance(r, TrialRow) and r.state == "COMPLETED")
    cut = next(r.seq for r in rows if isinstance(r, EpochRow) and r.trial == completed.trial and r.epoch == 20)
    history = History.fold(r for r in rows if r.seq <= cut)
    trial = history.trials[completed.trial]
    assert trial.last_epoch == 20
    last = next(r for r in rows if r.seq == cut)
    again = dataclasses.replace(last, seq=cut + 1, attempt=2, attempt_start=9, epoch=10, metrics={"val/accuracy": 0.5})
    history.apply(again)
    assert sorted(trial.epochs) == list(range(1, 11))
    assert trial.value("val/accuracy") == 0.5


def test_late_report_of_an_ended_trial_is_ignored(uninterrupted):
    rows = list(uninterrupted[1])
    count = len(rows)
    conductor = Conductor(study(*SMALL), History.fold(rows), Disk(rows), session="s0009")
    report = {"attempt": 1, "attempt_start": 0, "epochs": [], "divergence": None, "finished": False}
    assert conductor.report("t0001", report) is Verdict.STOP
    assert len(rows) == count


def test_arm_in_which_nothing_varies_is_explored_once():
    spec = study(*SMALL, "space={loss.beta: {log: [0.1, 10]}}")
    history = drive(spec, [], {})
    assert Counter(t.arm for t in history.of()) == {"search": 8, "baseline": 1}
    assert Counter(t.arm for t in history.of(stage=Stage.CONFIRM)) == {"search": 2, "baseline": 2}
