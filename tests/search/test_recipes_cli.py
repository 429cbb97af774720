import json

import pytest
import yaml
from typer.testing import CliRunner

from search.errors import UsageError
from search.recipes_cli import app
from trainables.recipe import Recipe
from trainables.recipe_library import available, load

NAME = "tampering/resnet50-imagenet"


def run(*arguments):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_names_every_recipe_with_its_purpose():
    assert [line.split()[0] for line in run("list").splitlines()] == list(available())
    assert run() == run("list")
    assert json.loads(run("list", "--format", "json"))[NAME].startswith("ResNet-50 on ImageNet")


def test_show_prints_every_value_with_its_origin_and_the_published_numbers():
    lines = run("show", NAME).splitlines()
    assert "published: test/accuracy 76.886 %, alpha 0.3" in lines
    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert rows.keys() >= load(NAME).origins.keys()
    assert rows["optimizer.momentum"].split() == ["optimizer.momentum", "0.9", "paper"]
    note = rows["optimizer.lr"].split()[-1]
    assert "our choice" in rows["optimizer.lr"]
    assert "unresolved" in rows[note]
    assert rows["loss.label_smoothing"].split()[1:] == ["0.0", "default"]
    assert "[0.08, 1.0]" in rows["augment.crop_scale"]


def test_show_names_the_teacher_that_a_study_has_to_describe():
    assert "needs: a network called wrn-28-8 under teachers" in run("show", "asymmetric/student-vgg8-cifar100")


@pytest.mark.parametrize("name", [NAME, "asymmetric/student-vgg8-cifar100", "temperature-check/gru-imdb"])
def test_yaml_is_the_bare_recipe(name):
    bare = yaml.safe_load(run("show", name, "--format", "yaml"))
    assert Recipe.model_validate(bare["recipe"]) == load(name).recipe


def test_json_has_values_and_origins():
    plain = json.loads(run("show", NAME, "--format", "json"))
    assert Recipe.model_validate(plain["recipe"]) == load(NAME).recipe
    assert plain["origins"]["loss.alpha"] == {"from": "paper", "reason": ""}
    assert plain["published"][0] == {"metric": "test/accuracy", "value": 0.76886, "setting": "alpha 0.3"}


def test_unknown_recipe_is_a_usage_error_with_the_nearest_name():
    with pytest.raises(UsageError, match=f"RECIPE must be a packaged recipe.* Did you mean {NAME}"):
        run("show", "tampering/resnet-50")
