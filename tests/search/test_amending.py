import subprocess
import sys

import pytest

from results.errors import Held
from results.lock import StudyLock
from results.store import read_rows
from search.amending import amend
from search.errors import StudyFileError, UsageError
from search.folder import open_study
from search.history import History
from search.study_file import load
from tests.search.folders import rows_of_killed, write_study

GRID = "space={loss.beta: {grid: [0.1, 0.2, 0.3, 0.4]}}"
FILE = "name: mine\nrecipe: {dataset: digits, model: mlp-16, epochs: 9}\nsearch: {trials: 48}\n"


class Amended:
    """A study in a folder, and the lines that its amendments said."""

    def __init__(self, root, *overrides, driven=False):
        file = root / "mine.yaml"
        file.write_text(FILE)
        spec = load(str(file), overrides).study
        self.folder = write_study(root, rows_of_killed(spec, kills=[], workers=1) if driven else [], spec)
        self.said = []

    def amend(self, *overrides, more=None):
        return amend(self.folder, more_trials=more, overrides=overrides, say=self.said.append)

    @property
    def study(self):
        return open_study(self.folder)[1]

    def planned(self):
        return {name: arm.planned for name, arm in self.study.arms.items()}


@pytest.fixture
def make(tmp_path):
    return lambda *overrides, **more: Amended(tmp_path, *overrides, **more)


def test_more_trials_are_added_to_the_number_of_the_search(make):
    mine = make()
    assert mine.amend(more=50) == [
        "search.trials: 48 -> 98",
    ]
    assert [arm.trials for arm in mine.study.arms.values()] == [None, None]


def test_a_number_of_the_search_counts_after_more_trials(make):
    mine = make()
    mine.amend(more=50)
    mine.amend("search.trials=100")
    assert mine.planned() == {"search": 100, "baseline": 100}
    assert mine.said == []


def test_both_in_one_command_are_set_and_then_added(make):
    mine = make()
    mine.amend("search.trials=100", more=20)
    assert mine.planned() == {"search": 120, "baseline": 120}


def test_the_default_number_is_what_more_trials_are_added_to(make):
    mine = make("search.trials=null")
    mine.amend(more=2)
    assert (mine.study.search.trials, mine.planned()["search"]) == (50, 50)


def test_an_arm_with_a_number_of_its_own_keeps_it_and_that_is_said(make):
    mine = make("arms={a: {trials: 10}, b: {}}")
    mine.amend("search.trials=20")
    assert mine.planned() == {"a": 10, "b": 20}
    assert mine.said == ["Arm a keeps its own 10 trials; to change them: --set arms.a.trials=N"]
    mine.amend("search.trials=30", "arms.a.trials=12")
    assert mine.planned() == {"a": 12, "b": 30}
    assert len(mine.said) == 1


def test_more_trials_are_for_arms_with_and_without_a_number_of_their_own(make):
    mine = make("arms={a: {trials: 10}, b: {}}", "search.trials=20")
    mine.amend(more=5)
    assert mine.planned() == {"a": 15, "b": 25}
    assert (mine.study.search.trials, mine.study.arms["a"].trials, mine.study.arms["b"].trials) == (25, 15, None)


def test_an_arm_in_which_nothing_varies_stays_one_trial(make):
    mine = make("space={loss.beta: {log: [0.1, 1]}}")
    mine.amend(more=5)
    assert mine.planned() == {"search": 53, "baseline": 1}
    assert mine.study.arms["baseline"].trials is None


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_finite_space_has_no_more_trials_than_points(make, sampler):
    mine = make(GRID, f"search.sampler={sampler}", "baseline=null")
    with pytest.raises(UsageError, match=r"nothing to amend: --trials \+3 adds none, because every point of search"):
        mine.amend(more=3)
    assert open_study(mine.folder)[0] == 1


def test_a_part_of_a_grid_can_be_extended_until_it_is_whole(make):
    mine = make(GRID, "search.sampler=grid", "search.trials=2", "baseline=null")
    mine.amend(more=1)
    mine.amend(more=9)
    assert mine.planned() == {"search": 4}
    with pytest.raises(UsageError, match="nothing to amend"):
        mine.amend(more=1)


def test_what_was_tried_outside_a_narrowed_space_takes_no_point_from_it(make):
    mine = make(GRID, "search.sampler=random", "search.trials=2", "baseline=null", driven=True)
    trials = History.fold(read_rows(mine.folder)).of("search")
    inside, outside = (trial.coordinates["loss.beta"] for trial in trials)
    new = next(value for value in (0.1, 0.2, 0.3, 0.4) if value not in (inside, outside))
    mine.amend(f"space.loss.beta={{grid: {sorted([inside, new])}}}", more=1)
    with pytest.raises(UsageError, match="nothing to amend"):
        mine.amend(more=1)


def test_nothing_that_changes_is_a_usage_error(make):
    mine = make()
    with pytest.raises(UsageError, match="nothing to amend: mine has these values already") as error:
        mine.amend("search.trials=48")
    assert error.value.exit_code == 2
    assert not (mine.folder / "study-2.yaml").exists()


def test_a_number_that_thermotune_works_out_cannot_be_set(make):
    with pytest.raises(UsageError, match=r"arms.search.planned is worked out by thermotune; set arms.search.trials"):
        make().amend("arms.search.planned=3")


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["recipe.epochs=5"], "recipe.epochs: must stay as it is"),
        (["search.seed=1"], "search.seed: must stay as it is"),
        (["name=other"], "name: must stay as it is"),
        (["arms.other={}"], "must stay as it is"),
        (["arms.baseline.set={loss.beta: 2}"], "arms.baseline.set.loss.beta: must stay as it is"),
        (["space.loss.beta={log: [0.1, 20]}"], r"must lie inside \{log: \[0.01, 10.0\]\}"),
        (["space.optimizer.lr={log: [0.01, 0.1], rule: base}"], "times, when and equals of optimizer.lr must stay"),
        (["require=loss.beta < 0.5"], r"require: arm baseline \(loss.beta = 1.0\)"),
        (["search.sampler=grid"], "grid needs a finite space"),
        (["search=3"], "search: must have keys and values"),
        (["arms=null"], "arms: must have keys and values"),
        (["space=null"], "space: must have keys and values"),
        (["space.loss.beta=null"], "space.loss.beta: a dimension must have exactly one kind"),
        (["search.trials=1" + "0" * 17], "search.trials: must be less than or equal to 1000000"),
        (["search.sampler.name=gp"], "unknown key multivariate of gp, which belongs to tpe.*--set search.sampler=gp"),
        (["stopping.brackets=3"], "unknown key brackets of asha, which belongs to hyperband"),
    ],
)
def test_what_cannot_be_amended_is_said_and_nothing_is_written(make, overrides, problem):
    mine = make()
    with pytest.raises(StudyFileError, match=problem):
        mine.amend(*overrides)
    assert not (mine.folder / "study-2.yaml").exists()


def test_plain_words_stand_for_a_sampler_and_a_rule(make):
    mine = make()
    mine.amend("search.sampler=gp", "stopping=none")
    assert (mine.study.search.sampler.name, mine.study.stopping.name) == ("gp", "none")


def test_a_range_may_be_written_with_the_rule_that_it_had(make):
    mine = make()
    mine.amend("space.optimizer.lr={log: [0.01, 0.1], rule: base/beta}")
    assert mine.study.space["optimizer.lr"].spec() == {"log": [0.01, 0.1], "times": "loss.beta ** -1"}


def test_a_point_may_be_left_outside_by_a_narrower_space(make):
    mine = make("search.points=[{loss.beta: 5.0, optimizer.lr: 0.01}, {loss.beta: 0.5, optimizer.lr: 0.1}]")
    mine.amend("space.loss.beta={log: [0.1, 1]}")
    assert [point["loss.beta"] for point in mine.study.points("search")] == [0.5]


def test_a_value_may_be_left_out_with_what_depends_on_it(make):
    mine = make(
        "space={batch_size: {choice: [64, 128]}, optimizer.momentum: {uniform: [0, 0.9], when: {batch_size: 64}}}"
    )
    mine.amend("space.batch_size={choice: [128]}")
    assert mine.study.arm_space("search").active({"batch_size": 128}).keys() == {"batch_size"}


def test_new_remarks_are_said_and_old_ones_are_not_repeated(make):
    mine = make("search.points=[{loss.beta: 0.3, optimizer.lr: 0.1}, {loss.beta: 0.5, optimizer.lr: 0.1}]")
    mine.amend("search.trials=1")
    assert [line for line in mine.said if "arm search" in line] == [
        "note: search.points has 2 points for arm search, of which only the first 1 will be tried"
    ]
    said = list(mine.said)
    mine.amend("budget.trials=3")
    assert mine.said == said


@pytest.mark.filterwarnings("error")
def test_what_is_hardly_wanted_is_no_warning_of_python(make):
    mine = make("recipe.loss={name: tampered, start_epoch: 20}")
    mine.amend(more=1)
    assert mine.said == []


def test_a_driver_that_died_is_spoken_of_even_if_the_amendment_is_not_possible(make):
    mine = make()
    dies = "import os, sys; from pathlib import Path; from results.lock import StudyLock as Lock; "
    dies += "Lock(Path(sys.argv[1])).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", dies, str(mine.folder)], check=False).returncode == 9
    with pytest.raises(UsageError):
        mine.amend("search.trials=48")
    assert mine.said[0].startswith("The last driver died without a word (process ")


def test_a_study_that_is_driven_is_not_amended(make):
    mine = make()
    with StudyLock(mine.folder), pytest.raises(Held):
        mine.amend("search.trials=50")
