"""Stopping a driver of this machine by the study's name."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import psutil
import pytest

from results.lock import Holder
from results.lock.identity import machine
from search.errors import UsageError
from search.jobs_cli import stop
from tests.results.synthetic import Study, finished
from tests.search.commands import Driver, thermotune
from tests.search.crashes import STUDY, trained


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    finished(tmp_path, trials=1, reference=None, confirm_seeds=0)
    return tmp_path


def test_a_study_that_nobody_drives_cannot_be_stopped(root):
    with pytest.raises(UsageError, match="none works on digits-beta"):
        stop("digits-beta", root)


def test_a_driver_elsewhere_is_named_and_left_alone(root):
    now = time.time()
    elsewhere = Holder(
        host=f"not-{socket.gethostname()}", machine="m", pid=os.getpid(), started=now, session="s0001",
        since=datetime.fromtimestamp(now, UTC), heartbeat=now, token="t",
    )  # fmt: skip
    (root / "digits-beta" / "lock").write_text(elsewhere.to_json())
    with pytest.raises(UsageError, match=rf"process {os.getpid()} on not-.*kill {os.getpid()}"):
        stop("digits-beta", root)


def held_by(root, pid, started):
    """The lock of a driver on this machine."""
    now = time.time()
    here = Holder(
        host=socket.gethostname(), machine=machine(), pid=pid, started=started, session="s0001",
        since=datetime.fromtimestamp(now, UTC), heartbeat=now, token="t",
    )  # fmt: skip
    (root / "digits-beta" / "lock").write_text(here.to_json())


def test_a_lock_that_cannot_be_read_names_no_process_to_kill(root):
    (root / "digits-beta" / "lock").write_text("{")
    with pytest.raises(UsageError, match=r"must say which process to stop, but .*lock cannot be read") as told:
        stop("digits-beta", root)
    assert "kill" not in str(told.value)


def test_a_driver_of_another_user_is_left_to_its_user(root, monkeypatch):
    def refuse(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)  # tests run as root, whom nobody refuses
    held_by(root, os.getpid(), psutil.Process().create_time())
    with pytest.raises(UsageError, match=f"process {os.getpid()} is not yours"):
        stop("digits-beta", root)


@pytest.mark.parametrize("saves", [True, False])
def test_all_is_saved_only_where_the_end_of_the_session_is_on_record(tmp_path, monkeypatch, capsys, saves):
    study = Study(tmp_path, trials=1, reference=None, confirm_seeds=0)
    study.begin()
    study.explore()
    if saves:
        study.end("INTERRUPTED", "SIGTERM")
    study.writer.close()
    driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ended = threading.Thread(target=driver.wait)  # so that it is no zombie
    ended.start()
    held_by(tmp_path, driver.pid, psutil.Process(driver.pid).create_time())
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    stop("digits-beta", tmp_path, "local")
    ended.join()
    assert driver.returncode == -signal.SIGTERM
    said = capsys.readouterr().err
    assert ("everything is saved" in said) == saves
    assert ("the rest will be repeated" in said) != saves


@pytest.mark.slow
def test_stop_saves_and_says_how_to_go_on(tmp_path):
    root = tmp_path / "runs"
    (tmp_path / "study.yaml").write_text(STUDY.replace("WORKERS", "2"))
    driver = Driver(root, "submit", str(tmp_path / "study.yaml"))
    assert driver.wait_for(lambda: trained(root / "crash")), driver.log.read_text()
    done = thermotune(root, "stop", "crash")
    assert done.returncode == 0, done.stderr
    assert "crash is stopped, and everything is saved" in done.stderr
    assert f"--root {root} resume crash" in done.stderr
    assert driver.process.wait(timeout=30) == 75
    assert json.loads(thermotune(root, "status", "crash", "--format", "json").stdout)["state"] == "INTERRUPTED"
