"""Everything that may happen to a tracker while a study is sent: in the end every value is there, once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from results.errors import TrackingUnavailable
from results.lock import StudyLock
from results.query import StudyView
from results.tracking import check, process, sync
from tests.results.synthetic import STUDY_ID, Study, finished
from tests.results.tracking.servers import Proxy, Server, free_port, server
from tests.results.tracking.stores import expected_points, points, runs

pytestmark = pytest.mark.slow


def mirror(folder, uri, *flags, **environment):
    """A mirror as the driver starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "results.tracking", str(folder), *flags],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def assert_all_there_once(root, folder, uri):
    held = points(root, uri)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(folder)
    assert check(folder, uri).differences == ()
    again = sync(folder, uri)
    assert (again.metrics, again.created, again.deleted, again.files) == (0, 0, 0, 0)


def test_a_server_killed_again_and_again_holds_every_value_once(root, template):
    folder = finished(root, trials=16)
    shutil.copy(template, root / "server.db")
    store, port = f"sqlite:///{root / 'server.db'}", free_port()
    failures = 0
    for delay in (0.4, 1.2):
        serving = Server(root, store, port=port).wait()
        sending = mirror(folder, serving.uri)
        while not (root / "server.db-journal").exists() and runs_in(store) == 0:
            time.sleep(0.02)
        time.sleep(delay)
        serving.kill()
        _, errors = sending.communicate(timeout=60)
        if sending.returncode:
            failures += 1
            assert b"MLflow must be there" in errors
            assert b"Traceback" not in errors
    assert failures
    with server(root, store, port=port) as serving:
        sync(folder, serving.uri)
        assert_all_there_once(root, folder, serving.uri)


def runs_in(store):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("thermotune")
    return 0 if experiment is None else len(client.search_runs([experiment.experiment_id], max_results=100))


def test_lost_replies_a_slow_line_and_two_mirrors_make_nothing_twice(root, monkeypatch, template):
    folder = finished(root, trials=3, confirm_seeds=2)
    shutil.copy(template, root / "server.db")
    monkeypatch.setattr(process, "WAIT_FOR_MIRROR_S", 120.0)
    with server(root, f"sqlite:///{root / 'server.db'}") as serving, Proxy(serving.port) as line:
        line.delay_s, line.lose_every = 0.02, 7
        others = [mirror(folder, line.uri) for _ in range(2)]
        passes = 1
        while True:
            try:
                sync(folder, line.uri)
                break
            except TrackingUnavailable:
                passes += 1
                assert passes < 60
        for other in others:
            other.communicate(timeout=120)
        assert line.lost > 3
        line.lose_every = 0
        sync(folder, line.uri)
        assert_all_there_once(root, folder, serving.uri)


def test_a_driver_never_waits_while_server_and_mirror_hang_die_and_come_back(root, monkeypatch, template):
    """A driver writes; the server is down, comes, hangs, is killed; the mirror is killed; the driver is resumed."""
    shutil.copy(template, root / "server.db")
    store, port = f"sqlite:///{root / 'server.db'}", free_port()
    uri, impatient = f"http://127.0.0.1:{port}", {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    study = Study(root, trials=12, confirm_seeds=2)
    longest = 0.0
    chance = random.Random(0)

    def drive(trials: int) -> None:
        nonlocal longest
        for _ in range(trials):
            for arm in study.document["arms"]:
                start = time.monotonic()
                study.run(study.propose(arm), arm, restart_at=chance.choice([None, 4, 8]))
                study.writer.flush()
                longest = max(longest, time.monotonic() - start)
                time.sleep(0.3)

    driver = StudyLock(study.folder)
    driver.acquire()
    study.begin()
    sending = mirror(study.folder, uri, "--follow", **impatient)
    drive(2)  # the server is down
    serving = Server(root, store, port=port)
    drive(2)
    serving.wait()
    while runs_in(store) == 0:
        time.sleep(0.2)
    drive(2)
    serving.send(signal.SIGSTOP)
    drive(2)
    serving.send(signal.SIGCONT)
    sending.kill()
    sending.communicate()
    driver.release()  # the driver dies with its mirror, and is resumed
    driver.acquire()
    study.reopen("s0002")
    sending = mirror(study.folder, uri, "--follow", **impatient)
    drive(2)
    serving.kill()
    drive(2)
    study.confirm()
    study.end()
    (study.folder / "report.html").write_text("report")
    driver.release()
    _, errors = sending.communicate(timeout=120)
    assert sending.returncode == 1  # the server stayed away
    assert b"The records are safe" in errors
    assert longest < 1.0
    with server(root, store, port=port) as serving:
        sync(study.folder, uri)
        assert len(runs(root, uri)) == len(StudyView(study.folder).trials) + 1
        assert runs(root, uri)[STUDY_ID].info.status == "FINISHED"
        assert_all_there_once(root, study.folder, uri)
