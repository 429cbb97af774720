"""The lock on an object store: never two holders, whoever is killed or stands still."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from results.errors import Held
from results.lock import Holder, StudyLock, holder, identity
from results.places import RemotePath, names_in


@pytest.fixture
def study(bucket: str, tmp_path: Path) -> RemotePath:
    return RemotePath(bucket) / "locks" / tmp_path.name


def forge(study: RemotePath, number: int = 2, **changes: object) -> Holder:
    """A claim as another process would have left it: of another machine, and renewed since, unless told otherwise."""
    now = time.time()
    values: dict[str, object] = {
        "host": "node-17",
        "pid": 4711,
        "started": now - 100.0,
        "session": "s0007",
        "since": datetime.fromtimestamp(now - 60, UTC),
        "heartbeat": now,
        "token": "forged",
    }
    made = Holder(**{**values, **changes})  # type: ignore[arg-type]
    (study / "lock" / f"{made.token}-{number:06d}.json").write_bytes(made.to_json().encode())
    return made


def test_the_lock_is_taken_renewed_and_given_back(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "HEARTBEAT_S", 0.02)
    lock = StudyLock(study)
    assert lock.acquire() is None
    lock.name_session("s0003")
    found = holder(study)
    assert found is not None
    assert (found.pid, found.host, found.session) == (os.getpid(), socket.gethostname(), "s0003")
    deadline = time.monotonic() + 10
    while (now := holder(study)) is None or now.heartbeat <= found.heartbeat:
        assert time.monotonic() < deadline
    lock.confirm()
    lock.release()
    lock.release()
    assert holder(study) is None
    assert names_in(study / "lock") == []


def test_a_second_driver_is_told_who_holds_it(study: RemotePath) -> None:
    with StudyLock(study) as lock:
        lock.name_session("s0003")
        with pytest.raises(Held, match=f"kill {os.getpid()}"):
            StudyLock(study).acquire()
        assert len(names_in(study / "lock")) == 1
    forge(study)
    began = time.monotonic()
    with pytest.raises(Held, match=r"process 4711 on node-17, session s0007"):
        StudyLock(study).acquire()
    assert time.monotonic() - began < 1.0, "it need not be asked twice"


def test_the_stores_clock_tells_who_is_dead_elsewhere(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.lock.claims.BACK_OFF_S", 0.01)
    forge(study, heartbeat=time.time() - 10_000)  # its clock is wrong, but it wrote just now
    with pytest.raises(Held):
        StudyLock(study).acquire()
    monkeypatch.setattr(identity, "STALE_AFTER_S", 0.5)
    forge(study, heartbeat=time.time() + 10_000)
    time.sleep(2.1)  # the store tells whole seconds
    lock = StudyLock(study)
    dead = lock.acquire()
    assert dead is not None
    assert dead.host == "node-17"
    lock.release()


def test_a_dead_process_of_this_machine_is_replaced_at_once_but_not_one_of_a_namesake(study: RemotePath) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here: dict[str, object] = {"host": socket.gethostname(), "pid": gone.pid}
    forge(study, machine="another/4026531836", **here)
    with pytest.raises(Held):
        StudyLock(study).acquire()
    forge(study, machine=identity.machine(), **here)
    lock = StudyLock(study)
    dead = lock.acquire()
    assert dead is not None
    assert dead.pid == gone.pid
    lock.release()


def test_a_claim_that_is_cut_short_counts_by_its_age(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    (study / "lock" / "torn-000001.json").write_bytes(b'{"host": "no')
    monkeypatch.setattr("results.lock.claims.BACK_OFF_S", 0.01)
    with pytest.raises(Held, match="unreadable"):
        StudyLock(study).acquire()


def test_a_holder_that_renews_while_it_is_read_is_seen(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    forge(study, number=2)
    real = RemotePath.modified_s

    def modified(path: RemotePath) -> float:
        if path.name == "forged-000002.json":
            forge(study, number=3)
            path.unlink()
        return real(path)

    monkeypatch.setattr(RemotePath, "modified_s", modified)
    with pytest.raises(Held, match="node-17"):
        StudyLock(study).acquire()


@pytest.mark.parametrize("taker", ["stays", "gave it back", "backs off"])
def test_after_a_pause_the_holder_knows_whether_it_was_taken_over(
    study: RemotePath, monkeypatch: pytest.MonkeyPatch, taker: str
) -> None:
    monkeypatch.setattr(identity, "HEARTBEAT_S", 1000.0)
    lock = StudyLock(study)
    lock.acquire()
    lock.confirm()
    monkeypatch.setattr(identity, "STALE_AFTER_S", 0.0)  # as if a long time had gone by
    if taker == "stays":
        forge(study)
    if taker == "gave it back":
        for name in names_in(study / "lock"):
            (study / "lock" / name).unlink()
    if taker == "backs off":
        lock.confirm()
        assert not lock.lost
        lock.release()
    else:
        with pytest.raises(Held, match="taken"):
            lock.confirm()
        assert lock.lost
        assert names_in(study / "lock") == (["forged-000002.json"] if taker == "stays" else [])


def test_a_write_of_a_sign_of_life_that_arrives_late_does_not_bring_a_lost_study_back(
    study: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "HEARTBEAT_S", 1000.0)
    lock = StudyLock(study)
    lock.acquire()
    (first,) = names_in(study / "lock")
    mine = holder(study)
    assert mine is not None
    (study / "lock" / first).unlink()  # somebody took it over, finished, and gave it back; then the write came through
    forge(study, number=2, **{name: getattr(mine, name) for name in ("host", "machine", "pid", "started", "token")})
    monkeypatch.setattr(identity, "STALE_AFTER_S", 0.0)
    with pytest.raises(Held):
        lock.confirm()


def test_while_the_store_is_away_nobody_can_say_who_holds_the_study(
    study: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "HEARTBEAT_S", 1000.0)
    lock = StudyLock(study)
    lock.acquire()

    def away(path: RemotePath, content: bytes) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(identity, "STALE_AFTER_S", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(RemotePath, "write_bytes", away)
        with pytest.raises(OSError, match="NETWORK"):
            lock.confirm()
    assert not lock.lost
    lock.confirm()
    lock.release()


DRIVER = """
import random, sys, time, uuid
sys.path.insert(0, {repository!r})
from results.lock import StudyLock, identity, study_lock
from results.errors import Held
from results.places import place
identity.HEARTBEAT_S, identity.STALE_AFTER_S = {heartbeat}, {stale}
me = sys.argv[2]
study_lock.machine = identity.machine = lambda: me  # each on a machine of its own: only heartbeats tell who lives
while True:
    lock = StudyLock(place(sys.argv[1]))
    try:
        lock.acquire()
    except Held:
        time.sleep(random.uniform(0, 0.1))
        continue
    held = uuid.uuid4().hex[:6]
    try:
        for _ in range(random.randrange(1, 8)):
            began = time.time()  # before: what happens between the question and the write is not what is tested
            lock.confirm()
            open(sys.argv[3], "a").write(f"{{began:.6f}} {{me}} {{held}} write\\n")
            time.sleep(0.02)
        lock.confirm()
    except Held:
        open(sys.argv[3], "a").write(f"{{time.time():.6f}} {{me}} {{held}} lost\\n")
    lock.release()
"""


def drivers(
    study: RemotePath, log: Path, number: int, *, heartbeat: float, stale: float
) -> list[subprocess.Popen[bytes]]:
    script = DRIVER.format(repository=str(Path(__file__).parents[2]), heartbeat=heartbeat, stale=stale)
    return [
        subprocess.Popen([sys.executable, "-c", script, str(study), f"m{i}", str(log)], stderr=subprocess.DEVNULL)
        for i in range(number)
    ]


def holdings(log: Path) -> list[tuple[str, list[float]]]:
    """Every holding, in order of its first write, with the times of its writes."""
    found: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        when, _, held, what = line.split()
        if what == "write":
            found.setdefault(held, []).append(float(when))
    return sorted(found.items(), key=lambda item: item[1][0])


def assert_one_at_a_time(log: Path) -> int:
    every = holdings(log)
    for (one, times), (other, later) in itertools.pairwise(every):
        assert times[-1] < later[0], f"{one} and {other} held the study at the same time"
    return len(every)


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


@pytest.mark.slow
def test_of_many_drivers_that_are_killed_and_stopped_never_two_hold_the_study(
    study: RemotePath, tmp_path: Path, ended: list[subprocess.Popen[bytes]]
) -> None:
    """Half of the strikes kill; the others stop a driver for longer than it takes to be found dead."""
    log, chance = tmp_path / "log", random.Random(5)
    log.touch()
    settings = {"heartbeat": 0.2, "stale": 3.0}
    ended += drivers(study, log, 4, **settings)
    stopped: list[tuple[float, subprocess.Popen[bytes]]] = []
    kills = 0
    deadline = time.monotonic() + 14
    while time.monotonic() < deadline:
        time.sleep(chance.uniform(0.3, 1.5))
        alive = [p for p in ended if p.poll() is None and p not in [q for _, q in stopped]]
        if len(alive) > 1:
            struck = chance.choice(alive)
            if chance.random() < 0.5:
                struck.send_signal(signal.SIGSTOP)
                stopped.append((time.monotonic() + chance.uniform(4.0, 6.0), struck))
            else:
                struck.kill()
                kills += 1
                ended += drivers(study, log, 1, **settings)
        for due, process in [s for s in stopped if s[0] < time.monotonic()]:
            process.send_signal(signal.SIGCONT)
            stopped.remove((due, process))
    assert kills >= 2
    assert assert_one_at_a_time(log) >= 4


def test_a_holder_that_stood_still_writes_nothing_more(
    study: RemotePath, tmp_path: Path, ended: list[subprocess.Popen[bytes]]
) -> None:
    log = tmp_path / "log"
    log.touch()
    script = DRIVER.format(repository=str(Path(__file__).parents[2]), heartbeat=0.2, stale=2.0).replace(
        "random.randrange(1, 8)", "10_000"
    )
    first, second = (
        subprocess.Popen([sys.executable, "-c", script, str(study), name, str(log)], stderr=subprocess.DEVNULL)
        for name in ("one", "two")
    )
    ended += [first, second]
    wait_until(lambda: len(holdings(log)) == 1)
    name = log.read_text().split()[1]
    paused, taker = (first, second) if name == "one" else (second, first)
    paused.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(holdings(log)) == 2)
    paused.send_signal(signal.SIGCONT)
    wait_until(lambda: "lost" in log.read_text())
    assert taker.poll() is None
    assert_one_at_a_time(log)


def wait_until(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
