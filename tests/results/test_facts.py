"""Study files as the results read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from results.errors import RootUnreadable, StudyNotFound, StudyUnreadable
from results.facts import Change, amendments, changes, find_study, load_facts, study_dirs
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
    assert (facts.epochs, facts.confirm_seeds, facts.confirm_top, facts.gpus) == (27, 5, 2, 0)
    assert facts.trials == {"search": 48, "baseline": 48}
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
    assert (facts.planned("search"), facts.amendment) == (100, 10)
    began = load_facts(study, first=True)
    assert (began.planned("search"), began.amendment) == (48, 1)


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


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"uniform": [0.1, 0.9], "step": 0.1}, "uniform 0.1 .. 0.9, step 0.1"),
        ({"uniform": [0.1, 0.9], "step": None, "times": None}, "uniform 0.1 .. 0.9"),
        ({"int": [1, 9]}, "integer 1 .. 9"),
        ({"int": [16, 512], "step": 16}, "integer 16 .. 512, step 16"),
        ({"log_int": [1, 1024]}, "log integer 1 .. 1024"),
        ({"grid": [0.1, 0.2]}, "grid 0.1, 0.2"),
        ({"log": [1, 2], "when": {"loss.name": "tempered"}}, "log 1 .. 2, when loss.name is tempered"),
        (
            {"log": [1, 2], "times": "loss.beta ** -1", "when": {"loss": {"name": ["tempered", "tampered"]}, "b": 3}},
            "log 1 .. 2, times loss.beta ** -1, when loss.name is tempered or tampered and b is 3",
        ),
    ],
)
def test_every_form_of_a_dimension_has_its_words(study, spec, words):
    rewrite(study, space={"loss.beta": spec})
    facts = load_facts(study)
    assert facts.space == {"loss.beta": words}
    assert facts.temperature_is_log == ("log" in words)


def test_values_that_follow_are_read_in_both_forms(study):
    space = {
        "loss.beta": {"log": [1, 2]},
        "optimizer.weight_decay": {"equals": "0.0005 * loss.beta"},
        "a": {"equals": "loss.beta / 2", "when": {"loss.name": "tempered"}},
        "b": {"fixed": 0.1, "times": "loss.beta ** 1"},
        "c": {"fixed": 3},
    }
    rewrite(study, space=space)
    facts = load_facts(study)
    assert list(facts.space) == ["loss.beta"]
    assert facts.derived == {
        "optimizer.weight_decay": "0.0005 * loss.beta",
        "a": "loss.beta / 2, when loss.name is tempered",
        "b": "0.1 times loss.beta ** 1",
        "c": "3",
    }


def test_requirements_and_the_budget_are_those_of_the_file(study):
    facts = load_facts(study)
    assert facts.require == ()
    assert (facts.budget.wall_hours, facts.budget.gpu_hours, facts.budget.trials) == (None, None, None)
    rewrite(study, require=["tau1 > tau2", "beta < 3"], budget={"wall_hours": 1.5, "gpu_hours": None, "trials": 9})
    facts = load_facts(study)
    assert facts.require == ("tau1 > tau2", "beta < 3")
    assert (facts.budget.wall_hours, facts.budget.gpu_hours, facts.budget.trials) == (1.5, None, 9)


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        ("tpe", "tpe"),
        ({"name": "tpe", "startup_trials": 10, "multivariate": False}, "tpe"),
        ({"name": "tpe", "startup_trials": 10, "multivariate": True}, "tpe, multivariate"),
        ({"name": "cmaes", "population": None}, "cmaes"),
        ({"name": "cmaes", "population": 8}, "cmaes, population 8"),
        ({"name": "grid", "refine": 0}, "grid"),
        ({"name": "grid", "refine": 1}, "grid, refined once"),
        ({"name": "grid", "refine": 3}, "grid, refined 3 times"),
    ],
)
def test_samplers_are_told_in_words(study, sampler, words):
    rewrite(study, search__sampler=sampler)
    assert load_facts(study).sampler == words


@pytest.mark.parametrize(
    ("rule", "words", "numbers"),
    [
        ({"name": "asha", "grace_epochs": 1, "reduction_factor": 3}, "asha, grace 1, factor 3", (1, 3, 0)),
        (
            {"name": "asha", "form": "stopping", "grace_epochs": 2, "reduction_factor": 4, "audit": 0.1},
            "asha, grace 2, factor 4, audit of 10 %",
            (2, 4, 0.1),
        ),
        (
            {"name": "asha", "form": "promotion", "grace_epochs": 1, "reduction_factor": 3, "audit": 0.0},
            "asha (promotion), grace 1, factor 3",
            (1, 3, 0),
        ),
        (
            {"name": "hyperband", "grace_epochs": 1, "reduction_factor": 3, "brackets": 4, "audit": 0.0},
            "hyperband, grace 1, factor 3, 4 brackets",
            (1, 3, 0),
        ),
        (
            {"name": "median", "grace_epochs": 2, "interval_epochs": 3, "min_trials": 5, "audit": 0.125},
            "median, grace 2, every 3 epochs, from 5 trials on, audit of 12.5 %",
            (2, 1, 0.125),
        ),
        ({"name": "none", "max_loss": 1000.0}, "none", (1, 1, 0)),
    ],
)
def test_stopping_rules_are_told_in_words(study, rule, words, numbers):
    rewrite(study, stopping=rule)
    facts = load_facts(study)
    assert facts.stopping == words
    assert (facts.grace_epochs, facts.reduction_factor, facts.audit) == numbers


def test_an_arm_says_itself_how_many_trials_it_gets(study):
    arms = {"search": {"set": {}, "trials": 9}, "baseline": {"set": {"loss.beta": 1.0}, "trials": 30}, "old": None}
    rewrite(study, arms=arms)
    assert load_facts(study).trials == {"search": 9, "baseline": 30, "old": 48}
    rewrite(study, arms={"search": {"set": {}, "trials": 9}})
    document = yaml.safe_load((study / "study.yaml").read_text())
    document["search"]["trials"] = None
    (study / "study.yaml").write_text(yaml.safe_dump(document))
    assert load_facts(study).planned("search") == 9


def test_the_trials_that_were_worked_out_count(study):
    arms = {
        "search": {"set": {}, "trials": None, "planned": 60},
        "own": {"set": {}, "trials": 9, "planned": 6},
        "older": {"set": {}, "trials": 9},
        "oldest": {"set": {}},
    }
    rewrite(study, arms=arms)
    assert load_facts(study).trials == {"search": 60, "own": 6, "older": 9, "oldest": 48}


def test_what_is_worked_out_is_no_change(study):
    rewrite(study, arms={"search": {"set": {}, "planned": 48}})
    rewrite(study, "study-2.yaml", search__trials=60, arms={"search": {"set": {}, "planned": 60}})
    assert [change.key for change in changes(study)[2]] == ["search.trials"]


def test_trials_that_nobody_gave_are_missed(study):
    document = yaml.safe_load((study / "study.yaml").read_text())
    document["search"]["trials"] = None
    (study / "study.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(StudyUnreadable, match=r"study\.yaml"):
        load_facts(study)


def test_the_recipe_is_flat(study):
    assert load_facts(study).recipe == {"dataset": "digits", "epochs": 27, "loss.name": "tempered"}


def test_data_are_described_by_the_environment_of_the_study(study):
    facts = load_facts(study)
    assert (facts.data.name, facts.data.digest, facts.chance, facts.validation_samples) == ("digits", None, None, None)
    data = {"name": "digits", "digest": "abc", "sizes": {"train": 1000, "val": 300}, "source": None}
    (study / "environment.json").write_text(json.dumps({"data": data}))
    facts = load_facts(study)
    assert (facts.data.digest, facts.chance, facts.validation_samples) == ("abc", None, 300)
    (study / "environment.json").write_text(json.dumps({"data": {**data, "classes": 10}}))
    assert load_facts(study).chance == 0.1


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"data": 3}', '{"data": {"digest": "abc"}}', "\x00"])
def test_a_damaged_environment_hides_no_study(study, text):
    (study / "environment.json").write_text(text)
    facts = load_facts(study)
    assert (facts.data.name, facts.chance) == ("digits", None)


def test_an_amendment_is_what_differs_from_the_file_before(study):
    assert changes(study) == {}
    rewrite(study, "study-2.yaml", search__trials=60, id="f" * 32, budget={"wall_hours": 2.0})
    document = yaml.safe_load((study / "study-2.yaml").read_text())
    document["space"]["loss.beta"] = {"log": [0.1, 1]}
    del document["reference"]
    (study / "study-10.yaml").write_text(yaml.safe_dump(document))
    assert changes(study) == {
        2: (
            Change(key="search.trials", before=48, after=60),
            Change(key="budget.wall_hours", before=None, after=2.0),
        ),
        10: (
            Change(key="space.loss.beta.log", before=[0.01, 10], after=[0.1, 1]),
            Change(key="reference", before="baseline", after=None),
        ),
    }
    assert [str(change) for made in changes(study).values() for change in made] == [
        "search.trials from 48 to 60",
        "budget.wall_hours from none to 2.0",
        "space.loss.beta.log from [0.01, 10] to [0.1, 1]",
        "reference from baseline to none",
    ]


def test_a_damaged_amendment_is_named(study):
    rewrite(study, "study-3.yaml", search__trials=60)
    (study / "study-2.yaml").write_text("- a list")
    assert load_facts(study).planned("search") == 60
    with pytest.raises(StudyUnreadable, match=r"study-2\.yaml is not: it holds a list"):
        changes(study)


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
