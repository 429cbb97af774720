"""Studies whose trials are trained by two processes each, on a real Ray: one is killed, or loses its machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from results.schema import AnyRow, EpochRow, Setback, TrialRow, TrialState
from tests.cluster import RayCluster, ray_cluster
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
    (setback,) = setbacks(rows)
    assert setback.setback == Setback.CRASH
    assert str(setback.reason).startswith("its worker process was killed")
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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_is_on_all_nodes_of_its_processes_and_moves_when_one_of_them_goes(tmp_path: Path) -> None:
    """Each process is on a node of its own; of them, it is the one that the leading actor is not on.

    The second time the other process ends first, as with NCCL, because the lost one does not answer.
    """
    (tmp_path / "together.yaml").write_text(STUDY.replace("epochs: 24", "epochs: 2000"))
    folder = tmp_path / "root" / "together"
    with ray_cluster(tmp_path / "home", head_cpus=0) as cluster:
        numbers = {name: cluster.add_node(f"--labels=node={name}", cpus=1) for name in "abc"}
        labels = {node["node_id"]: node["labels"].get("node") for node in cluster.listed("nodes")}
        what = ("submit", str(tmp_path / "together.yaml"), "--address", cluster.address)
        driver = Driver(tmp_path / "root", *what, home=cluster.home, **cluster.credentials)
        try:
            assert driver.wait_for(lambda: bool(epochs(rows_of(folder)))), driver.log.read_text()
            cluster.drain(apart_from_the_leader(cluster)["node_id"], 120)
            assert driver.wait_for(lambda: "s with 1 trial, which goes on elsewhere; 1 trial" in driver.log.read_text())
            assert driver.wait_for(lambda: epochs(rows_of(folder))[-1].attempt == 2)
            lost = apart_from_the_leader(cluster)
            (other,) = (rank for rank in living(cluster, "RankProcess") if rank["node_id"] != lost["node_id"])
            os.kill(lost["pid"], signal.SIGSTOP)
            os.kill(other["pid"], signal.SIGABRT)
            time.sleep(1)
            cluster.kill_node(numbers[labels[lost["node_id"]]])
            assert driver.wait_for(lambda: "was lost with 1 trial, which goes on elsewhere" in driver.log.read_text())
            assert driver.wait_for(lambda: len(setbacks(rows_of(folder))) == 2)
        finally:
            driver.kill()
    first, second = setbacks(rows_of(folder))
    assert first.setback == second.setback == Setback.MOVE
    assert first.reason == "one of its nodes will be taken away"
    assert second.reason in ("one of its nodes was lost", "one of its nodes could not be reached any more")


def apart_from_the_leader(cluster: RayCluster) -> dict[str, Any]:
    """A process that trains, on another node than the actor that leads it."""
    (lead,) = living(cluster, "PlacedDistributedTrial")
    ranks = living(cluster, "RankProcess")
    assert len({rank["node_id"] for rank in ranks}) == 2
    return next(rank for rank in ranks if rank["node_id"] != lead["node_id"])


def setbacks(rows: Sequence[AnyRow]) -> list[TrialRow]:
    return [row for row in rows if isinstance(row, TrialRow) and row.setback is not None]


def living(cluster: RayCluster, kind: str) -> list[dict[str, Any]]:
    """The actors of a class that run."""
    return [actor for actor in cluster.listed("actors") if (actor["class_name"], actor["state"]) == (kind, "ALIVE")]


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
