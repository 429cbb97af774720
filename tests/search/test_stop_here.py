"""Stopping a driver of this machine by the study's name."""

import json
import os
import socket
import time
from datetime import UTC, datetime

import pytest

from results.lock import Holder
from search.errors import UsageError
from search.jobs_cli import stop
from tests.results.synthetic import finished
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
