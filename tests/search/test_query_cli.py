"""``thermotune query``, ``export`` and ``status`` as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.errors import ResultsError
from results.lock import StudyLock
from results.report import Format, render_statuses, statuses
from search import cli
from search.errors import UsageError
from tests.results.synthetic import Study, finished
from tests.search.commands import THERMOTUNE, environment, thermotune


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A finished study, one that was stopped, a damaged one, one without its study file, and a foreign folder."""
    root = tmp_path_factory.mktemp("home") / "runs"
    finished(root, trials=6)
    study = Study(root, name="stopped", trials=9)
    study.begin()
    study.explore(4)
    study.end("INTERRUPTED", "Ctrl-C")
    shutil.copytree(root / "stopped", root / "damaged")
    (root / "damaged" / "study.yaml").write_text("nonsense")
    shutil.copytree(root / "stopped", root / "lost")
    (root / "lost" / "study.yaml").unlink()
    (root / "photos").mkdir()
    (root / "teachers").mkdir()
    return root


def call(root, *arguments, **options):
    return CliRunner().invoke(cli.app, [*arguments, "--root", str(root)], **options)


BEST = "select study, arm, value, source from best where leads order by study"


def test_an_answer_that_is_piped_is_csv_and_a_damaged_study_is_named_on_stderr(root):
    run = thermotune(root, "query", BEST)
    assert run.returncode == 0
    rows = list(csv.DictReader(io.StringIO(run.stdout)))
    assert [(row["study"], row["source"]) for row in rows] == [("digits-beta", "confirmed"), ("stopped", "search")]
    assert "warning: damaged is left out: a resolved study must be a YAML mapping" in run.stderr


def test_a_warning_is_one_line_also_where_yaml_has_more_to_say(tmp_path):
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "study.yaml").write_text("a: [1,\nb: 2")
    (warning,) = call(tmp_path, "query", "select 1 as one").stderr.splitlines()
    assert warning.startswith("warning: torn is left out: ")


@pytest.mark.parametrize("form", ["json", "table", "markdown"])
def test_an_answer_comes_in_every_format(root, form):
    run = call(root, "query", BEST, "--format", form)
    assert run.exit_code == 0, run.output
    if form == "json":
        assert [row["study"] for row in json.loads(run.stdout)] == ["digits-beta", "stopped"]
    elif form == "table":
        assert "2 rows" in run.stdout
        assert "digits-beta" in run.stdout
    else:
        assert "| digits-beta | " in run.stdout


def test_an_answer_that_is_too_wide_is_shown_row_by_row(root):
    run = call(root, "query", "digits-beta", "from trials limit 2", "--format", "table", env={"COLUMNS": "80"})
    assert ("Row 1" in run.stdout, "Row 2" in run.stdout) == (True, True)
    assert max(map(len, run.stdout.splitlines())) <= 80


def test_a_table_shows_its_first_rows_and_says_how_many_there_are(root):
    run = call(root, "query", "select range from range(1000)", "-f", "table")
    assert "200 of 1000 rows are shown; --format csv writes them all" in run.stderr
    assert "199" in run.stdout


def test_a_table_of_many_rows_takes_no_memory_for_those_that_it_does_not_show(root):
    sql = "select range, repeat('x', 500) as text from range(2000000)"  # 1 GB
    measure = (  # by a small process between: the peak of a child begins with that of its parent
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [THERMOTUNE, "query", sql, "--format", "table", "--root", str(root)]
    run = subprocess.run(
        [sys.executable, "-c", measure, *command],
        capture_output=True,
        text=True,
        env=environment(root.parent),
        check=True,
    )
    assert int(run.stdout) < 700 * 1024  # KiB


def sent_to(root, stdout, *arguments):
    return subprocess.run(
        [THERMOTUNE, *arguments, "--root", str(root)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(root.parent),
        check=False,
    )


@pytest.mark.parametrize("form", ["csv", "table"])
def test_a_full_disk_under_an_answer_is_one_line(root, form):
    with Path("/dev/full").open("w") as full:
        run = sent_to(root, full, "query", "digits-beta", "from range(100000)", "--format", form)
    assert run.returncode == 1
    assert [line for line in run.stderr.splitlines() if not line.startswith("200 of")] == [
        "thermotune: a file or the output cannot be read or written (No space left on device). Mend that, then try "
        "again"
    ]


def test_a_reader_that_has_seen_enough_ends_a_query_without_a_word(root):
    read, write = os.pipe()
    os.close(read)
    run = sent_to(root, write, "query", "digits-beta", "from range(100000)", "--format", "csv")
    os.close(write)
    assert run.stderr == ""


@pytest.mark.parametrize("command", [("status",), ("query", "select 1 as one")])
def test_a_root_that_is_not_there_is_said_to_be_missing(root, command):
    run = call(root / "elsewhere", *command)
    assert run.exit_code == 0
    assert f"there is no folder {root / 'elsewhere'} yet" in run.stderr
    assert "there is no folder" not in call(root, *command).stderr


def test_a_study_may_be_named_and_sql_may_come_from_stdin(root):
    run = call(root, "query", "stopped", "-", "--format", "csv", input="select distinct study\nfrom trials")
    assert run.stdout == '"study"\n"stopped"\n'


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("query", "select vlue from best"), 2, '"value"'),
        (("query", "selct"), 2, "syntax error"),
        (("query", "drop view trials"), 2, "must be one SELECT, got DROP"),
        (("query", "select * from read_text('/etc/passwd')"), 2, "disabled"),
        (("query",), 2, "needs a SELECT in quotes"),
        (("query", "select", "1", "from", "best"), 2, "must be one word in quotes"),
        (("query", "digits-bta", "select 1"), 1, "Did you mean digits-beta?"),
        (("query", "damaged", "select 1"), 1, "YAML mapping"),
        (("export", "../../etc"), 1, "there is no study"),
        (("export", "digits-beta", "--output", "x.csv"), 1, "must hold one table"),
    ],
)
def test_mistakes_are_messages(root, arguments, code, message):
    run = call(root, *arguments)
    assert isinstance(run.exception, (UsageError, ResultsError))  # which become messages
    assert (getattr(run.exception, "exit_code", 1), run.stdout) == (code, "")
    assert message in str(run.exception)


def test_a_mistake_in_sql_ends_with_2_and_without_a_traceback(root):
    run = thermotune(root, "query", "select vlue from best")
    assert (run.returncode, run.stdout) == (2, "")
    assert 'Candidate bindings: "value"' in run.stderr
    assert "Traceback" not in run.stderr


def test_the_schema_is_listed_with_units(root):
    run = call(root, "query", "--schema", "--format", "json")
    found = {(row["view"], row["name"]): row["meaning"] for row in json.loads(run.stdout)}
    assert found["epochs", "epoch_time_s"].endswith("; s")
    assert ("trials", "loss.beta") in found
    assert "One row a study" in call(root, "query", "--schema", "--format", "table").stdout


def test_signs_that_a_terminal_obeys_are_not_sent_to_it(root):
    run = call(root, "query", "select chr(27) || '[2J' || chr(8238) as \"=a\"", "--format", "table")
    assert "?[2J?" in run.stdout
    assert call(root, "query", 'select 1 as "=a"', "-f", "csv").stdout.splitlines()[0] == '"\'=a"'


def test_ctrl_c_ends_a_query_with_a_message(root):
    slow = "select count(*) from range(1000000) a, range(10000000) b where (a.range * b.range) % 7 = 3"
    process = subprocess.Popen(
        [THERMOTUNE, "query", slow, "--root", str(root)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(root.parent),
    )
    assert process.stderr is not None
    assert "damaged is left out" in process.stderr.readline()  # the query begins
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "the query was stopped" in process.stderr.read()


def test_an_export_lies_where_one_is_and_names_its_files(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = call(root, "export", "digits-beta", "--format", "json", "--table", "trials")
    assert run.stdout.split() == ["digits-beta-export/trials.json", "digits-beta-export/README.md"]
    assert len(json.loads((tmp_path / "digits-beta-export" / "trials.json").read_text())) == 27
    assert "Replace it with --force" in str(call(root, "export", "digits-beta", "-f", "json").exception)


def test_status_tells_of_every_folder_what_can_be_done(root):
    found = {line.study: line for line in statuses(root) if hasattr(line, "study")}
    assert set(found) == {"damaged", "digits-beta", "lost", "stopped"}
    assert (found["stopped"].resumable, found["stopped"].resume) == (True, "thermotune resume stopped")
    assert (found["digits-beta"].resumable, found["digits-beta"].resume) == (False, None)
    assert "has only records" in found["lost"].error
    assert found["stopped"].best.confirmed is False
    assert found["digits-beta"].best.confirmed
    assert found["stopped"].last_row_age_s > 0
    text = render_statuses(statuses(root), Format.TABLE, width=80)
    assert "No studies: photos." in text
    assert text.count("UNREADABLE") == 2
    assert "(not confirmed)" in " ".join(text.split())
    assert "thermotune resume stopped" in text
    assert max(map(len, text.splitlines())) <= 80


def test_status_as_json_is_complete(root):
    found = json.loads(call(root, "status", "--format", "json").stdout)
    (stopped,) = [line for line in found if line.get("study") == "stopped"]
    assert stopped["progress"]["explored"] == 8
    assert stopped["progress"]["to_explore"] == 18
    assert stopped["last_end"] == "Ctrl-C"
    assert set(stopped["best"]["settings"]) == {"loss.beta", "optimizer.lr"}
    assert {"folder": "photos"} in found


def test_a_study_with_a_driver_runs_and_is_not_resumable(root):
    with StudyLock(root / "stopped"):
        (found,) = [line for line in statuses(root) if getattr(line, "study", "") == "stopped"]
    assert (found.state, found.resumable, found.resume, found.last_end) == ("RUNNING", False, None, None)
    assert "process" in found.driver
