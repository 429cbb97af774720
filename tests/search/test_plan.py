import json

import pytest
import typer
from typer.testing import CliRunner

from results.errors import StudyNotFound
from search import plan_cli
from search.capacity import Node
from search.planning.plan import slots_limit
from search.settings import Resources


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        (Resources(cpus=2), "there are 8 CPU cores, and a trial takes 2"),
        (Resources(gpus=0.5), "there are 2 GPUs, and a trial takes 0.5"),
        (Resources(max_concurrent=3), "resources.max_concurrent is 3"),
        (Resources(max_concurrent=30), "there are 8 CPU cores, and a trial takes 1"),
    ],
)
def test_what_limits_the_slots_is_said(resources, why):
    assert slots_limit(Node("", "here", cpus=8, gpus=2), resources) == why


@pytest.fixture
def command(tmp_path):
    app = typer.Typer()
    app.command(epilog=plan_cli.EPILOG)(plan_cli.plan)
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--root", str(tmp_path)])


def test_plan_without_a_probe(command):
    done = command("digits-beta", "--no-probe", "--format", "json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["trials"] == {"expected": 111.0, "worst": 111.0}
    assert said["wall_hours"] is None


def test_plan_as_text_says_what_is_not_known(command):
    done = command("digits-beta", "--no-probe", "-s", "budget.trials=10")
    assert "not known with --no-probe" in done.stdout
    assert "budget.trials 10 does not suffice" in done.stdout


def test_an_unknown_earlier_study_is_a_mistake_of_the_user(command):
    assert isinstance(command("digits-beta", "--from", "nobody").exception, StudyNotFound)


def test_help_has_examples(command):
    assert "thermotune plan digits-beta" in command("--help").stdout
