"""A real Ray cluster of 4 nodes with 8 slots each on this machine, against one Ray with 32: trials that cost nothing.

As in overhead.py every trial trains a network of 8 units on 100 digits for one epoch. The nodes are processes, so that
32 workers share the cores that there are: what shows is the driver, not training. A slot is used from the row that
says that a trial has begun to the row that says how it ended. The first trial of every slot waits for its worker, and
is left out of all rates. A worker takes 0.4 GiB of memory: with less than 16 GiB give fewer --slots. With --profile
one more study runs on the cluster under cProfile, which slows it down.
Usage: uv run python -m tests.benchmarks.cluster_slots [--slots N] [--trials N] [--rounds N] [--sampler NAME]
    [--profile]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import psutil

from results.schema import SessionRow, StudyState, TrialRow, TrialState
from results.store import read_rows
from tests.cluster import RayCluster, ray_cluster
from tests.search.commands import THERMOTUNE, environment

NODES = 4
PROFILED = "import cProfile, search.cli; cProfile.run('search.cli.app()', {!r})"


def study(trials: int, sampler: str, slots: int, cpus: float) -> str:
    return f"""
name: trivial
recipe: {{dataset: digits, model: mlp-8, train_samples: 100, batch_size: 100, epochs: 1}}
baseline: null
search: {{trials: {trials}, sampler: {sampler}}}
stopping: {{name: none}}
confirm: {{top: 1}}
seeds: {{confirm: 2}}
resources: {{cpus: {cpus}, max_concurrent: {slots}}}
"""


def run(text: str, slots: int, cluster: RayCluster | None, profile: Path | None = None) -> dict[str, float]:
    """Runs a study in a driver of its own, on the cluster or on a Ray that it starts; gives what it took."""
    folder = Path(tempfile.mkdtemp(prefix="slots-"))
    (folder / "trivial.yaml").write_text(text)
    program = [THERMOTUNE] if profile is None else [sys.executable, "-c", PROFILED.format(str(profile))]
    arguments = ["submit", str(folder / "trivial.yaml"), "--root", str(folder)]
    where = [] if cluster is None else ["--address", cluster.address]
    variables = environment(folder, **({} if cluster is None else cluster.credentials))
    with (folder / "driver.log").open("w") as log:
        process = subprocess.Popen([*program, *arguments, *where], stdout=log, stderr=log, env=variables)
    cpu: list[tuple[float, float]] = []
    memory, driver = 0, psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            cpu.append((time.time(), sum(driver.cpu_times()[:2])))
            memory = max(memory, driver.memory_info().rss)
        time.sleep(0.1)
    if process.returncode != 0 and profile is None:
        sys.exit(f"the driver ended with {process.returncode}:\n{(folder / 'driver.log').read_text()[-3000:]}")
    took = {**measured(folder / "trivial", slots, cpu), "driver_rss_mb": memory / 2**20}
    shutil.rmtree(folder)
    return took


def measured(folder: Path, slots: int, cpu: list[tuple[float, float]]) -> dict[str, float]:
    """Rates and use of the slots, from the records of a study and the driver's CPU seconds at moments in time."""
    rows = read_rows(folder)
    explored = [row for row in rows if isinstance(row, TrialRow) and row.stage == "explore"]
    begun = {row.trial: row.reported_at.timestamp() for row in explored if row.state == TrialState.RUNNING}
    ended = {row.trial: row.reported_at.timestamp() for row in explored if row.state == TrialState.COMPLETED}
    assert begun.keys() == ended.keys(), Counter(row.state for row in explored)
    warm, end = sorted(ended.values())[slots], max(begun.values())
    used = sum(max(0.0, min(ended[trial], end) - max(begun[trial], warm)) for trial in begun)
    rated = sum(warm < moment <= end for moment in ended.values())
    driver_s = max(s for t, s in cpu if t <= end) - max(s for t, s in cpu if t <= warm)
    session = next(row for row in rows if isinstance(row, SessionRow) and row.state == StudyState.RUNNING)
    return {
        "trials": len(ended),
        "wall_s": max(ended.values()) - session.reported_at.timestamp(),
        "trials_per_s": rated / (end - warm),
        "driver_cpu_ms_per_trial": 1000 * driver_s / rated,
        "driver_cpu_share": driver_s / (end - warm),
        "slots_used": used / (slots * (end - warm)),
        "median_trial_s": statistics.median(ended[trial] - begun[trial] for trial in begun),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=8, help="of each node")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna"))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}; load {os.getloadavg()[0]:.1f}")
    print(f"{NODES} nodes; {vars(options)}", flush=True)
    home, slots = Path(tempfile.mkdtemp(prefix="slots-")), NODES * options.slots
    on_cluster = study(options.trials, options.sampler, slots, cpus=1.0)
    on_one = study(options.trials, options.sampler, slots, cpus=(os.cpu_count() or 1) / slots)
    with ray_cluster(home, head_cpus=0) as cluster:
        for _ in range(NODES):
            cluster.add_node(cpus=options.slots)
        for _ in range(options.rounds):
            for name, text, where in (("cluster", on_cluster, cluster), ("one Ray", on_one, None)):
                took = run(text, slots, where)
                print(name, {key: round(value, 3) for key, value in took.items()}, flush=True)
        if options.profile:
            run(on_cluster, slots, cluster, profile=home / "profile")
            pstats.Stats(str(home / "profile")).sort_stats("cumulative").print_stats(60)
    shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
