"""Studies with every sampler, rule and kind of space, run by the conductor without Ray and killed on the way."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.schema import DecisionRow, EpochRow, Stage, TrialRow, TrialState, Verdict
from search.conductor import Conductor
from search.history import History
from search.sampler import Observation
from search.study_file import load
from tests.search.simulator import Disk, Killed, drive, story, study

SMALL = ("search.trials=9", "seeds.confirm=2", "confirm.top=1")

MIXED = """
name: mixed
recipe: {epochs: 27}
space:
  loss.name: {choice: [tempered, tampered]}
  loss.beta: {log: [0.01, 10], when: {loss.name: tempered}}
  loss.alpha: {uniform: [0.1, 0.9], step: 0.1, when: {loss.name: tampered}}
  optimizer.lr: {log: [0.001, 1.0], times: "loss.beta ** -1"}
require: ["lr < 5"]
arms: {both: {}, plain: {set: {loss.name: tempered, loss.beta: 1.0}}}
reference: plain
search: {trials: 12}
seeds: {confirm: 2}
confirm: {top: 1}
"""

GRID = """
name: coarse-to-fine
recipe: {epochs: 9, loss: {name: tampered}}
space: {loss.alpha: {uniform: [0.1, 0.9], step: 0.1}}
search: {sampler: {name: grid, refine: 1}}
stopping: {name: none}
seeds: {confirm: 2}
confirm: {top: 1}
"""


def written(tmp_path, text, *overrides):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load(str(path), overrides).study


def killed(spec, kills, workers=1, order=0):
    """The rows of a study whose driver dies at these events, one session after the other, and that then ends."""
    rows, checkpoints = [], {}
    for session, dies_at in enumerate([*kills, None]):
        try:
            history = drive(spec, rows, checkpoints, workers=workers, order=order + session, dies_at=dies_at)
        except Killed:
            continue
    return history, rows


RULES = {
    "promotion": ("stopping={name: asha, form: promotion}",),
    "hyperband": ("stopping={name: hyperband}",),
    "median": ("stopping={name: median, min_trials: 3}",),
    "none": ("stopping={name: none}",),
    "audit": ("stopping={name: asha, audit: 0.5}",),
    "gp": ("search.sampler={name: gp, startup_trials: 7}",),
    "cmaes": ("search.sampler=cmaes",),
    "qmc": ("search.sampler=qmc",),
    "random": ("search.sampler=random",),
    "multivariate": ("search.sampler={name: tpe, multivariate: true, startup_trials: 4}",),
}


@pytest.mark.parametrize("kind", RULES)
def test_study_killed_on_the_way_ends_as_the_uninterrupted_one(kind):
    spec = study(*SMALL, *RULES[kind])
    whole = story(drive(spec, [], {}))
    for kills in ([40, 70, 90], [1, 2, 3], [150]):
        history, _ = killed(spec, kills)
        assert story(history) == whole


@settings(max_examples=25, deadline=None)
@given(kills=st.lists(st.integers(1, 200), max_size=6), order=st.integers(0, 10**6), workers=st.integers(2, 7))
def test_promotion_loses_nothing_and_ends_every_trial_that_waits(kills, order, workers):
    spec = study(*SMALL, *RULES["promotion"])
    history, rows = killed(spec, kills, workers, order)
    assert Counter(t.arm for t in history.of()) == {"search": 9, "baseline": 9}
    assert all(trial.state.is_final for trial in history.trials.values())
    met = Counter((r.trial, r.rung) for r in rows if isinstance(r, DecisionRow) and r.verdict != Verdict.PROMOTE)
    promoted = Counter((r.trial, r.rung) for r in rows if isinstance(r, DecisionRow) and r.verdict == Verdict.PROMOTE)
    assert set(met.values()) == {1}
    assert set(promoted.values()) <= {1}
    for rung in spec.rungs:
        for arm in spec.arms:
            here = [t for t in history.of(arm) if rung in t.decisions]
            gone_on = [t for t in here if (t.name, rung) in promoted]
            # The last to come need not be told: a trial is promoted only while it is among the best third.
            assert len(here) // 3 - 1 <= len(gone_on) <= len(here) // 3 + 2
    for trial in history.of():
        if trial.state is TrialState.PRUNED:
            assert trial.reason.startswith(("never promoted", "rank"))


def test_promoted_trial_goes_on_from_its_checkpoint_and_is_no_failure():
    rows = []
    history = drive(study(*SMALL, *RULES["promotion"]), rows, {}, workers=3)
    assert not history.repeats
    assert max(trial.attempt for trial in history.of()) > 1


def test_brackets_of_hyperband_are_compared_apart():
    spec = study("search.trials=30", "seeds.confirm=2", *RULES["hyperband"])
    rows = []
    history = drive(spec, rows, {}, workers=2)
    brackets = {spec.rule.bracket(trial.number) for trial in history.of()}
    assert len(brackets) >= 3
    for row in (r for r in rows if isinstance(r, DecisionRow)):
        trial = history.trials[row.trial]
        assert row.bracket == spec.rule.bracket(trial.number)
        assert row.rung in spec.rule.rungs(row.bracket)
        before = (r for r in rows if isinstance(r, DecisionRow) and r.seq < row.seq and r.arm == row.arm)
        assert row.n == 1 + sum((r.bracket, r.rung) == (row.bracket, row.rung) for r in before)


def test_audited_trials_run_on_and_the_rule_says_where_it_would_have_ended_them():
    rows = []
    spec = study("search.trials=20", "seeds.confirm=2", *RULES["audit"])
    history = drive(spec, rows, {}, workers=2)
    audited = [trial for trial in history.of() if trial.audited]
    spared = [trial for trial in audited if trial.is_spared]
    assert 10 <= len(audited) <= 30
    assert spared
    for trial in audited:
        assert trial.state in (TrialState.COMPLETED, TrialState.DIVERGED)
    for trial in spared:
        verdicts = [trial.decisions[rung].verdict for rung in sorted(trial.decisions)]
        assert verdicts == [*[Verdict.CONTINUE] * (len(verdicts) - 1), Verdict.AUDIT]  # then it meets no rule any more
        if trial.state is TrialState.COMPLETED:
            assert trial.reason.endswith("audited: it would have ended before")
    assert not any(t.state is TrialState.PRUNED for t in audited)


def test_grid_is_tried_whole_and_then_finer_around_its_best(tmp_path):
    spec = written(tmp_path, GRID)
    history = drive(spec, [], {}, workers=3)
    tried = [trial.coordinates["loss.alpha"] for trial in history.of("search")]
    assert sorted(tried[:9]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    coarse = history.best("search", "val/accuracy", "max", 1, history.of("search")[:9])[0].coordinates["loss.alpha"]
    assert sorted(tried[9:]) == pytest.approx([a for a in (coarse - 0.05, coarse + 0.05) if 0.1 < a < 0.9])
    assert len(list(history.of("baseline"))) == 1
    assert history.of(stage=Stage.CONFIRM)
    whole = story(drive(spec, [], {}))
    for kills in ([30, 60], [5, 6, 7]):
        assert story(killed(spec, kills)[0]) == whole


def test_conditions_and_requirements_hold_for_every_proposal(tmp_path):
    for sampler in ("tpe", "{name: tpe, multivariate: true, startup_trials: 3}", "random", "qmc"):
        spec = written(tmp_path, MIXED, f"search.sampler={sampler}")
        history = drive(spec, [], {}, workers=2)
        kinds = Counter(trial.recipe["loss"]["name"] for trial in history.of("both"))
        assert set(kinds) == {"tempered", "tampered"}
        for trial in history.of("both"):
            tempered = trial.recipe["loss"]["name"] == "tempered"
            assert ("loss.beta" in trial.coordinates) == tempered
            assert ("loss.alpha" in trial.coordinates) != tempered
            assert trial.recipe["optimizer"]["lr"] < 5
        assert {tuple(trial.coordinates) for trial in history.of("plain")} == {("optimizer.lr",)}


def test_points_come_first_and_what_they_leave_out_is_drawn():
    spec = study(*SMALL, "search.points=[{loss.beta: 0.5, optimizer.lr: 0.2}, {loss.beta: 2.0}]")
    history = drive(spec, [], {}, workers=2)
    first, second, third = history.of("search")[:3]
    assert first.params["loss.beta"] == 0.5
    assert first.params["optimizer.lr"] == pytest.approx(0.2)  # recipe values, whatever the coordinates
    assert second.params["loss.beta"] == 2.0
    assert second.origin == "point 2 of search.points; optimizer.lr drawn at random"
    assert third.origin.startswith("random start-up")
    assert history.of("baseline")[0].params["optimizer.lr"] == pytest.approx(0.2)


def test_warm_start_skips_the_random_start():
    spec = study(*SMALL)
    earlier = drive(study("search.trials=14", "seeds.confirm=2"), [], {})
    known = {
        arm: [
            Observation(coordinates=t.coordinates, state=t.state, epochs=t.last_epoch, value=t.value("val/accuracy"))
            for t in earlier.of(arm)
        ]
        for arm in spec.arms
    }
    history = drive(spec, [], {}, known=known)
    assert history.of("search")[0].origin.startswith("TPE model of 14 trials")
    assert story(history) != story(drive(spec, [], {}))


def test_budget_of_trials_ends_what_has_begun_and_begins_nothing():
    for rule in ((), RULES["promotion"]):
        spec = study(*SMALL, *rule, "budget.trials=7")
        rows, checkpoints = [], {}
        history = drive(spec, rows, checkpoints, workers=3)
        assert len(history.trials) == 7
        running = [t for t in history.trials.values() if t.state in (TrialState.RUNNING, TrialState.PENDING)]
        assert not running
        more = drive(study(*SMALL, *rule), rows, checkpoints, workers=3)
        assert Counter(t.arm for t in more.of()) == {"search": 9, "baseline": 9}
        assert all(t.state.is_final for t in more.trials.values())


def test_decisions_do_not_depend_on_the_clock():
    spec = study(*SMALL)
    jumps = iter([timedelta(days=d) for d in (0, 3, -5, 2)] * 10**4)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    straight, crooked = [], []
    drive(spec, straight, {})
    conductor_now = lambda: begin + next(jumps)  # noqa: E731
    history = drive(spec, crooked, {}, now=conductor_now)
    assert story(history) == story(History.fold(straight))
    again = History.fold(sorted((replace(r, reported_at=begin) for r in crooked), key=lambda r: r.seq))
    assert story(again) == story(history)
    assert history.wall_time_s(without="") >= 0


def test_every_proposal_says_why(tmp_path):
    history = drive(study(*SMALL, "search.trials=13"), [], {}, workers=2)
    origins = [trial.origin for trial in history.of("search")]
    assert origins[0] == "random start-up: 0 of 10 trials have ended"
    assert origins[12].startswith("TPE model of 1")


def test_arm_with_trials_of_its_own_gets_so_many(tmp_path):
    spec = written(tmp_path, MIXED, "arms.plain.trials=4")
    history = drive(spec, [], {}, workers=2)
    assert Counter(t.arm for t in history.of()) == {"both": 12, "plain": 4}


def test_new_trial_row_carries_arm_number_and_audit():
    disk = Disk([])
    conductor = Conductor(study(*SMALL, *RULES["audit"]), History(), disk, session="s0001")
    for _ in range(6):
        conductor.next_trial()
    first = [row for row in [*disk.safe, *disk.waiting] if isinstance(row, TrialRow)]
    assert {row.audited for row in first} == {0, 1}
    assert all(json.loads(row.coordinates) for row in first)


@pytest.mark.parametrize("form", ["stopping", "promotion"])
def test_grid_goes_on_to_its_finer_round_whatever_the_rule(tmp_path, form):
    spec = written(tmp_path, GRID, f"stopping={{name: asha, form: {form}}}", "search.sampler={name: grid, refine: 2}")
    whole = drive(spec, [], {}, workers=1)
    assert len(whole.of("search")) > 10
    assert all(trial.state.is_final for trial in whole.trials.values())
    assert story(killed(spec, [30, 60, 90])[0]) == story(whole)


@pytest.mark.parametrize(("low", "high", "step", "rounds"), [(16, 86, 7, 1), (16, 70, 9, 2), (2, 20, 2, 1)])
def test_finer_grid_of_whole_numbers_is_tried_whole(tmp_path, low, high, step, rounds):
    text = GRID.replace(
        "loss.alpha: {uniform: [0.1, 0.9], step: 0.1}", f"batch_size: {{int: [{low}, {high}], step: {step}}}"
    )
    spec = written(tmp_path, text, f"search.sampler={{name: grid, refine: {rounds}}}")
    history = drive(spec, [], {}, workers=2)
    tried = {trial.coordinates["batch_size"] for trial in history.of("search")}
    coarse = history.of("search")[: len(range(low, high + 1, step))]
    best = history.best("search", "val/accuracy", "max", 1, coarse)[0].coordinates["batch_size"]
    finer = spec.arm_space("search").refined({"batch_size": best})
    assert {point["batch_size"] for point in finer.grid(spec.fixed["search"])} <= tried
    assert len(tried) == len(history.of("search")) <= spec.planned_trials("search")


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "{name: gp, startup_trials: 5}"])
def test_sampler_learns_from_trials_that_wait(sampler):
    spec = study("search.trials=24", "baseline=null", f"search.sampler={sampler}", *RULES["promotion"])
    history = drive(spec, [], {}, workers=4)
    origins = [trial.origin for trial in history.of("search")]
    assert sum("start-up" in origin or "generation 1 " in origin for origin in origins) < 18


def test_amendment_of_the_rungs_leaves_nobody_waiting_for_ever():
    for change in ("stopping={name: asha, form: promotion, grace_epochs: 2}", "stopping={name: asha}"):
        rows, checkpoints = [], {}
        with pytest.raises(Killed):
            drive(study(*SMALL, *RULES["promotion"]), rows, checkpoints, workers=4, dies_at=60)
        assert any(t.state is TrialState.PAUSED for t in History.fold(rows).trials.values())
        history = drive(study(*SMALL, change), rows, checkpoints, workers=4)
        assert Counter(t.arm for t in history.of()) == {"search": 9, "baseline": 9}
        assert all(t.state.is_final for t in history.trials.values())
        assert sum(t.state is TrialState.COMPLETED for t in history.of()) >= 2


def test_rung_that_an_amendment_makes_is_none_for_epochs_long_past():
    rows, checkpoints = [], {}
    with pytest.raises(Killed):
        drive(study(*SMALL), rows, checkpoints, workers=4, dies_at=80)
    before = History.fold(rows)
    history = drive(study(*SMALL, "stopping.grace_epochs=2"), rows, checkpoints, workers=4)
    for trial in before.unfinished():
        late = [r for r in history.trials[trial.name].decisions if r < trial.last_epoch and r not in trial.decisions]
        assert not late


def test_reused_teachers_do_not_count_as_trials_begun():
    spec = study(*("search.trials=3", "seeds.confirm=2", "confirm.top=1", "budget.trials=2"), name="digits-kd")
    history = drive(spec, [], {}, shelf={name: "there" for name in spec.needed_teachers})
    begun = [t for t in history.trials.values() if t.attempt]
    assert len(begun) == 2


def test_epochs_trained_again_are_counted_in_the_session_that_trains_them():
    rows, checkpoints = [], {}
    spec = study("search.trials=2", "seeds.confirm=2", "stopping={name: none}")
    for dies_at in (40, 20, None):
        try:
            history = drive(spec, rows, checkpoints, dies_at=dies_at)
        except Killed:
            checkpoints.clear()  # lost with the machine
    epochs = [r for r in rows if isinstance(r, EpochRow)]
    twice = {
        (r.trial, r.epoch, r.session)
        for r in epochs
        if any(o.trial == r.trial and o.epoch == r.epoch and o.attempt < r.attempt for o in epochs)
    }
    said = {
        (repeat.trial, epoch, repeat.session)
        for repeat in history.repeats
        for epoch in range(repeat.first_epoch, repeat.last_epoch + 1)
    }
    assert twice
    assert said == twice
