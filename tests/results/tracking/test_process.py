"""The mirror as a process: while a driver works, beside others, and where nobody answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from results.errors import StudyNotFound, TrackingUnavailable
from results.lock import StudyLock
from results.tracking import follow, process, sync
from results.tracking.process import main
from tests.results.synthetic import STUDY_ID, Study
from tests.results.tracking.servers import free_port
from tests.results.tracking.stores import client, expected_points, points, runs, small


def test_the_environment_names_store_and_experiment(root, monkeypatch, template):
    shutil.copy(template, root / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'other.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    folder = small(root)
    sync(folder)
    assert runs(root, f"sqlite:///{root / 'other.db'}", "mine")
    assert client(root).get_experiment_by_name("mine") is None


def test_a_study_that_has_not_begun_makes_no_run(root):
    study = Study(root)
    study.writer.close()
    assert sync(study.folder).runs == 0


def test_an_unknown_study_is_said(root, capsys):
    with pytest.raises(StudyNotFound):
        sync(root / "nothing")
    (root / "nothing").mkdir()
    assert main([str(root / "nothing")]) == 1
    assert "study.yaml" in capsys.readouterr().err


def test_one_mirror_at_a_time(root, monkeypatch):
    folder = small(root)
    monkeypatch.setattr(process, "WAIT_FOR_MIRROR_S", 0.3)
    with process._only_mirror(folder, 0), pytest.raises(TrackingUnavailable, match="one mirror at a time"):
        sync(folder)
    assert sync(folder).created


def test_sync_says_when_nobody_answers(root, monkeypatch):
    folder = small(root)
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.monotonic()
    with pytest.raises(TrackingUnavailable) as caught:
        sync(folder)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert "thermotune sync digits-beta" in message
    assert "secret" not in message


def test_following_a_dead_server_ends_soon_after_the_driver(root, monkeypatch):
    folder = small(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(process, "GENTLE_START_S", 0.0)
    monkeypatch.setattr(process, "PASS_EVERY_S", 0.1)
    monkeypatch.setattr(process, "LAST_TRIES_S", 1.0)
    driver = StudyLock(folder)
    driver.acquire()
    threading.Timer(1.0, driver.release).start()
    start = time.monotonic()
    with pytest.raises(TrackingUnavailable, match=r"The records are safe$"):
        follow(folder)
    assert 0.9 < time.monotonic() - start < 15


@pytest.mark.slow
def test_following_sends_while_the_driver_works_and_ends_after_it(root):
    """The process as the driver starts it, Ctrl-C and the stop of a job included; it may not die of them."""
    study = Study(root, trials=3)
    study.begin()
    driver = StudyLock(study.folder)
    driver.acquire()
    process = subprocess.Popen(
        [sys.executable, "-m", "results.tracking", str(study.folder), "--follow"],
        stderr=subprocess.PIPE,
        cwd=root,
    )
    try:
        study.explore()
        study.writer.flush()
        deadline = time.monotonic() + 60
        while client(root).get_experiment_by_name("thermotune") is None or len(runs(root)) < 7:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) - os.getpriority(os.PRIO_PROCESS, 0) == 10
        for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, and the end of a job that Ray stops
            process.send_signal(number)
        study.end()
    finally:
        driver.release()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == b""
    held = points(root)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(study.folder)
    assert runs(root)[STUDY_ID].info.status == "FINISHED"


def test_importing_the_module_imports_no_mlflow():
    code = "import sys, results.tracking; assert not {'mlflow', 'torch', 'ray', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
