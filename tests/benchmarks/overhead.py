"""What the driver costs: trivial trials with thermotune and with Ray Tune alone, interleaved.

Both train the same one-epoch trials with TPE on two values, as many at once. Ray Tune writes what it writes by default
(JSON, CSV, TensorBoard); thermotune its records, and beside the driver MLflow. Prints wall time, CPU time of the driver
process a trial (or report: there is one each) and of the process that feeds MLflow, medians and ratios.
Usage: uv run python tests/benchmarks/overhead.py [TRIALS] [ROUNDS]
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

HERE = Path(__file__).parent
SLOTS = 4
STUDY = f"""
name: trivial
recipe: {{dataset: digits, model: mlp-8, train_samples: 100, batch_size: 100, epochs: 1}}
baseline: null
search: {{trials: TRIALS}}
stopping: {{name: none}}
confirm: {{top: 1}}
seeds: {{confirm: 2}}
resources: {{max_concurrent: {SLOTS}}}
"""


def plain(folder: Path, trials: int) -> dict[str, float]:
    command = [sys.executable, HERE / "plain_trivial.py", folder, str(trials), str(SLOTS)]
    run = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in run.stdout.splitlines() if line.startswith("SUMMARY ")]
    if not lines:
        sys.exit(f"the plain script failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("SUMMARY "))


def thermotune(folder: Path, trials: int) -> dict[str, float]:
    from results.schema import TrialRow
    from results.store import read_rows

    (folder / "trivial.yaml").write_text(STUDY.replace("TRIALS", str(trials)))
    started = time.time()
    command = [str(Path(sys.executable).parent / "thermotune"), "submit", str(folder / "trivial.yaml")]
    run = subprocess.Popen([*command, "--root", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    driver, cpu, mirror = psutil.Process(run.pid), 0.0, 0.0
    while run.poll() is None:
        try:
            cpu = sum(driver.cpu_times()[:2])
            for child in driver.children():
                if "results.tracking" in child.cmdline():
                    mirror = sum(child.cpu_times()[:2])
        except psutil.Error:
            pass
        time.sleep(0.1)
    if run.returncode != 0:
        sys.exit(f"thermotune failed with exit code {run.returncode}:\n{run.stderr.read().decode()[-2000:]}")
    ends = [r for r in read_rows(folder / "trivial") if isinstance(r, TrialRow) and r.stage == "explore" and r.reason]
    assert len(ends) == trials
    wall = max(r.reported_at for r in ends).timestamp() - started
    return {"wall_s": wall, "driver_cpu_s": cpu, "mirror_cpu_s": mirror, "whole_command_s": time.time() - started}


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna", "mlflow"))
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{packages}; load {os.getloadavg()[0]:.1f}; {trials} trials, {rounds} rounds, interleaved")
    found: dict[str, list[dict[str, float]]] = {"thermotune": [], "plain Ray Tune": []}
    for _ in range(rounds):
        for name, run in (("thermotune", thermotune), ("plain Ray Tune", plain)):
            folder = Path(tempfile.mkdtemp())
            found[name].append(run(folder, trials))
            shutil.rmtree(folder, ignore_errors=True)
            print(name, {key: round(value, 2) for key, value in found[name][-1].items()}, flush=True)
    for key in ("wall_s", "driver_cpu_s"):
        ours, theirs = (statistics.median(run[key] for run in found[name]) for name in found)
        ratios = [a[key] / b[key] for a, b in zip(*found.values(), strict=True)]
        print(
            f"{key}: thermotune {ours:.1f}, plain Ray Tune {theirs:.1f}, ratio {ours / theirs:.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]; "
            f"a trial {1e3 * ours / trials:.1f} against {1e3 * theirs / trials:.1f} ms"
        )


if __name__ == "__main__":
    main()
