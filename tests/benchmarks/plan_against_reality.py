"""What ``thermotune plan`` says of a study, and what running it takes: planned and real, one after the other.

For each study (a packaged one, or a file): the plan from a probe, then ``thermotune submit`` in a fresh root, and from
its records what the constants of search/planning/overhead.py stand for, so that they can be fitted again. ``begin``,
``end`` and ``report`` are to be compared directly; ``turn`` is planned with the start of a trial in it.
Where others use the machine in between, the last line of a study tells the model's error from theirs: what the plan
would have been with the epoch times of the run itself, its begin and its end.
Usage: uv run python tests/benchmarks/plan_against_reality.py [STUDY...] [--set KEY=VALUE]...
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from results.schema import AnyRow, EpochRow, TrialRow
from results.store import read_rows
from search.data import check_data
from search.planning.amounts import Plan
from search.planning.forecast import forecast
from search.planning.overhead import Overhead
from search.planning.plan import plan
from search.planning.recorded import recorded
from search.study import Study
from search.study_file import load


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a study took; seconds but for the number of epochs.

    Attributes:
        wall_s: The whole command.
        epochs: Of all trials and lanes.
        epoch_s: Mean.
        begin_s: From the command to the first epoch.
        turn_s: From the end of a trial to the next start; median.
        start_s: From there to the first epoch; median.
        report_s: Between the end of a report's epochs and the beginning of the next one's; median.
        end_s: From the last epoch to the end of the command.
    """

    wall_s: float
    epochs: int
    epoch_s: float
    begin_s: float
    turn_s: float
    start_s: float
    report_s: float
    end_s: float


def submit(study: str, overrides: Sequence[str], root: Path) -> Ran:
    command = [str(Path(sys.executable).parent / "thermotune"), "submit", study, "--root", str(root)]
    began = time.time()
    run = subprocess.run([*command, *(f"--set={item}" for item in overrides)], capture_output=True, text=True)
    ended = time.time()
    if run.returncode != 0:
        sys.exit(f"submit failed with exit code {run.returncode}:\n{run.stderr[-2000:]}")
    (folder,) = (path.parent for path in root.glob("*/study.yaml"))
    return from_records(read_rows(folder), began, ended)


def from_records(rows: Sequence[AnyRow], began: float, ended: float) -> Ran:
    reports: dict[str, dict[float, float]] = {}  # by trial: when a report came, and how long it trained
    for row in rows:
        if isinstance(row, EpochRow):
            trial, at = reports.setdefault(row.trial, {}), row.reported_at.timestamp()
            same = next((known for known in trial if at - known < 0.05), at)
            trial[same] = trial.get(same, 0.0) + row.epoch_time_s
    epochs = [row.epoch_time_s for row in rows if isinstance(row, EpochRow)]
    trials = [row for row in rows if isinstance(row, TrialRow)]
    starts = sorted((row.reported_at.timestamp(), row.trial) for row in trials if row.state == "RUNNING")
    ends = [row.reported_at.timestamp() for row in trials if row.reason and row.stage == "explore"]
    turns = [min(later) - end for end in ends if (later := [at for at, _ in starts if at >= end])]
    firsts = [(*next(iter(reports[name].items())), at) for at, name in starts if name in reports]
    between = [b - a - trial[b] for trial in reports.values() for a, b in pairwise(trial)]
    return Ran(
        wall_s=ended - began,
        epochs=len(epochs),
        epoch_s=statistics.fmean(epochs),
        begin_s=min(at - trained for at, trained, _ in firsts) - began,
        turn_s=statistics.median(turns),
        start_s=statistics.median(at - trained - started for at, trained, started in firsts),
        report_s=statistics.median(between) if between else 0.0,
        end_s=ended - max(at for trial in reports.values() for at in trial),
    )


def afterwards(study: Study, before: Plan, ran: Ran, root: Path) -> float:
    """The wall time that the plan would have said with the costs of the run; seconds."""
    after = forecast(study, recorded(study, root / study.name), slots=before.slots)
    assert after.wall_hours is not None
    usual = Overhead.at(None)
    return 3600 * after.wall_hours.expected - usual.begin_s - usual.end_s + ran.begin_s + ran.end_s


def show(study: str, before: Plan, ran: Ran, loads: tuple[float, float]) -> float:
    assert before.measured is not None
    assert before.wall_hours is not None
    costs = before.measured.costs
    wall_s = 3600 * before.wall_hours.expected
    overhead = Overhead.at(before.measured.import_s)
    print(f"{study}: wall {wall_s:.1f} s planned, {ran.wall_s:.1f} s real, ratio {wall_s / ran.wall_s:.2f}", end="; ")
    print(f"epochs {before.epochs.expected:.0f} planned, {ran.epochs} real", end="; ")
    epoch_s = sum(s.epochs.expected * costs[s.name].epoch_s for s in before.shares) / before.epochs.expected
    print(f"an epoch {1e3 * epoch_s:.1f} ms planned, {1e3 * ran.epoch_s:.1f} ms real", end="; ")
    print(f"load {loads[0]:.1f} before, {loads[1]:.1f} after")
    print(f"  begin {overhead.begin_s:.1f} / {ran.begin_s:.1f} s, end {overhead.end_s:.1f} / {ran.end_s:.1f} s", end="")
    print(f" (import {before.measured.import_s:.1f} s)")
    start_s = statistics.median(cost.start_s for cost in costs.values())
    print(f"  turn {1e3 * overhead.turn_s:.0f} ms + start {1e3 * start_s:.0f} ms / ", end="")
    print(f"{1e3 * ran.turn_s:.0f} + {1e3 * ran.start_s:.0f} ms", end="; ")
    save_s = statistics.median(cost.save_s for cost in costs.values())
    print(f"report {1e3 * overhead.report_s:.0f} ms + save {1e3 * save_s:.0f} ms / {1e3 * ran.report_s:.0f} ms")
    return wall_s / ran.wall_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", metavar="STUDY", nargs="*", default=["digits-beta", "digits-alpha", "digits-kd"])
    parser.add_argument("--set", metavar="KEY=VALUE", dest="overrides", action="append", default=[])
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    ratios = []
    for study in given.studies:
        with tempfile.TemporaryDirectory(prefix="thermotune-plan-") as folder:
            load_before = os.getloadavg()[0]
            loaded = load(study, given.overrides).study
            check_data(loaded)
            before = plan(loaded, Path(folder))
            ran = submit(study, given.overrides, Path(folder))
            ratios.append(show(study, before, ran, (load_before, os.getloadavg()[0])))
            after_s = afterwards(loaded, before, ran, Path(folder))
            print(f"  with the run's own epoch times, begin and end: {after_s:.1f} s, ratio {after_s / ran.wall_s:.2f}")
    print(f"planned / real: {min(ratios):.2f} to {max(ratios):.2f}, mean {statistics.fmean(ratios):.2f}")


if __name__ == "__main__":
    main()
