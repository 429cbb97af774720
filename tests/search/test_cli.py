import json
import re
import subprocess

import pyarrow.parquet as pq
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from search import cli, options, study_cli, terminal
from search.errors import UsageError
from search.losses import describe
from search.study_file import packaged
from tests.results.synthetic import finished
from tests.search.commands import THERMOTUNE, thermotune


def commands(group, *path):
    """The paths of a group and of everything in it."""
    yield path
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = [" ".join(path) for path in commands(get_command(cli.app))]


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
    shown = CliRunner().invoke(cli.app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"(Examples?|Start with): .*thermotune {command}", " ".join(shown.stdout.split()))


def test_every_command_is_there():
    assert {"plan", "compare", "explain", "replay", "teachers train", "data prepare", "recipes show"} <= {*COMMANDS}


def test_studies_lists_the_packaged_ones(capsys):
    study_cli.studies()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(packaged())


def test_validate_show_prints_every_value_with_its_origin(capsys):
    study_cli.validate("digits-beta", ["search.trials=3"], show=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["search.trials", "3", "flag"] in lines
    assert ["recipe.batch_size", "64", "file"] in lines
    assert ["resources.max_failures", "3", "default"] in lines
    assert ["arms.search.planned", "3", "worked", "out"] in lines


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("submit", "digits-bta"), 2, "Did you mean digits-beta?"),
        (("submit", "digits-beta", "--set", "search.trials"), 2, "--set must be KEY=VALUE"),
        (("submit", "digits-beta", "--set", "name=../evil"), 4, "name: must be 1 to 64 letters"),
        (("submit", "digits-beta", "--set", "resources.gpus=1"), 4, "needs 1 GPU, this machine has 0"),
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


@pytest.mark.parametrize("number", ["+\u00b2", "+0", "+", "+1_0", "+ 5", "20", "+-5", "+" + "9" * 10])
def test_more_trials_are_a_plus_and_a_number(number):
    run = CliRunner().invoke(cli.app, ["resume", "nothing", "--trials", number])
    assert isinstance(run.exception, UsageError)
    assert f"must be + and a number of trials to add, got {number!r}" in str(run.exception)


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "name=digits-beta"), "nothing to amend: digits-beta has these values already"),
        (("--set", "arms.baseline.planned=3"), "is worked out by thermotune"),
    ],
)
def test_resume_that_amends_nothing_is_a_usage_error(root, arguments, message):
    run = thermotune(root, "resume", "digits-beta", *arguments)
    assert (run.returncode, message in run.stderr) == (2, True), run.stderr
    assert [path.name for path in (root / "digits-beta").glob("study*.yaml")] == ["study.yaml"]


def test_finished_study_resumed_only_reports(root):
    records = sorted((root / "digits-beta" / "records").rglob("*.parquet"))
    run = thermotune(root, "resume", "digits-beta")
    assert run.returncode == 0, run.stderr
    assert "COMPLETED" in run.stdout
    assert sorted((root / "digits-beta" / "records").rglob("*.parquet")) == records


def test_commands_to_copy_name_the_root_where_it_matters(monkeypatch, tmp_path):
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    monkeypatch.delenv(options.ROOT_VARIABLE, raising=False)
    assert terminal.command_prefix(options.ROOT) == "thermotune"
    assert terminal.command_prefix(tmp_path / "a b") == f"thermotune --root '{tmp_path}/a b'"
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert terminal.command_prefix(options.ROOT) == "uv run thermotune"


def test_a_printed_command_works_as_it_is_printed(root, tmp_path):
    best = json.loads(thermotune(root, "best", "digits-beta", "--format", "json").stdout)["best"]
    printed = [THERMOTUNE, *best["retrain"].split()[1:], "--help"]  # with --root before the verb
    assert printed[1] == "--root"
    assert subprocess.run(printed, capture_output=True, check=False).returncode == 0
    status = subprocess.run(
        [THERMOTUNE, "--root", str(root), "status", "digits-beta"], capture_output=True, text=True, check=False
    )
    assert "COMPLETED" in status.stdout


def test_losses_are_listed_with_parameters_ranges_defaults_and_sources():
    shown = " ".join(describe(width=120).split())
    for words in ("tempered", "tampered", "distilled", "arXiv 2010.07344", "arXiv 2111.12495", "arXiv 2210.04427"):
        assert words in shown
    assert "loss.beta > 0 1.0 inverse temperature" in shown
    assert "loss.weight >= 0, <= 1 0.5 lambda" in shown
    assert "loss.teacher required a name under teachers" in shown


def test_teachers_are_trained_listed_and_shown(tmp_path):
    root = tmp_path / "runs"
    assert "holds no teacher yet" in thermotune(root, "teachers", "list").stderr
    quick = ("--set", "recipe.epochs=2")
    trained = thermotune(root, "teachers", "train", "digits-kd", *quick)
    assert (trained.returncode, trained.stderr) == (0, "")
    assert "epoch 2/2" in trained.stdout
    again = thermotune(root, "teachers", "train", "digits-kd", "big", *quick)
    assert "big is trained already" in again.stdout
    assert [path.name for path in (root / "teachers").iterdir() if path.suffix == ".training"] == []
    listed = json.loads(thermotune(root, "teachers", "list", "--format", "json").stdout)
    assert [(t["name"], t["model"], t["epoch"]) for t in listed] == [("big", "mlp-512-512", 2)]
    assert "mlp-512-512" in thermotune(root, "teachers", "list").stdout
    assert listed[0]["address"] in thermotune(root, "teachers", "show", "big").stdout
    assert listed[0]["address"] in thermotune(root, "teachers", "show", listed[0]["address"][:6]).stdout


def test_what_a_teacher_says_is_shown_for_temperatures_and_written_for_every_sample(tmp_path):
    root = tmp_path / "runs"
    thermotune(root, "teachers", "train", "digits-kd", "--set", "recipe.epochs=1")
    file = tmp_path / "says.parquet"
    run = thermotune(root, "teachers", "statistics", "big", "--gap", "1", "--per-sample", str(file), "--format", "json")
    means = json.loads(run.stdout)["gap 1"]
    table = pq.read_table(file).to_pandas()
    assert len(table) == 1079
    assert table["derived_average"].mean() == pytest.approx(means["teacher/derived_average"])
    assert table["flipped"].mean() == pytest.approx(means["teacher/flip_rate"])
    assert "derived average" in thermotune(root, "teachers", "statistics", "big").stdout
    bad = thermotune(root, "teachers", "statistics", "big", "--tau1", "1", "--gap", "1")
    assert (bad.returncode, "must be > 0 and finite, got 1 and 0" in bad.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("teachers", "train", "digits-beta"), 2, "has no section teachers"),
        (("teachers", "train", "digits-kd", "bgi"), 2, "one of the teachers (big), got bgi"),
        (("teachers", "show", "nobody"), 2, "got 'nobody'; there: none yet"),
        (("submit", "digits-kd", "--set", "name=teachers"), 4, "must not be called teachers"),
        (("submit", "digits-kd", "--set", "recipe.loss.teacher=x"), 4, "one of the teachers (big), got x"),
        (("theory", "nothing"), 1, "there is no study"),
    ],
)
def test_mistakes_about_teachers_get_one_message(tmp_path, arguments, code, message):
    run = thermotune(tmp_path / "runs", *arguments)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_hardly_wanted_values_are_remarked_upon():
    command = [THERMOTUNE, "validate", "digits-kd", "--set", "arms.kd.set.loss.gap=-1"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr.count("note: loss.gap should be >= 0, got -1") == 1
    assert "Warning" not in run.stderr
