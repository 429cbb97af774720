"""Real workers of a real Ray that die, cannot begin, or find no memory."""

import shutil
import signal

import psutil
import pytest

from results.schema import Setback, TrialRow, TrialState
from search.history import History
from tests.search.commands import Driver, rows_of, thermotune

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


LONG = """
name: losses
recipe: {model: mlp-1024-1024, batch_size: 16, epochs: 2000}
space: {loss.beta: {log: [0.1, 1.0]}}
search: {trials: 2}
stopping: none
resources: {max_concurrent: 1, max_failures: 1}
"""

LARGE = """
name: large
recipe: {model: mlp-32, epochs: 1}
space: {model: {choice: [mlp-32, wrn-16-16384]}}
search: {sampler: grid}
stopping: none
seeds: {confirm: 2}
resources: {max_concurrent: 1}
"""


def kill_worker(driver):
    """As the system does it to whoever takes too much memory."""
    family = psutil.Process(driver.process.pid).children(recursive=True)
    workers = [process for process in family if "StudyTrial" in " ".join(process.cmdline())]
    assert workers
    for worker in workers:
        worker.kill()


def is_running(folder, trial, attempt):
    running = (trial, TrialState.RUNNING, attempt)
    return lambda: any((r.trial, r.state, r.attempt) == running for r in rows_of(folder) if isinstance(r, TrialRow))


def state_of(folder, trial):
    found = History.fold(rows_of(folder)).trials.get(trial)
    return None if found is None else found.state


def test_a_worker_that_dies_again_and_again_fails_its_trial_also_over_a_killed_driver(tmp_path):
    file, folder = tmp_path / "losses.yaml", tmp_path / "runs" / "losses"
    file.write_text(LONG)
    driver = Driver(tmp_path / "runs", "submit", str(file))
    assert driver.wait_for(is_running(folder, "t0001", 1))
    kill_worker(driver)
    assert driver.wait_for(is_running(folder, "t0001", 2))
    driver.kill()
    driver = Driver(tmp_path / "runs", "resume", "losses")
    assert driver.wait_for(is_running(folder, "t0001", 3))
    kill_worker(driver)
    assert driver.wait_for(is_running(folder, "t0002", 1))  # the slot is free again
    assert driver.kill(signal.SIGTERM) == 75
    trial = History.fold(rows_of(folder)).trials["t0001"]
    assert (trial.state, trial.crashes, trial.moves, trial.attempt) == (TrialState.FAILED, 2, 0, 3)
    said = thermotune(tmp_path / "runs", "explain", "losses", "t0001").stdout
    assert "Crashed in its first epoch: its worker process was killed" in said or "Crashed after epoch" in said
    assert "Its worker crashed 2 times (allowed: 1): its worker process was killed" in said
    assert said.count("Worker exit type") == 2
    assert "session s0002 took it over from s0001" in said


def test_workers_that_cannot_begin_fail_their_trials_one_by_one_with_the_traceback(tmp_path):
    file, folder = tmp_path / "losses.yaml", tmp_path / "runs" / "losses"
    file.write_text(LONG)
    driver = Driver(tmp_path / "runs", "submit", str(file), "--set", "resources.max_failures=0")
    assert driver.wait_for(is_running(folder, "t0001", 1))
    packed = next(tmp_path.rglob("digits-v*")).parent
    shutil.rmtree(packed)
    packed.write_text("a new worker finds no data here, and cannot make any")
    kill_worker(driver)
    assert driver.wait_for(lambda: state_of(folder, "t0002") is TrialState.FAILED)
    assert driver.kill(signal.SIGTERM) == 75
    history = History.fold(rows_of(folder))
    killed, stillborn = history.trials["t0001"], history.trials["t0002"]
    assert (killed.state, killed.crashes, killed.attempt) == (TrialState.FAILED, 1, 1)
    assert (stillborn.state, stillborn.crashes, stillborn.attempt) == (TrialState.FAILED, 1, 0)
    assert "the folder of the packs must be a folder" in stillborn.reason
    said = thermotune(tmp_path / "runs", "explain", "losses", "t0002").stdout
    assert "Its worker crashed 1 time (allowed: 0): ValueError: the folder of the packs" in said
    assert "in data_root" in said  # of the traceback


def test_a_network_that_fits_no_memory_is_a_failed_trial_and_the_study_goes_on(tmp_path):
    file, folder = tmp_path / "large.yaml", tmp_path / "runs" / "large"
    file.write_text(LARGE)
    run = thermotune(tmp_path / "runs", "submit", str(file))
    assert run.returncode == 0, run.stderr
    history = History.fold(rows_of(folder))
    states = {t.recipe["model"]: t.state for t in history.of()}
    assert states == {"mlp-32": TrialState.COMPLETED, "wrn-16-16384": TrialState.FAILED}
    failed = next(t for t in history.of() if t.state is TrialState.FAILED)
    assert failed.reason.startswith("out of memory: DefaultCPUAllocator: can't allocate memory")
    assert (failed.attempt, failed.crashes) == (1, 0)
    assert {r.setback for r in rows_of(folder) if isinstance(r, TrialRow)} == {None, Setback.MEMORY}
    assert all(t.recipe["model"] == "mlp-32" for t in history.of(stage="confirm"))
    assert thermotune(tmp_path / "runs", "replay", "large").returncode == 0
