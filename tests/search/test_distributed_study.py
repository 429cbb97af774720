"""A study whose trials are trained by two processes each, on a real Ray, one of which is killed."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from results.schema import AnyRow, EpochRow, Setback, TrialRow, TrialState
from tests.search.commands import Driver, rows_of
from trainables import TrialConfig, TrialSession

STUDY = """
name: together
recipe: {model: mlp-64, batch_size: 8, epochs: 24, optimizer: {lr: 0.005}}
space: {loss.beta: {grid: [2.0]}}
search: {sampler: grid}
baseline: null
stopping: none
seeds: {confirm: 2}
confirm: {top: 1}
resources: {cpus: 2, strategy: ddp, max_concurrent: 1}
"""
RECIPE = {"model": "mlp-64", "batch_size": 8, "epochs": 24, "optimizer": {"lr": 0.005}, "loss": {"beta": 2.0}}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_trials_of_two_processes_give_the_numbers_of_one_though_a_process_is_killed(tmp_path: Path) -> None:
    (tmp_path / "together.yaml").write_text(STUDY)
    driver = Driver(tmp_path / "root", "submit", str(tmp_path / "together.yaml"))
    folder = tmp_path / "root" / "together"
    assert driver.wait_for(lambda: bool(epochs(rows_of(folder))))
    killed = ranks_of(driver.process.pid)[-1]
    killed.send_signal(signal.SIGKILL)
    assert driver.process.wait(timeout=200) == 0, driver.log.read_text()

    rows = rows_of(folder)
    setbacks = [row.setback for row in rows if isinstance(row, TrialRow) and row.setback is not None]
    assert setbacks == [Setback.CRASH]
    states = {row.trial: row.state for row in rows if isinstance(row, TrialRow)}
    assert states == dict.fromkeys(("t0001", "t0002", "t0003"), TrialState.COMPLETED)
    resumed = [row for row in epochs(rows) if row.attempt > 1]
    assert {row.trial for row in resumed} == {"t0001"}
    assert all(row.attempt_start > 0 for row in resumed)
    found = {(row.seed, row.epoch): row.metrics for row in epochs(rows)}
    expected = alone(sorted({seed for seed, _ in found}))
    assert found.keys() == expected.keys()
    for place, metrics in found.items():
        assert metrics == pytest.approx({name: expected[place][name] for name in metrics}, abs=1e-3), place


def epochs(rows: Sequence[AnyRow]) -> list[EpochRow]:
    return [row for row in rows if isinstance(row, EpochRow)]


def ranks_of(driver: int) -> list[psutil.Process]:
    """The processes that train for a driver."""
    family = psutil.Process(driver).children(recursive=True)
    found = [process for process in family if any("RankProcess" in word for word in process.cmdline())]
    assert len(found) == 2
    return found


def alone(seeds: Sequence[int]) -> dict[tuple[int, int], dict[str, Any]]:
    """The metrics of one process, by seed and epoch."""
    config = TrialConfig(trial="t0001", recipe=RECIPE, seeds=tuple(seeds), report_every_s=1e9, test=True)
    rows = TrialSession(config).advance()["epochs"]
    return {(row["seed"], row["epoch"]): row["metrics"] for row in rows}
