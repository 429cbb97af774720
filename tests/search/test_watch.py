"""Looking on: `thermotune watch` on a terminal, in lines and as a page, while drivers run, die and come back."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from results.errors import StudyNotFound
from results.lock import StudyLock
from results.schema import EpochRow, StudyState
from search import watching
from search.cli import app
from search.errors import UsageError
from search.stop import EXIT_RESUMABLE
from tests.results.synthetic import Study, finished
from tests.search.commands import THERMOTUNE, Driver, environment, rows_of


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("runs"), trials=6)


def run(root, *arguments):
    return CliRunner().invoke(app, [*arguments, "--root", str(root)])


def test_watching_a_study_that_is_completed_shows_it_and_ends_with_0(done):
    shown = run(done.parent, "watch", done.name)
    assert shown.exit_code == 0
    assert "digits-beta: COMPLETED, 12 of 12 trials explored" in shown.stdout


def test_watching_an_interrupted_study_ends_with_75_and_says_how_to_go_on(tmp_path):
    study = Study(tmp_path, trials=6)
    study.begin()
    study.explore(2)
    study.end("INTERRUPTED", "SIGTERM")
    shown = run(tmp_path, "watch", "digits-beta")
    assert shown.exit_code == EXIT_RESUMABLE
    assert "resume digits-beta" in shown.stdout


def test_watching_a_study_in_which_nothing_succeeded_ends_with_3(tmp_path):
    study = Study(tmp_path, trials=1, reference=None)
    study.begin()
    study._final(study.propose("search"), "search", "explore", "DIVERGED", 1, None, "the training loss is inf")
    study.end()
    assert run(tmp_path, "watch", "digits-beta").exit_code == 3


def test_a_study_that_is_not_there_is_named_with_those_that_are(done):
    shown = run(done.parent, "watch", "digits-bet")
    assert isinstance(shown.exception, StudyNotFound)
    assert "Did you mean digits-beta?" in str(shown.exception)


@pytest.mark.parametrize("option", [("--open",), ("--port", "8000")])
def test_options_of_the_page_need_the_page(done, option):
    shown = run(done.parent, "watch", done.name, *option)
    assert isinstance(shown.exception, UsageError)
    assert "Add --web" in str(shown.exception)


@pytest.mark.parametrize("terminal", [False, True])
def test_the_status_follows_the_records_until_the_study_ends(tmp_path, monkeypatch, terminal):
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.05)
    study = Study(tmp_path, trials=6)
    study.begin()
    study.writer.flush()
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, no_color=True, width=150)
    ends = []
    with StudyLock(study.folder):
        looker = threading.Thread(
            target=lambda: ends.append(watching.watch(study.folder, console, command="thermotune"))
        )
        looker.start()
        for explored in ("0", "12"):
            words = f"{explored}/12 trials explored" if not terminal else f"{explored} of 12 trials explored"
            while words not in out.getvalue():
                assert looker.is_alive()
                time.sleep(0.02)
            if explored == "0":
                study.explore()
                study.writer.flush()
        study.confirm()
        study.end()
    looker.join(timeout=20)
    assert [end.state for end in ends] == [StudyState.COMPLETED]
    assert "digits-beta: COMPLETED" in out.getvalue()
    if not terminal:
        lines = [line for line in out.getvalue().splitlines() if line.startswith("digits-beta RUNNING")]
        assert 2 <= len(lines) <= 4  # a line for a change, none for a look
        assert "best 9" in lines[-1]
        assert "\x1b" not in out.getvalue()


def test_a_report_is_written_into_a_file_whole_or_not_at_all(done, tmp_path):
    page = tmp_path / "page.html"
    shown = run(done.parent, "report", done.name, "--format", "html", "--output", str(page))
    assert shown.exit_code == 0
    assert shown.stdout == ""
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    refused = run(done.parent, "report", done.name, "-f", "html", "-o", str(tmp_path / "none" / "page.html"))
    assert isinstance(refused.exception, UsageError)


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("page.html", (), "<!DOCTYPE html>"),
        ("PAGE.HTML", (), "<!DOCTYPE html>"),
        ("found.json", (), '{\n  "schema": 1'),
        ("found.md", (), "# digits-beta (COMPLETED)"),
        ("found.txt", (), "digits-beta  COMPLETED"),
        ("found", (), "digits-beta  COMPLETED"),
        ("found.html", ("--format", "json"), '{\n  "schema": 1'),
    ],
)
def test_a_report_is_written_as_the_suffix_says_and_the_format_wins(done, tmp_path, name, options, begins):
    path = tmp_path / name
    assert run(done.parent, "report", done.name, "-o", str(path), *options).exit_code == 0
    assert path.read_text(encoding="utf-8").lower().startswith(begins.lower())


def test_on_a_narrow_terminal_no_word_is_broken(done):
    out = io.StringIO()
    watching.watch(done, Console(file=out, width=40), command="thermotune")
    words = out.getvalue().split()
    for word in ("baseline", "planned", "completed", "explore", "confirm"):
        assert word in words
    shown = out.getvalue().split("Next")[0].splitlines()
    assert max(map(len, shown)) <= 40


def test_a_page_is_opened_in_the_users_browser(done, tmp_path, monkeypatch):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    shown = run(done.parent, "report", done.name, "--open")
    assert shown.exit_code == 0, shown.exception
    assert (tmp_path / "opened").read_text().strip() == (done / "report.html").as_uri()
    assert (done / "report.html").stat().st_size > 1_000_000


def test_without_a_display_the_path_is_said(done, tmp_path, monkeypatch):
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    page = tmp_path / "page.html"
    shown = run(done.parent, "report", done.name, "--open", "--output", str(page))
    assert f"There is no browser here. Open this file: {page}" in shown.stderr


def test_only_a_page_can_be_opened(done):
    shown = run(done.parent, "report", done.name, "--open", "--format", "json")
    assert isinstance(shown.exception, UsageError)


class Server:
    """`thermotune watch --web` as a user starts it."""

    def __init__(self, root: Path, study: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [THERMOTUNE, "watch", study, "--web", "--root", str(root), *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment(root.parent),
            text=True,
        )
        first = self.process.stderr.readline()
        self.url = re.search(r"http://127\.0\.0\.1:\d+/", first)[0]

    def head(self) -> str:
        with urllib.request.urlopen(self.url + "page.json", timeout=60) as answer:
            return json.load(answer)["head"]

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_outlives_a_driver_that_is_killed_and_resumed(tmp_path):
    root = tmp_path / "runs"
    small = ("-s", "search.trials=4", "-s", "seeds.confirm=2", "-s", "name=small", "-s", "resources.max_concurrent=1")
    driver = Driver(root, "submit", "digits-beta", *small)
    folder = root / "small"
    assert driver.wait_for(lambda: (folder / "study.yaml").exists())
    server = Server(root, "small")
    states = [re.search(r'class="state (\w+)"', server.head())[1]]  # before the first trial
    assert driver.wait_for(lambda: any(isinstance(row, EpochRow) for row in rows_of(folder)))
    os.killpg(driver.process.pid, signal.SIGKILL)
    driver.process.wait()

    def wait_for(state: str) -> None:
        end = threading.Event()
        for _ in range(120):
            if f'class="state {state}"' in server.head():
                return
            end.wait(0.5)
        raise AssertionError(server.head())

    wait_for("interrupted")
    looked_on = subprocess.run(
        [THERMOTUNE, "watch", "small", "--root", str(root)], env=environment(tmp_path), timeout=60, check=False
    )
    assert looked_on.returncode == EXIT_RESUMABLE
    resumed = Driver(root, "resume", "small")
    wait_for("running")
    assert resumed.process.wait(timeout=180) == 0, resumed.log.read_text()
    wait_for("completed")
    assert states[0] in ("new", "running")
    code, said = server.end()
    assert code == 0
    assert "Traceback" not in said
