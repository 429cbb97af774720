"""Study files as the results read them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from results.errors import RootUnreadable, StudyNotFound, StudyUnreadable
from results.facts import amendments, find_study, load_facts, study_dirs
from tests.results.synthetic import STUDY_ID, Study
from tests.results.synthetic_papers import Distilled


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path)
    made.writer.close()
    return made.folder


def rewrite(folder, name="study.yaml", **changes):
    document = yaml.safe_load((folder / "study.yaml").read_text())
    for path, value in changes.items():
        *groups, leaf = path.split("__")
        inner = document
        for group in groups:
            inner = inner[group]
        if value is None:
            del inner[leaf]
        else:
            inner[leaf] = value
    (folder / name).write_text(yaml.safe_dump(document, sort_keys=False))


def test_facts_are_those_of_the_file(study):
    facts = load_facts(study)
    assert (facts.id, facts.name, facts.amendment) == (STUDY_ID, "digits-beta", 1)
    assert (facts.epochs, facts.trials, facts.confirm_seeds, facts.confirm_top) == (27, 48, 5, 2)
    assert (facts.metric, facts.mode, facts.test_metric, facts.test_mode) == (
        "val/accuracy",
        "max",
        "test/accuracy",
        "max",
    )
    assert list(facts.arms) == ["search", "baseline"]
    assert facts.reference == "baseline"
    assert facts.space["loss.beta"] == "log 0.01 .. 10"


def test_the_highest_amendment_wins(study):
    rewrite(study, "study-2.yaml", search__trials=60)
    rewrite(study, "study-10.yaml", search__trials=100)
    facts = load_facts(study)
    assert (facts.trials, facts.amendment) == (100, 10)


@pytest.mark.parametrize(
    ("space", "temperature", "label", "log"),
    [
        (
            {"optimizer.lr": {"log": [1, 2]}, "loss.beta": {"log": [1, 2]}},
            "loss.beta",
            "inverse temperature beta",
            True,
        ),
        ({"loss.alpha": {"uniform": [0, 1]}}, "loss.alpha", "tampering exponent alpha", False),
        ({"loss.gap": {"uniform": [0, 1]}}, "loss.gap", "temperature gap tau1 - tau2", False),
        ({"loss.logit_norm": {"log": [1, 2]}}, "loss.logit_norm", "logit norm at the start ||Z0||", True),
        ({"loss.warmup_epochs": {"uniform": [1, 2]}}, "loss.warmup_epochs", "loss.warmup_epochs", False),
        (
            {"loss.teacher": {"choice": ["big", "small"]}, "optimizer.lr": {"log": [1, 2]}},
            "optimizer.lr",
            "optimizer.lr",
            True,
        ),
        ({"optimizer.lr": {"log": [1, 2]}, "batch_size": {"choice": [1, 2]}}, "optimizer.lr", "optimizer.lr", True),
        ({}, None, "trial", False),
    ],
)
def test_the_temperature_is_the_first_loss_dimension(study, space, temperature, label, log):
    rewrite(study, space=space)
    facts = load_facts(study)
    assert (facts.temperature, facts.axis_label, facts.temperature_is_log) == (temperature, label, log)


def test_ranges_are_written_in_words(study):
    rewrite(study, space={"a": {"log": [0.01, 10], "times": "loss.beta ** -1"}, "b": {"choice": [1, 2]}, "c": 3})
    assert load_facts(study).space == {"a": "log 0.01 .. 10, times loss.beta ** -1", "b": "choice 1, 2", "c": "3"}


def test_a_loss_is_tested_as_a_loss(study):
    rewrite(study, search__metric="val/loss", search__mode="min")
    assert (load_facts(study).test_metric, load_facts(study).test_mode) == ("test/loss", "min")


def test_a_missing_fact_is_named(study):
    rewrite(study, search__trials=None)
    with pytest.raises(StudyUnreadable, match=r"'trials'.*study\.yaml"):
        load_facts(study)


@pytest.mark.parametrize("text", ["- a list", "a: [", "", "search: {mode: up}\nseeds: {}\nstopping: {}"])
def test_a_file_that_is_no_study_is_named(study, text):
    (study / "study.yaml").write_text(text)
    with pytest.raises(StudyUnreadable, match=r"study\.yaml"):
        load_facts(study)


def test_a_wrong_direction_is_refused(study):
    rewrite(study, search__mode="up")
    with pytest.raises(StudyUnreadable, match="max or min"):
        load_facts(study)


def test_studies_are_found_by_name(study):
    assert find_study(study.parent, "digits-beta") == study
    assert study_dirs(study.parent) == [study]


@pytest.mark.parametrize(
    ("name", "words"),
    [("digits-bet", ["digits-beta", "Did you mean"]), ("", ["digits-beta"]), ("../x", ["digits-beta"])],
)
def test_an_unknown_study_gets_the_list_of_those_there_are(study, name, words):
    with pytest.raises(StudyNotFound) as caught:
        find_study(study.parent, name)
    assert all(word in str(caught.value) for word in words)


def test_study_files_are_numbered_and_other_files_are_none(study):
    for name in ("study-10.yaml", "study-2.yaml", "study-old.yaml", "study-1.yaml", "study-02.yaml", "study-3.yaml~"):
        (study / name).write_text("")
    assert amendments(study) == [
        (1, study / "study.yaml"),
        (2, study / "study-2.yaml"),
        (10, study / "study-10.yaml"),
    ]


def test_without_its_first_file_there_is_no_study(study):
    (study / "study.yaml").rename(study / "study-2.yaml")
    with pytest.raises(StudyNotFound, match=r"must hold study\.yaml"):
        amendments(study)


def test_an_arm_in_which_nothing_varies_has_one_trial(study):
    rewrite(study, arms={"search": {"set": {}}, "fixed": {"set": {"loss.beta": 1.0, "optimizer.lr": 0.1, "epochs": 3}}})
    facts = load_facts(study)
    assert (facts.planned("search"), facts.planned("fixed")) == (48, 1)
    assert (facts.varies("search"), facts.varies("fixed")) == (True, False)


@pytest.fixture
def students(tmp_path):
    made = Distilled(tmp_path)
    made.writer.close()
    return made.folder


def test_an_arm_searches_what_it_names(students):
    facts = load_facts(students)
    assert facts.varying == {
        "nokd": ("optimizer.lr",),
        "kd": ("loss.tau1", "loss.weight", "optimizer.lr"),
        "ats": ("loss.tau1", "loss.gap", "loss.weight", "optimizer.lr"),
    }
    assert facts.arms["kd"] == {"loss.gap": 0.0}
    assert (facts.temperature, facts.axis_label) == ("loss.tau1", "teacher's temperature tau1 of the true class")


def test_an_arm_that_names_nothing_has_one_trial(students):
    rewrite(students, arms={"nokd": {"set": {"loss.name": "tempered"}, "varies": []}, "kd": {"set": {}}})
    facts = load_facts(students)
    assert (facts.varies("nokd"), facts.planned("nokd"), facts.planned("kd")) == (False, 1, 48)


def test_an_arm_of_an_old_study_searches_all_that_it_does_not_set(students):
    rewrite(students, arms={"nokd": {"set": {"loss.tau1": 4.0}}, "kd": None})
    facts = load_facts(students)
    assert facts.varying["nokd"] == ("loss.gap", "loss.weight", "optimizer.lr")
    assert facts.varying["kd"] == ("loss.tau1", "loss.gap", "loss.weight", "optimizer.lr")


def test_the_report_is_about_something_that_varies(students):
    rewrite(students, arms={"nokd": {"set": {}, "varies": ["optimizer.lr"]}, "kd": {"varies": ["loss.weight"]}})
    assert load_facts(students).temperature == "loss.weight"
    rewrite(students, arms={"nokd": {"varies": []}})
    assert load_facts(students).temperature == "loss.tau1"


def test_a_value_that_follows_others_is_not_searched(students):
    facts = load_facts(students)
    assert "optimizer.weight_decay" not in facts.space
    assert facts.derived == {"optimizer.weight_decay": "0.0005 times loss.weight ** 1"}


def test_teachers_are_those_of_the_file(students):
    facts = load_facts(students)
    assert list(facts.teachers) == ["small", "big", "spare"]
    big = facts.teachers["big"]
    assert (big.model, big.epochs, big.schedule_epochs) == ("mlp-512-512", 6, 9)
    assert (big.learns_from, big.adds_to) == ("small", None)
    assert facts.needed == ("small", "big")


@pytest.mark.parametrize(
    ("arms", "needed"),
    [
        ({"a": {"set": {"loss.name": "tempered"}}}, ()),
        ({"a": {"set": {"loss.teacher": "spare"}}}, ("spare",)),
        ({"a": {"set": {"loss.name": "tempered", "base": "spare"}}}, ("spare",)),
        ({"a": {"set": {"loss.name": "tempered"}}, "b": {}}, ("small", "big")),
    ],
)
def test_only_teachers_that_an_arm_asks_for_are_needed(students, arms, needed):
    rewrite(students, arms=arms)
    assert load_facts(students).needed == needed


@pytest.mark.parametrize(
    ("varies", "needed"), [("loss.teacher", ("small", "big", "spare")), ("optimizer.lr", ("small", "big"))]
)
def test_teachers_that_are_searched_are_all_needed(students, varies, needed):
    space = {"loss.teacher": {"choice": ["big", "spare"]}, "optimizer.lr": {"log": [0.1, 1]}}
    rewrite(students, space=space, arms={"a": {"set": {}, "varies": [varies]}})
    assert load_facts(students).needed == needed


def test_a_study_without_teachers_has_none(study):
    facts = load_facts(study)
    assert (facts.teachers, facts.needed, facts.derived) == ({}, (), {})


def deny(monkeypatch, denied, method):
    """The tests may run as root, who may read everything."""
    real = getattr(Path, method)

    def refuse(self, *args, **options):
        if self == denied:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **options)

    monkeypatch.setattr(Path, method, refuse)


def test_a_root_that_cannot_be_read_is_no_empty_root(study, monkeypatch):
    deny(monkeypatch, study.parent, "iterdir")
    for ask in (study_dirs, lambda root: find_study(root, "digits-beta")):
        with pytest.raises(RootUnreadable, match=r"Permission denied.*--root or THERMOTUNE_ROOT"):
            ask(study.parent)


def test_a_root_below_a_file_is_refused(study):
    with pytest.raises(RootUnreadable, match=r"must be a folder that can be read, got .*study\.yaml.*Not a directory"):
        study_dirs(study / "study.yaml" / "runs")


@pytest.mark.parametrize(("place", "method"), [("", "iterdir"), ("study.yaml", "read_text")])
def test_a_study_that_cannot_be_read_is_named(study, monkeypatch, place, method):
    deny(monkeypatch, study / place, method)
    with pytest.raises(StudyUnreadable, match=r"digits-beta.*Permission denied"):
        load_facts(study)


def test_a_folder_that_nobody_may_look_into_is_not_passed_over(study, monkeypatch):
    deny(monkeypatch, study / "study.yaml", "is_file")
    assert study_dirs(study.parent) == [study]


def test_an_empty_root_says_so(tmp_path):
    with pytest.raises(StudyNotFound, match="no study yet"):
        find_study(tmp_path / "nowhere", "x")
    with pytest.raises(StudyNotFound, match=r"study\.yaml"):
        load_facts(tmp_path)
