"""What is recorded of a machine, and what is not: secrets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import psutil
import pytest

from results import environment
from results.environment import collect, mask, mask_arguments


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e@x", *arguments], check=True)


def test_facts_of_this_process_are_json(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["thermotune", "submit", "--token", "s3cret"])
    facts = collect()
    text = json.dumps(facts)
    assert "s3cret" not in text
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["memory_bytes"] == psutil.virtual_memory().total
    assert facts["cpu"]["cores"] >= 1
    assert facts["versions"]["pyarrow"]


def test_commit_and_changes_of_the_working_directory(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("no git")
    monkeypatch.chdir(tmp_path)
    assert collect()["project"] is None
    git(tmp_path, "init", "-q")
    assert collect()["project"]["commit"] is None
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = collect()["project"]
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is None
    (tmp_path / "a.txt").write_text("two")
    changed = collect()["project"]
    assert changed["commit"] == clean["commit"]
    assert changed["dirty"]
    (tmp_path / "b.txt").write_text("new")
    assert collect()["project"]["dirty"] != changed["dirty"]


def test_a_machine_without_git_and_nvidia_smi_is_no_problem(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda name: None)
    facts = collect()
    assert facts["project"] is None
    assert facts["thermotune"] is None


def test_a_failing_command_gives_nothing(monkeypatch):
    assert environment._output(sys.executable, "-c", "raise SystemExit(1)") is None
    monkeypatch.setattr(environment, "_TIMEOUT_S", 0.1)
    assert environment._output(sys.executable, "-c", "import time; time.sleep(5)") is None


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("--password=hunter2", "--password=***"),
        ("--api-key=abc", "--api-key=***"),
        ("MLFLOW_TRACKING_TOKEN=abc", "MLFLOW_TRACKING_TOKEN=***"),
        ("https://me:pw@host:5000/x", "https://***@host:5000/x"),
        ("--uri=postgresql://u:p@db/x", "--uri=postgresql://***@db/x"),
        ("http://host/?token=abc&x=1", "http://host/?token=***&x=1"),
        ("token: 'a b c' d", "token: *** d"),
        ("loss.beta=1.0", "loss.beta=1.0"),
        ("me@host", "me@host"),
        ("tokenizer", "tokenizer"),
    ],
)
def test_secrets_are_masked_and_the_rest_is_not(argument, shown):
    assert mask(argument) == shown


def test_the_value_after_a_secret_flag_is_masked():
    assert mask_arguments(["-x", "--tracking-password", "pw", "study"]) == ["-x", "--tracking-password", "***", "study"]
