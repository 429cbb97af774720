import json
import subprocess

import pytest

from search import cli
from tests.results.synthetic import finished
from tests.search.commands import THERMOTUNE, thermotune

COMMANDS = ("studies", "validate", "submit", "status", "resume", "best", "report", "sync", "train")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a finished study in it."""
    root = tmp_path_factory.mktemp("home") / "runs"
    finished(root, trials=12)
    return root


def nothing_in(folder):
    return not folder.exists() or not any(folder.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_shows_an_example(command):
    shown = subprocess.run([THERMOTUNE, command, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
    assert "Example" in shown.stdout or command == "studies"


def test_studies_lists_the_packaged_ones(capsys):
    cli.studies()
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"digits-alpha", "digits-beta"}


def test_validate_show_prints_every_value_with_its_origin(capsys):
    cli.validate("digits-beta", ["search.trials=3"], show=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["search.trials", "3", "flag"] in lines
    assert ["recipe.batch_size", "64", "file"] in lines
    assert ["resources.max_failures", "3", "default"] in lines


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("submit", "digits-bta"), 2, "Did you mean digits-beta?"),
        (("submit", "digits-beta", "--set", "search.trials"), 2, "--set must be KEY=VALUE"),
        (("submit", "digits-beta", "--set", "name=../evil"), 4, "name: must be 1 to 64 letters"),
        (("submit", "digits-beta", "--set", "resources.gpus=2"), 4, "needs 2 GPUs on one node, largest has"),
        (("submit", "digits-beta", "--set", "recipe.dataset=cifar"), 4, "got 'cifar'"),
        (("submit", "digits-beta", "--set", "space.loss.beta={log: [-1, 1]}"), 4, "low > 0, got [-1, 1]"),
        (("resume", "nothing"), 1, "there is no study 'nothing'"),
        (("resume", "nothing", "--trials", "20"), 2, "for example: --trials +20"),
        (("best", "../etc"), 1, "there is no study"),
        (("report", "nothing"), 1, "there is no study"),
        (("status", "nothing"), 1, "there is no study"),
        (("train", "nothing", "t0001"), 1, "there is no study"),
        (("sync", "nothing"), 1, "there is no study"),
        (("report", "x", "--format", "pdf"), 2, "pdf"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_mistake_gets_one_message_and_its_exit_code_and_leaves_nothing(tmp_path, arguments, code, message):
    run = thermotune(tmp_path / "runs", *arguments)
    assert run.returncode == code, run.stderr
    assert message.lower() in run.stderr.lower()
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    assert nothing_in(tmp_path / "runs")


def test_root_that_is_no_folder_is_a_usage_error(tmp_path):
    (tmp_path / "file").write_text("")
    run = thermotune(tmp_path / "file", "submit", "digits-beta")
    assert run.returncode == 2
    assert "the root must be a folder that can be written" in run.stderr
    assert "Traceback" not in run.stderr


def test_root_comes_from_flag_before_environment(tmp_path, root):
    run = thermotune(root, "status", THERMOTUNE_ROOT=str(tmp_path))
    assert "digits-beta" in run.stdout


def test_submit_of_an_existing_study_points_to_resume(root):
    run = thermotune(root, "submit", "digits-beta")
    assert run.returncode == 2
    assert "resume digits-beta" in run.stderr


@pytest.mark.parametrize("form", ["table", "json", "markdown", "html"])
def test_report_comes_in_every_format_on_stdout_only(root, form):
    run = thermotune(root, "report", "digits-beta", "--format", form)
    assert (run.returncode, run.stderr) == (0, "")
    assert "train digits-beta t0" in run.stdout
    if form == "json":
        assert json.loads(run.stdout)["study"] == "digits-beta"
    if form == "html":
        assert run.stdout.startswith("<!doctype html>")


def test_best_and_status_answer(root):
    best = thermotune(root, "best", "digits-beta", "--format", "json")
    assert json.loads(best.stdout)["best"]["retrain"].startswith(f"thermotune --root {root} train digits-beta")
    assert "COMPLETED" in thermotune(root, "status", "digits-beta").stdout
    assert "COMPLETED" in thermotune(root, "status").stdout


def test_finished_study_resumed_only_reports(root):
    records = sorted((root / "digits-beta" / "records").rglob("*.parquet"))
    run = thermotune(root, "resume", "digits-beta")
    assert run.returncode == 0, run.stderr
    assert "COMPLETED" in run.stdout
    assert sorted((root / "digits-beta" / "records").rglob("*.parquet")) == records


def test_commands_to_copy_name_the_root_where_it_matters(monkeypatch, tmp_path):
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.delenv(cli.ROOT_VARIABLE, raising=False)
    assert cli.command_prefix(cli.ROOT) == "thermotune"
    assert cli.command_prefix(tmp_path / "a b") == f"thermotune --root '{tmp_path}/a b'"
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert cli.command_prefix(cli.ROOT) == "uv run thermotune"
