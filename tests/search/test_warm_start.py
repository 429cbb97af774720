"""Warm start: what an earlier study found counts only where it means the same."""

from __future__ import annotations

import json

import pytest

from results.errors import StudyNotFound
from results.schema import TrialState
from search.errors import StudyFileError
from search.warm_start import FILE, gather, known_for
from tests.search.folders import write_study
from tests.search.simulator import drive, study

SMALL = ("search.sampler=random", "search.trials=6", "stopping={name: none}", "seeds.confirm=2", "baseline=null")


def earlier(root, *overrides, digest="abc", name="earlier"):
    """A study of six trials, and what it notes of its data."""
    spec = study(*SMALL, f"name={name}", *overrides)
    rows = []
    drive(spec, rows, {})
    folder = write_study(root, rows, spec)
    note_data(folder, digest)
    return folder


def note_data(folder, digest):
    data = {"name": "digits", "digest": digest, "classes": 10, "sizes": {}}
    (folder / "environment.json").write_text(json.dumps({"data": data}))


def later(*overrides):
    return study(*SMALL, "search.warm_start=earlier", *overrides)


def test_the_trials_of_an_equal_study_are_known(tmp_path):
    earlier(tmp_path)
    found = gather(later(), tmp_path, "abc")
    assert found.remarks == ()
    (arm,) = found.known
    assert len(found.known[arm]) == 6
    assert {seen.state for seen in found.known[arm]} <= {TrialState.COMPLETED, TrialState.DIVERGED}


def test_other_data_are_refused(tmp_path):
    earlier(tmp_path)
    with pytest.raises(StudyFileError, match="must be trained on the same data, and earlier has another digits"):
        gather(later(), tmp_path, "def")


@pytest.mark.parametrize(("there", "here"), [("abc", None), (None, "abc"), (None, None)])
def test_data_that_are_not_on_record_are_a_remark(tmp_path, there, here):
    earlier(tmp_path, digest=there)
    (remark,) = gather(later(), tmp_path, here).remarks
    assert remark == "Whether earlier was trained on the very same digits is not on record."


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("recipe.train_samples=100", "recipe.train_samples, null, and earlier has 100"),
        ("recipe.epochs=9", "recipe.epochs, 27, and earlier has 9"),
        ("search.metric=val/loss", "search.metric, val/accuracy, and earlier has val/loss"),
    ],
)
def test_what_makes_another_measure_is_refused(tmp_path, override, words):
    folder = earlier(tmp_path) if "metric" in override else earlier(tmp_path, override)
    if "metric" in override:  # the simulator knows accuracies only
        text = (folder / "study.yaml").read_text()
        (folder / "study.yaml").write_text(
            text.replace("metric: val/accuracy\n  mode: max", "metric: val/loss\n  mode: min")
        )
    with pytest.raises(StudyFileError, match=words):
        gather(later(), tmp_path, "abc")


def test_other_differences_of_the_recipe_are_a_remark(tmp_path):
    earlier(tmp_path, "recipe.batch_size=16")
    (remark,) = gather(later("recipe.model=mlp-512-512"), tmp_path, "abc").remarks
    assert "earlier, from which the search starts, differs beside the space in model (mlp-512-512 here" in remark
    assert "and batch_size (64 here, 16 there): its values may mean something else." in remark


def test_what_was_searched_and_is_fixed_now_is_a_remark(tmp_path):
    earlier(tmp_path)
    narrowed = later("space={loss.beta: {log: [0.001, 100]}}", "recipe.optimizer.lr=0.05")
    found = gather(narrowed, tmp_path, "abc")
    assert sum(map(len, found.known.values())) == 6
    assert "optimizer.lr (0.05 here, searched there)" in found.remarks[0]


def test_trials_of_other_lengths_in_a_space_of_lengths_are_left_out(tmp_path):
    earlier(tmp_path, "space={loss.beta: {log: [0.01, 10]}, train_samples: {choice: [100, 200]}}")
    spec = later("space={loss.beta: {log: [0.01, 10]}}", "recipe.train_samples=100")
    assert 0 < sum(map(len, gather(spec, tmp_path, "abc").known.values())) < 6
    with pytest.raises(StudyFileError, match="must lie in the space of an arm of the same name, and none does"):
        gather(later("space={loss.beta: {log: [0.01, 10]}}"), tmp_path, "abc")


def test_a_space_elsewhere_finds_nothing(tmp_path):
    earlier(tmp_path)
    with pytest.raises(StudyFileError, match="none does"):
        gather(later("space={loss.beta: {log: [100, 200]}}"), tmp_path, "abc")
    with pytest.raises(StudyNotFound):
        gather(study(*SMALL, "search.warm_start=nowhere"), tmp_path, "abc")


def test_what_is_known_is_copied_once(tmp_path):
    folder = earlier(tmp_path)
    spec = later("name=later")
    mine = write_study(tmp_path, [], spec)
    note_data(mine, "abc")
    first = known_for(spec, mine)
    assert str(first) == str(gather(spec, tmp_path, "abc").known)  # as text, since a diverged trial has nan
    folder.rename(tmp_path / "gone")
    assert str(known_for(spec, mine)) == str(first)
    (mine / FILE).unlink()
    (tmp_path / "gone").rename(folder)
    note_data(mine, "def")
    with pytest.raises(StudyFileError, match="the same data"):
        known_for(spec, mine)
    assert known_for(study(*SMALL), mine) == {}
