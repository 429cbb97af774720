"""Real drivers on a real Ray, really killed."""

import json
import os
import pty
import signal
import subprocess
import time
from collections import Counter

import psutil
import pyarrow.parquet as pq
import pytest

from results.encoding import to_rows
from results.schema import EpochRow, SessionRow, TrialState
from search.history import History
from tests.search.commands import THERMOTUNE, Driver, environment, rows_of, thermotune
from tests.search.crashes import STUDY, assert_whole, begun, trained
from tests.search.simulator import story
from trainables.teachers import Shelf, kept_logits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DISTILLED = """
name: crash
recipe: {model: mlp-256-256, batch_size: 16, epochs: 9, loss: {name: distilled, teacher: assistant}}
teachers:
  big: {recipe: {model: mlp-512-512, epochs: 20}}
  assistant: {recipe: {model: mlp-128, loss: {name: distilled, teacher: big}}}
arms: {kd: {set: {loss.gap: 0.0}}, ats: {}}
reference: kd
search: {trials: 4}
seeds: {confirm: 2}
confirm: {top: 1}
resources: {max_concurrent: 1}
"""


@pytest.fixture
def study_file(tmp_path):
    def write(workers):
        path = tmp_path / f"crash-{workers}.yaml"
        path.write_text(STUDY.replace("WORKERS", str(workers)))
        return str(path)

    return write


def test_study_of_one_worker_killed_while_its_students_learn_ends_as_the_uninterrupted_one(tmp_path):
    path = tmp_path / "crash.yaml"
    path.write_text(DISTILLED)
    whole = thermotune(tmp_path / "whole", "submit", str(path))
    assert whole.returncode == 0, whole.stderr
    assert "training the teachers" in whole.stderr
    folder = tmp_path / "killed" / "crash"
    driver = Driver(tmp_path / "killed", "submit", str(path))
    assert driver.wait_for(lambda: any(isinstance(r, EpochRow) and r.stage == "explore" for r in rows_of(folder)))
    driver.kill()
    before = {row.seq for row in rows_of(folder)}
    end = thermotune(tmp_path / "killed", "resume", "crash")
    assert end.returncode == 0, end.stderr
    rows = rows_of(folder)
    assert before < {row.seq for row in rows}
    assert story(History.fold(rows)) == story(History.fold(rows_of(tmp_path / "whole" / "crash")))
    shelves = [Shelf(tmp_path / run / "teachers").all() for run in ("whole", "killed")]
    assert sorted(t.name for t in shelves[0]) == ["assistant", "big"]
    assert {t.address: kept_logits(t.folder).tobytes() for t in shelves[0]} == {
        t.address: kept_logits(t.folder).tobytes() for t in shelves[1]
    }


def test_a_study_robbed_of_workers_stopped_by_signals_and_killed_loses_nothing_and_does_nothing_twice(
    tmp_path, study_file
):
    """Signals as timeout, systemd and Slurm send them: Ray's own processes die of it, and they may come twice."""
    root = tmp_path / "runs"
    folder = root / "crash"

    def taken_up(number, *arguments):
        driver = Driver(root, *arguments)
        assert driver.wait_for(lambda: trained(folder, f"s000{number}")), driver.log.read_text()
        return driver

    def stopped(driver, session, number):
        assert driver.process.wait(timeout=60) == 75
        said = driver.log.read_text()
        assert f"--root {root} resume crash" in said
        assert "Traceback" not in said
        last = rows_of(folder)[-1]
        assert isinstance(last, SessionRow)
        assert (last.session, last.state, last.reason) == (session, "INTERRUPTED", number.name)

    driver = taken_up(1, "submit", study_file(2))
    second = thermotune(root, "resume", "crash")
    assert second.returncode == 1
    assert f"held by process {driver.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    workers = workers_of(driver)
    assert workers
    for worker in workers:
        worker.kill()
    assert driver.wait_for(lambda: any(isinstance(r, EpochRow) and r.attempt == 2 for r in rows_of(folder)))
    driver.process.send_signal(signal.SIGINT)
    stopped(driver, "s0001", signal.SIGINT)

    driver = taken_up(2, "resume", "crash")
    driver.process.send_signal(signal.SIGTERM)
    os.killpg(driver.process.pid, signal.SIGTERM)
    stopped(driver, "s0002", signal.SIGTERM)

    driver = taken_up(3, "resume", "crash")
    assert "RUNNING" in thermotune(root, "status", "crash").stdout
    before = {row.seq for row in rows_of(folder)}
    driver.kill()
    assert "INTERRUPTED" in thermotune(root, "status", "crash").stdout

    end = thermotune(root, "resume", "crash")
    assert end.returncode == 0, end.stderr
    assert "taking over" in end.stderr
    rows = rows_of(folder)
    assert before <= {row.seq for row in rows}
    history = assert_whole(rows)
    assert Counter(t.arm for t in history.of()) == {"search": 10, "baseline": 10}
    assert not any(trial.state is TrialState.FAILED for trial in history.trials.values())
    assert 1 <= sum(trial.crashes for trial in history.trials.values()) <= len(workers)


def workers_of(driver):
    family = psutil.Process(driver.process.pid).children(recursive=True)
    return [process for process in family if "StudyTrial" in " ".join(process.cmdline())]


def test_ctrl_c_in_a_terminal_stops_in_order_and_fails_no_trial(tmp_path, study_file):
    root = tmp_path / "runs"
    command = [THERMOTUNE, "submit", study_file(2), "--root", str(root)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment(tmp_path, TERM="xterm"))
    os.set_blocking(terminal, False)
    output = b""
    pressed = False
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            output += os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # the process has ended
            break
        if not pressed and trained(root / "crash"):
            os.write(terminal, b"\x03")
            pressed = True
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    assert b"Continue with" in output
    history = History.fold(rows_of(root / "crash"))
    assert not any(t.state is TrialState.FAILED for t in history.trials.values())


def test_study_that_does_not_fit_the_machine_any_more_says_so(tmp_path, study_file):
    root = tmp_path / "runs"
    driver = Driver(root, "submit", study_file(1))
    assert driver.wait_for(lambda: begun(root / "crash"))
    driver.kill()
    resolved = root / "crash" / "study.yaml"
    resolved.write_text(resolved.read_text().replace("cpus: 1.0", "cpus: 512.0"))
    run = thermotune(root, "resume", "crash")
    assert run.returncode == 4
    assert "a trial needs 512 CPUs, this machine has" in run.stderr


def test_a_study_ends_with_its_budget_is_extended_closed_and_trained_again(tmp_path, study_file):
    root, folder = tmp_path / "runs", tmp_path / "runs" / "crash"
    small = ("--set", "search.trials=2", "--set", "recipe.epochs=3")
    run = thermotune(root, "submit", study_file(1), *small, "--set", "budget.trials=3")
    assert run.returncode == 75, run.stderr
    assert "budget used up: 3 of 3 trials" in run.stderr
    assert_whole(rows_of(folder), epochs=3)
    refused = thermotune(root, "resume", "crash")
    assert refused.returncode == 1
    assert "used: 3 of 3 trials" in refused.stderr
    more = thermotune(root, "resume", "crash", "--trials", "+1", "--set", "budget.trials=null")
    assert more.returncode == 0, more.stderr
    assert "amended: budget.trials: 3 -> None" in more.stderr
    assert Counter(t.arm for t in assert_whole(rows_of(folder), epochs=3).of()) == {"search": 3, "baseline": 3}
    assert begun(folder, "s0002")
    assert (folder / "study-2.yaml").exists()

    for part in (folder / "records" / "sessions").iterdir():
        if any(r.state == "COMPLETED" for r in to_rows("sessions", pq.read_table(part))):
            part.unlink()  # as if its last words had been lost
    assert "INTERRUPTED" in thermotune(root, "status", "crash").stdout
    closed = thermotune(root, "resume", "crash")
    assert closed.returncode == 0
    assert "starting Ray" not in closed.stderr
    assert "COMPLETED" in thermotune(root, "status", "crash").stdout
    assert json.loads(thermotune(root, "report", "crash", "--format", "json").stdout)

    run = thermotune(root, "train", "crash", "t0001", "--save", str(tmp_path / "model.pt"))
    assert run.returncode == 0, run.stderr
    assert "recorded epochs have exactly the recorded numbers" in run.stdout
    equal, _, compared = run.stdout.splitlines()[-2].split()[:3]
    assert equal == compared
    assert (tmp_path / "model.pt").exists()
    assert subprocess.run([THERMOTUNE, "train", "crash", "t0999", "--root", root], check=False).returncode == 2
    again = thermotune(root, "submit", study_file(1), *small)
    assert again.returncode == 2
    assert "resume crash" in again.stderr


def test_study_whose_teacher_diverges_says_so_and_ends_in_order(tmp_path):
    path = tmp_path / "crash.yaml"
    path.write_text(DISTILLED.replace("epochs: 20}", "epochs: 20, optimizer: {lr: 1.0e+6}}"))
    run = thermotune(tmp_path / "runs", "submit", str(path))
    assert run.returncode == 1
    assert "the teacher big (t0001) diverged: train/loss" in run.stderr
    assert "Traceback" not in run.stderr
    shown = thermotune(tmp_path / "runs", "status", "crash")
    assert "INTERRUPTED" in shown.stdout
