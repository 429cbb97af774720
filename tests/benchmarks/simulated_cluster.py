"""What the driver itself costs, from the first trial to the last of a large study: a cluster without Ray or training.

Workers are entries of a heap ordered by simulated time. They train made-up learning curves (divergence, noise, late
learners, epochs of different length), and everything else is the real thing: conductor, history, sampler, stopping
rule, rows. Calls of the conductor are timed, in CPU microseconds of the driver's thread; a report is one epoch. With
real records also the flushes, in milliseconds that the driver stands still, the last one and the merging included.
Usage: uv run python tests/benchmarks/simulated_cluster.py [--trials N] [--workers N] [--stopping RULE] [--sampler NAME]
    [--records DIR]
"""

from __future__ import annotations

import argparse
import gc
import heapq
import math
import os
import platform
import random
import resource
import statistics
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from results.schema import AnyRow, Stage, StudyState, Verdict
from results.store import RecordWriter
from search.conductor import Conductor
from search.history import History, Trial
from search.recording import Writer
from search.settings import SAMPLERS
from search.study import Study
from search.study_file import load

STOPPING = {
    "asha": "{name: asha}",
    "promotion": "{name: asha, form: promotion}",
    "hyperband": "{name: hyperband}",
    "median": "{name: median, grace_epochs: 3}",
    "none": "{name: none}",
}
BUCKETS = 10


class Memory(list[AnyRow]):
    """Rows that go nowhere."""

    def flush(self) -> None:
        """They are as safe as they will be."""


class Records(RecordWriter):
    """Rows that go to the disk, as in a study; notes how long each flush takes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, session="s0001")
        self.stalls: list[float] = []

    def flush(self) -> None:
        """Writes what waits."""
        began = time.perf_counter()
        super().flush()
        self.stalls.append(time.perf_counter() - began)


class Worker:
    """Trains one trial an epoch at a time, as trainables.session.TrialSession reports it."""

    def __init__(self, trial: Trial, epochs: int, known: list[dict]) -> None:
        """Goes on where the trial's rows end; the first report repeats them, as after any restart."""
        self.trial, self.attempt, self.epochs, self.rows = trial, trial.attempt, epochs, known
        self.start = len(known)
        self.first = bool(known)
        lr, beta = trial.recipe["optimizer"]["lr"], trial.recipe["loss"]["beta"]
        self.rng = random.Random(f"{trial.name}/{self.start}")
        self.epoch_s = 10 * self.rng.lognormvariate(0, 0.3)
        self.diverges_at = 2 if lr * beta > 0.3 else None
        self.best = 0.98 - 0.05 * math.log10(lr * beta / 0.1) ** 2 - 0.02 * math.log10(beta / 0.3) ** 2
        self.pace = 3 + 3 * abs(math.log10(beta))

    def advance(self) -> dict:
        if not self.first:
            self.rows.append(self._epoch(len(self.rows) + 1))
        new = list(self.rows) if self.first else self.rows[-1:]
        self.first = False
        epoch = len(self.rows)
        diverged = self.diverges_at is not None and epoch >= self.diverges_at
        return {
            "trial": self.trial.name,
            "attempt": self.trial.attempt,
            "attempt_start": self.start,
            "epochs": new,
            "divergence": {"epoch": epoch, "step": 1, "lane": 0, "reason": f"train/loss is nan at epoch {epoch}"}
            if diverged
            else None,
            "finished": not diverged and epoch == self.epochs,
            "memory": None,
            "out_of_memory": None,
        }

    def _epoch(self, epoch: int) -> dict:
        accuracy = self.best - 0.8 * math.exp(-epoch / self.pace) + self.rng.gauss(0, 0.01)
        loss = math.nan if epoch == self.diverges_at else 2.5 * (1 - accuracy)
        metrics = {"train/loss": loss, "train/accuracy": accuracy, "val/loss": loss, "val/accuracy": accuracy}
        return {
            "epoch": epoch,
            "lane": 0,
            "seed": self.trial.seeds[0],
            "epoch_time_s": self.epoch_s,
            "metrics": metrics,
        }


class Collected:
    """CPU seconds that Python's garbage collector took: part of whatever call it came in."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0
        gc.callbacks.append(self)

    def __call__(self, phase: str, info: dict) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.seconds += now - self._began


def timed(call, *args):
    """What a call returns, and the CPU microseconds that it took."""
    began = time.thread_time_ns()
    found = call(*args)
    return found, (time.thread_time_ns() - began) / 1000


def simulate(study: Study, writer: Writer, workers: int) -> tuple[History, dict[str, list[float]], float]:
    """Runs a study to its end.

    Returns:
        What is known at the end; the CPU microseconds of the driver's calls by kind, in order; the simulated seconds.
    """
    now = 0.0
    began = datetime(2026, 1, 1, tzinfo=UTC)
    history = History()
    conductor = Conductor(study, history, writer, session="s0001", now=lambda: began + timedelta(seconds=now))
    facts = {"host": "simulated", "pid": 1, "slots": workers, "command": "simulated_cluster", "environment": "{}"}
    conductor.records.session(StudyState.RUNNING, **facts)
    costs: dict[str, list[float]] = {kind: [] for kind in ("proposal", "again", "none to run", "start", "report")}
    checkpoints: dict[str, list[dict]] = {}
    busy: list[tuple[float, str, Worker]] = []
    while not conductor.at_rest:
        while len(busy) < workers:
            known = len(history.trials)
            trial, cost = timed(conductor.next_trial)
            kind = "none to run" if trial is None else "proposal" if len(history.trials) > known else "again"
            costs[kind].append(cost)
            if trial is None:
                break
            costs["start"].append(timed(conductor.started, trial.name)[1])
            worker = Worker(trial, study.recipe.epochs, checkpoints.setdefault(trial.name, []))
            heapq.heappush(busy, (now + worker.epoch_s, trial.name, worker))
        if not busy:
            continue  # the last paused trials have just ended
        now, name, worker = heapq.heappop(busy)
        verdict, cost = timed(conductor.report, name, worker.advance())
        costs["report"].append(cost)
        if verdict is Verdict.CONTINUE:
            heapq.heappush(busy, (now + worker.epoch_s, name, worker))
    conductor.records.session(StudyState.COMPLETED, **facts)
    return history, costs, now


def buckets(values: list[float]) -> list[float]:
    """The mean of each tenth of a run."""
    edges = [round(len(values) * i / BUCKETS) for i in range(BUCKETS + 1)]
    return [statistics.fmean(values[a:b]) if b > a else math.nan for a, b in pairwise(edges)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--stopping", choices=STOPPING, default="asha")
    parser.add_argument("--sampler", choices=SAMPLERS, default="random")
    parser.add_argument("--records", type=Path, help="folder for real records; left out: rows are kept in a list")
    options = parser.parse_args()
    flags = ["baseline=null", f"search.sampler={options.sampler}", f"search.trials={options.trials}"]
    study = load("digits-beta", [*flags, f"stopping={STOPPING[options.stopping]}"]).study
    writer = Memory() if options.records is None else Records(options.records)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    collected = Collected()
    began, began_cpu = time.perf_counter(), time.process_time()
    history, costs, simulated_s = simulate(study, writer, options.workers)
    if isinstance(writer, Records):
        writer.close()
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}; {vars(options)}")
    explored = history.of()
    states = ", ".join(f"{count} {state}" for state, count in Counter(trial.state for trial in explored).items())
    print(f"{len(explored)} explored ({states}), {len(history.of(stage=Stage.CONFIRM))} confirmed; {history.seq} rows")
    print("\nCPU us per call, by tenth of the calls of a kind (their number)")
    for kind, values in costs.items():
        if values:
            print(f"{f'{kind} ({len(values)})':24}" + "".join(f"{mean:8.0f}" for mean in buckets(values)))
    driver_s = sum(map(sum, costs.values())) / 1e6
    print(f"\ndriver: {driver_s:.1f} s CPU for {simulated_s / 3600:.1f} h of the cluster")
    print(
        f"with the simulation: {cpu:.1f} s CPU, {collected.seconds:.1f} s of it garbage collection; {wall:.1f} s wall"
    )
    print(f"{history.seq / wall:,.0f} rows a second of wall time")
    if isinstance(writer, Records):
        flushes = sorted(1000 * stall for stall in writer.stalls)
        files = sum(1 for _ in options.records.rglob("*.parquet"))
        size_mb = sum(file.stat().st_size for file in options.records.rglob("*.parquet")) / 2**20
        print(
            f"{len(flushes)} flushes of {statistics.median(flushes):.1f} ms (median), longest {flushes[-1]:.0f} ms, "
            f"{sum(flushes) / 1000 / wall:.0%} of the time; {files} files, {size_mb:.1f} MiB"
        )
    print(f"peak RSS {peak_mb:.0f} MB, {before_mb:.0f} of it before the first trial")


if __name__ == "__main__":
    main()
