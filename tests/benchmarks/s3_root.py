"""What a root on s3:// costs against a local one: the same study on both, in turn, with moto as the store.

The store is on this machine; every request and every answer to it is held up, as by a network.
Usage: uv run python -m tests.benchmarks.s3_root [ROUNDS] [DELAY_MS]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from results.places import Place, place
from results.schema import SessionRow, TrialRow
from results.store import read_rows
from tests.s3 import Proxy, make_bucket, s3_server
from tests.search.commands import thermotune
from trainables import checkpoint
from trainables.storage import Folder

STUDY = """
name: digits
recipe: {model: mlp-128-128, batch_size: 64, epochs: 27}
search: {trials: 16}
seeds: {confirm: 2}
confirm: {top: 1}
resources: {max_concurrent: 2}
"""


def study_s(root: Place, home: Path) -> tuple[float, int]:
    """Seconds of the session, and trials."""
    file = home / "digits.yaml"
    file.write_text(STUDY)
    done = thermotune(root, "submit", str(file), home=home, MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db")
    assert done.returncode == 0, done.stderr
    rows = read_rows(root / "digits")
    wall_s = max(row.wall_time_s or 0.0 for row in rows if isinstance(row, SessionRow))
    return wall_s, len({row.trial for row in rows if isinstance(row, TrialRow)})


def saves_ms(folder: Folder, parameters: int) -> float:
    """Median of a checkpoint with so many float32."""
    payload = {"weights": torch.zeros(parameters)}
    return 1e3 * statistics.median(_seconds(lambda e=e: checkpoint.save(folder, e, payload)) for e in range(1, 21))


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main(rounds: int, delay_ms: float) -> None:
    """Prints a line a round, and medians."""
    with s3_server() as variables, tempfile.TemporaryDirectory() as scratch:
        line = Proxy(variables["AWS_ENDPOINT_URL"])
        line.delay_s = delay_ms / 1e3
        os.environ.update(variables, AWS_ENDPOINT_URL=line.address)
        bucket, home = make_bucket("lab", variables), Path(scratch)
        times: dict[str, list[float]] = {"here": [], "s3": []}
        for n in range(rounds):
            for name, root in (("here", home / f"runs-{n}"), ("s3", place(f"s3://{bucket}/runs-{n}"))):
                wall_s, trials = study_s(root, home)
                times[name].append(wall_s)
                print(f"{n} {name:5} {wall_s:6.1f} s for {trials} trials", flush=True)
        here, there = (statistics.median(found) for found in times.values())
        print(f"median here {here:.1f} s, s3 {there:.1f} s: {1e3 * (there - here) / trials:+.0f} ms a trial")
        for parameters in (10_000, 100_000, 1_000_000):
            pair = [saves_ms(folder, parameters) for folder in (home / f"c-{parameters}", place(f"s3://{bucket}/c"))]
            print(f"checkpoint of {parameters * 4 / 1e6:g} MB: here {pair[0]:.1f} ms, s3 {pair[1]:.1f} ms")


if __name__ == "__main__":
    given = [*sys.argv[1:], *("3", "10")[len(sys.argv) - 1 :]]
    main(int(given[0]), float(given[1]))
