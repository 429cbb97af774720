"""The best configuration as a study file: what is copied from a report is a valid study of just that configuration."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from results.query import StudyView
from results.report import Format, build, render
from results.report.snippet import study_file
from search.study_file import load
from tests.results.synthetic import Study, finished
from tests.results.synthetic_papers import Distilled


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return build(finished(tmp_path_factory.mktemp("done"), trials=12))


def loaded(tmp_path, text):
    path = tmp_path / "best.yaml"
    path.write_text(text, encoding="utf-8")
    return load(str(path)).study


def test_the_study_file_holds_the_configuration_and_searches_nothing(report, tmp_path):
    study = loaded(tmp_path, report.best.study_file)
    assert study.recipe.loss.beta == report.best.settings["loss.beta"]
    assert study.recipe.optimizer.lr == report.best.settings["optimizer.lr"]
    assert (study.space, study.reference) == ({}, None)
    assert list(study.arms) == [report.best.arm]
    assert study.arms[report.best.arm].planned == 1
    assert study.name == f"digits-beta-{report.best.trial}"


def test_it_confirms_on_the_same_seeds_by_the_same_metric(tmp_path):
    study = Study(tmp_path, trials=1, metric="val/loss", seed=7, confirm_seeds=3)
    study.begin()
    trial = study.explored("search", 0.1)
    study.end()
    copied = loaded(tmp_path, build(study.folder).best.study_file)
    assert trial in copied.name
    assert (copied.search.metric, copied.search.mode, copied.search.seed) == ("val/loss", "min", 7)
    assert len(copied.confirm_seeds) == 3


@pytest.mark.parametrize("name", ["digits-beta", "imdb-beta", "digits-kd-baselines", "cifar10-alpha"])
def test_a_whole_recipe_comes_back_as_it_was(report, tmp_path, name):
    recipe = load(name).study.recipe.model_dump(mode="json")
    if "teacher" in recipe["loss"]:
        recipe |= {"loss": {"name": "tempered", "beta": 0.1 + 0.2}}
    trial = dataclasses.replace(report.view.trials[0], recipe=recipe, params={})
    copied = loaded(tmp_path, study_file(report.view, trial)).recipe.model_dump(mode="json")
    assert copied | {"loss": copied["loss"] | recipe["loss"]} == recipe | {"loss": copied["loss"] | recipe["loss"]}
    assert recipe["loss"].items() <= copied["loss"].items()


def test_teachers_come_along_with_those_that_they_learn_from(tmp_path):
    study = Distilled(tmp_path, trials=1)
    study.begin()
    for arm, value in (("nokd", 0.90), ("kd", 0.91), ("ats", 0.92)):
        study.explored(arm, value)
    study.end()
    view = StudyView(study.folder)
    by_arm = {t.arm: t for t in view.trials}
    learns = dataclasses.replace(by_arm["ats"], recipe=study.document["recipe"])
    copied = yaml.safe_load(study_file(view, learns))
    assert list(copied["teachers"]) == ["big", "small"]
    assert copied["teachers"]["big"]["epoch"] == 6
    alone = {"dataset": "digits", "loss": {"name": "tempered", "beta": 1.0}}
    assert "teachers" not in yaml.safe_load(study_file(view, dataclasses.replace(by_arm["nokd"], recipe=alone)))


def test_a_long_name_stays_within_what_names_may_have(tmp_path):
    study = Study(tmp_path, name="n" * 64, trials=1)
    study.begin()
    study.explored("search", 0.9)
    study.end()
    assert len(loaded(tmp_path, build(study.folder).best.study_file).name) == 64


def test_terminal_and_markdown_print_it_as_it_is(report):
    assert report.best.study_file in render(report, Format.TABLE, width=100)
    assert f"```yaml\n{report.best.study_file}```" in render(report, Format.MARKDOWN)


def test_a_value_cannot_break_out_of_its_block(report):
    evil = dataclasses.replace(report.best, study_file="name: 'x'\n# ```\n# <script>alert(1)</script>\n")
    text = render(dataclasses.replace(report, best=evil), Format.MARKDOWN)
    assert f"````yaml\n{evil.study_file}````\n" in text
