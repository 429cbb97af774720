"""Times the explore stage of digits-beta against the same search written with Ray Tune alone, interleaved.

thermotune's time runs from the start of the command ``thermotune submit`` to the end of the last explored trial, in
a study with the search arm only, so that both do 48 trials. The plain script's runs from its start to the end of fit.
Prints every run, medians and ratio. Usage: uv run python tests/benchmarks/compare_with_plain.py [ROUNDS]
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

HERE = Path(__file__).parent


def plain(folder: Path) -> dict:
    run = subprocess.run([sys.executable, HERE / "plain_ray_tune.py", folder], capture_output=True, text=True)
    lines = [line for line in run.stdout.splitlines() if line.startswith("SUMMARY ")]
    if not lines:
        sys.exit(f"the plain script failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("SUMMARY "))


def thermotune(folder: Path) -> dict:
    from results.schema import EpochRow, TrialRow
    from results.store import read_rows

    started = time.time()
    command = [str(Path(sys.executable).parent / "thermotune"), "submit", "digits-beta", "--root", str(folder)]
    run = subprocess.run([*command, "--set", "baseline=null"], capture_output=True, text=True)
    whole = time.time() - started
    if run.returncode != 0:
        sys.exit(f"thermotune failed with exit code {run.returncode}:\n{run.stderr[-2000:]}")
    rows = read_rows(folder / "digits-beta")
    ends = [r for r in rows if isinstance(r, TrialRow) and r.stage == "explore" and r.reason is not None]
    return {
        "seconds": max(r.reported_at for r in ends).timestamp() - started,
        "whole_command_s": whole,
        "best_val_accuracy": max(r.value for r in ends if r.state == "COMPLETED"),
        "trials": len(ends),
        "epochs": sum(1 for r in rows if isinstance(r, EpochRow) and r.stage == "explore"),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "optuna", "mlflow"))
    print(f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"{packages}; load {os.getloadavg()[0]:.1f}; {rounds} rounds, interleaved")
    times: dict[str, list[float]] = {"thermotune": [], "plain Ray Tune": []}
    for _ in range(rounds):
        for name, run in (("thermotune", thermotune), ("plain Ray Tune", plain)):
            folder = Path(tempfile.mkdtemp())
            result = run(folder)
            shutil.rmtree(folder, ignore_errors=True)
            times[name].append(result["seconds"])
            print(name, {k: round(v, 4) for k, v in result.items()}, flush=True)
    ours, theirs = (statistics.median(times[name]) for name in times)
    print(f"median: thermotune {ours:.1f} s, plain Ray Tune {theirs:.1f} s, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
