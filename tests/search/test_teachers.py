"""The stage teach: teachers first, each after its own, none twice, and all of it resumable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.schema import Stage, TrialState
from search.study import Study
from search.study_file import load
from tests.search import simulator
from tests.search.simulator import drive, story

CHAIN = (
    "search.trials=3",
    "teachers.assistant={recipe: {model: mlp-64, loss: {name: distilled, teacher: big}}}",
    "arms.takd={set: {loss.teacher: assistant}}",
)


def chain(*overrides: str) -> Study:
    return simulator.study(*CHAIN, *overrides, name="digits-kd")


def test_every_needed_teacher_is_trained_before_anything_is_explored_and_after_its_own():
    history = drive(chain(), [], {}, workers=3)
    order = [(trial.stage, trial.arm) for trial in history.trials.values()]
    assert order[:2] == [(Stage.TEACH, "big"), (Stage.TEACH, "assistant")]
    assert all(stage is not Stage.TEACH for stage, _ in order[2:])
    assert all(t.state is TrialState.COMPLETED for t in history.of(stage=Stage.TEACH))
    assert {arm for _, arm in order[2:]} == {"nokd", "kd", "kd-ats", "takd"}


def test_teachers_that_no_arm_asks_for_are_not_trained():
    spec = chain("teachers.spare={recipe: {model: mlp-32}}")
    assert spec.needed_teachers == ("big", "assistant")


def test_teachers_to_choose_from_are_all_needed():
    spec = simulator.study(
        "teachers.small={recipe: {model: mlp-32}}", "space={loss.teacher: {choice: [small, big]}}", name="digits-kd"
    )
    assert spec.needed_teachers == ("small", "big")


def test_a_teacher_on_the_shelf_is_reused_and_on_record():
    history = drive(chain(), [], {}, shelf={"big": "0123456789abcdef"})
    first = history.trials["t0001"]
    assert (first.stage, first.arm, first.state, first.last_epoch) == (Stage.TEACH, "big", TrialState.COMPLETED, 0)
    assert first.reason == "reused: trained before, as 0123456789abcdef"
    assert [t.last_epoch for t in history.of("assistant", Stage.TEACH)] == [27]


def test_a_teacher_that_vanished_from_the_shelf_is_trained_again():
    rows: list = []
    spec = chain()
    with pytest.raises(simulator.Killed):
        drive(spec, rows, {}, dies_at=90)
    history = drive(spec, rows, {}, shelf={})
    assert [t.arm for t in history.of(stage=Stage.TEACH)].count("big") == 2


def test_a_diverged_teacher_blocks_the_study_with_its_reason():
    history = drive(chain("teachers.big.recipe.optimizer.lr=0.9"), [], {}, workers=2)
    assert [t.state for t in history.trials.values()] == [TrialState.DIVERGED]
    assert not list(history.of())


def test_a_resumed_study_tries_a_diverged_teacher_once_more():
    rows: list = []
    spec = chain("teachers.big.recipe.optimizer.lr=0.9")
    drive(spec, rows, {})
    history = drive(spec, rows, {})
    assert [(t.arm, t.session) for t in history.of(stage=Stage.TEACH)] == [("big", "s0001"), ("big", "s0002")]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(3, 400), max_size=4))
def test_a_study_with_teachers_killed_anywhere_continues_as_if_nothing_had_happened(kills):
    spec = chain()
    rows: list = []
    checkpoints: dict = {}
    shelf: dict = {}
    for dies_at in kills:
        try:
            drive(spec, rows, checkpoints, dies_at=dies_at, shelf=shelf)
        except simulator.Killed:
            continue
        break
    killed = drive(spec, rows, checkpoints, shelf=shelf)
    assert story(killed) == story(drive(spec, [], {}))


def test_arms_with_another_loss_search_only_what_their_recipe_has():
    spec = load("digits-kd").study
    assert list(spec.arm_space("nokd").axes) == ["optimizer.lr"]
    assert list(spec.arm_space("kd").axes) == ["loss.tau1", "loss.weight", "optimizer.lr"]
    assert spec.arms["kd-ats"].varies == ("loss.tau1", "loss.gap", "loss.weight", "optimizer.lr")
    assert spec.resolve("nokd", {"optimizer.lr": 0.1})[1].names == ()


def test_all_baselines_of_the_paper_are_possible_recipes():
    spec = load("digits-kd-baselines").study
    assert set(spec.needed_teachers) == set(spec.teachers)
    assert len(spec.arms) == 12


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["recipe.loss.teacher=bgi"], r"one of the teachers \(big\), got bgi"),
        (["arms.kd.set={base: nobody}"], r"one of the teachers \(big\), got nobody"),
        (["teachers.big.recipe.loss={name: distilled, teacher: big}"], "must not learn from itself, got big -> big"),
        (["teachers.big.recipe.modle=mlp-8"], "unknown key modle. Did you mean model"),
        (["teachers.big.epoch=28"], "must lie within the teacher's 27 epochs, got 28"),
        (
            ["teachers.spare={recipe: {loss: {name: distilled, teacher: x}}}"],
            r"one of the teachers \(big, spare\), got x",
        ),
        (["arms.kd.varies=[loss.bta]"], "the arm's recipe has and it does not set, got loss.bta"),
        (["arms.kd.varies=[loss.gap]"], "the arm's recipe has and it does not set, got loss.gap"),
        (["arms.nokd.varies=[loss.tau1]"], "the arm's recipe has and it does not set, got loss.tau1"),
        (["arms.kd.set.epochs=9"], "epochs: must be the same in the whole study, got 9"),
        (["space.epochs={choice: [3, 5]}"], "epochs: must be the same in the whole study"),
        (["teachers={}"], "must be described under teachers, got big"),
        (["space.loss.gap={uniform: [1, 3]}"], "tau2 = tau1 - gap must be > 0"),
    ],
)
def test_mistakes_about_teachers_are_reported(overrides, problem):
    with pytest.raises(Exception, match=problem):
        load("digits-kd", overrides)


def test_values_that_are_hardly_wanted_are_remarked_upon():
    assert load("digits-kd").remarks == ()
    late = load("digits-kd", ["arms.kd.set.loss.stop_epoch=27"])
    assert late.remarks == ("loss.stop_epoch should lie within the run's 27 epochs to have an effect, got 27",)
    loaded = load("digits-kd", ["arms.kd.set.loss.gap=-1"])
    assert any("loss.gap should be >= 0" in remark for remark in loaded.remarks)


def test_a_teacher_that_was_lost_and_trained_elsewhere_is_on_record_as_there():
    rows: list = []
    spec = chain("teachers.big.recipe.optimizer.lr=0.9")
    drive(spec, rows, {})
    history = drive(spec, rows, {}, shelf={"big": "0123456789abcdef"})
    states = [trial.state for trial in history.of("big", Stage.TEACH)]
    assert states == [TrialState.DIVERGED, TrialState.COMPLETED]
    assert all(trial.state.is_final for trial in history.trials.values())
