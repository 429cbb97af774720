"""The study lock: one live holder, dead ones replaced by exactly one taker."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from results.errors import Held, ResultsError
from results.lock import StudyLock, holder, identity


def forge(folder, *, age_s=0.0, **changes):
    """A lock file as another process would have left it, so many seconds ago by the file system's clock."""
    values = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "session": "s0007",
        "since": "2026-11-20T10:00:00+00:00",
        "heartbeat": time.time(),
        "token": "forged",
    }
    (folder / "lock").write_text(json.dumps(values | changes))
    os.utime(folder / "lock", (time.time() - age_s,) * 2)


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_is_taken_and_given_back(tmp_path):
    lock = StudyLock(tmp_path)
    assert lock.acquire() is None
    found = holder(tmp_path)
    assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
    lock.release()
    lock.release()
    assert holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_second_driver_is_told_who_holds_it_and_what_to_do(tmp_path):
    with StudyLock(tmp_path) as lock:
        lock.name_session("s0003")
        with pytest.raises(Held) as caught:
            StudyLock(tmp_path).acquire()
        message = str(caught.value)
        for word in (str(os.getpid()), socket.gethostname(), "s0003", "since", "UTC", f"kill {os.getpid()}"):
            assert word in message
        assert isinstance(caught.value, ResultsError)
        assert holder(tmp_path).session == "s0003"
    assert [p.name for p in tmp_path.iterdir()] == []


def test_the_same_object_cannot_take_it_twice(tmp_path):
    with StudyLock(tmp_path) as lock, pytest.raises(Held):
        lock.acquire()


def test_a_dead_holder_on_this_host_is_replaced_and_reported(tmp_path, dead_pid):
    forge(tmp_path, pid=dead_pid)
    assert holder(tmp_path) is None
    with_lock = StudyLock(tmp_path)
    stale = with_lock.acquire()
    assert (stale.pid, stale.session) == (dead_pid, "s0007")
    assert f"process {dead_pid}" in str(stale)
    assert holder(tmp_path).pid == os.getpid()
    with_lock.release()


def test_a_pid_that_another_process_got_since_is_no_holder(tmp_path):
    forge(tmp_path, started=psutil.Process().create_time() - 3600)
    assert holder(tmp_path) is None
    lock = StudyLock(tmp_path)
    assert lock.acquire() is not None
    lock.release()


def test_a_driver_that_was_killed_but_not_reaped_is_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    forge(tmp_path, pid=process.pid, started=psutil.Process(process.pid).create_time())
    assert holder(tmp_path) is not None
    process.kill()
    deadline = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert holder(tmp_path) is None
    process.wait()


@pytest.mark.parametrize(("age", "alive"), [(5, True), (59, True), (61, False)])
def test_elsewhere_the_heartbeat_decides(tmp_path, age, alive):
    forge(tmp_path, host="node-17", heartbeat=time.time() - age, age_s=age)
    assert (holder(tmp_path) is not None) is alive
    lock = StudyLock(tmp_path)
    if alive:
        with pytest.raises(Held, match="node-17"):
            lock.acquire()
    else:
        assert lock.acquire().host == "node-17"
        lock.release()


@pytest.mark.parametrize("ahead_s", [-300, 300])
def test_a_driver_whose_clock_is_wrong_keeps_its_study_while_it_beats_and_loses_it_when_it_does_not(tmp_path, ahead_s):
    forge(tmp_path, host="node-17", heartbeat=time.time() + ahead_s)
    with pytest.raises(Held, match="node-17"):
        StudyLock(tmp_path).acquire()
    forge(tmp_path, host="node-17", heartbeat=time.time() + ahead_s, age_s=61)
    lock = StudyLock(tmp_path)
    assert lock.acquire().host == "node-17"
    lock.release()


@pytest.mark.parametrize(("age", "alive"), [(1, True), (120, False)])
def test_an_unreadable_lock_counts_by_its_age(tmp_path, age, alive):
    path = tmp_path / "lock"
    path.write_text('{"host": "no')
    os.utime(path, (time.time() - age,) * 2)
    lock = StudyLock(tmp_path)
    if alive:
        with pytest.raises(Held, match="unreadable"):
            lock.acquire()
    else:
        assert lock.acquire() is not None
        lock.release()


def test_the_heartbeat_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "HEARTBEAT_S", 0.02)
    with StudyLock(tmp_path) as lock:
        first = holder(tmp_path).heartbeat
        deadline = time.monotonic() + 10
        while holder(tmp_path).heartbeat <= first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert not lock.lost


def test_a_holder_that_was_taken_over_notices_and_leaves_the_new_one_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "HEARTBEAT_S", 0.02)
    lock = StudyLock(tmp_path)
    lock.acquire()
    forge(tmp_path, host="node-17")
    deadline = time.monotonic() + 10
    while not lock.lost:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()
    assert holder(tmp_path).host == "node-17"


TAKER = """
import sys, time
from pathlib import Path
from results.errors import Held
from results.lock import StudyLock
lock = StudyLock(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    lock.acquire()
    print("won", flush=True)
    sys.stdin.readline()
    lock.release()
except Held:
    print("held", flush=True)
"""


@pytest.mark.parametrize("stale", [True, False])
def test_a_race_has_one_winner(tmp_path, dead_pid, stale):
    for _ in range(5):
        if stale:
            forge(tmp_path, pid=dead_pid)
        takers = [
            subprocess.Popen(
                [sys.executable, "-c", TAKER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(6)
        ]
        for taker in takers:
            assert taker.stdout.readline() == "ready\n"
        for taker in takers:
            taker.stdin.write("go\n")
            taker.stdin.flush()
        answers = [taker.stdout.readline().strip() for taker in takers]
        for taker in takers:
            taker.communicate("stop\n")
        assert sorted(answers) == ["held"] * 5 + ["won"]
        assert list(tmp_path.iterdir()) == []


def test_a_study_without_folder_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError):
        StudyLock(tmp_path / "nowhere").acquire()
    assert holder(tmp_path / "nowhere") is None
