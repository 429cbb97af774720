"""How fast a finished study reaches MLflow, and how fast it is compared: ``python -m tests.benchmarks.mirror_speed``.

A made-up study of 1000 trials of 27 epochs, sent to a fresh store each time: SQLite directly, and an MLflow server with
four workers over SQLite. A look is a pass that finds nothing to send.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from results.query import StudyView
from results.tracking import check, sync
from tests.results.synthetic import Study
from tests.results.tracking.servers import server

T = TypeVar("T")


class Unstopped(Study):
    """Every trial is trained to its end."""

    def _stops(self, trial: str, arm: str, rung: int, value: float) -> bool:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        study = Unstopped(root, trials=trials // 2)
        study.begin()
        study.explore()
        study.end()
        seconds, _ = timed(lambda: StudyView(study.folder).epoch_means)
        print(f"{trials} trials, load average {os.getloadavg()[0]:.1f}; reading the records: {seconds:.2f} s")
        measure("SQLite", study.folder, f"sqlite:///{root / 'direct.db'}")
        with server(root, f"sqlite:///{root / 'served.db'}", workers=4) as served:
            measure("server, 4 workers", study.folder, served.uri)


def measure(name: str, folder: Path, uri: str) -> None:
    sending, sent = timed(lambda: sync(folder, uri))
    looking, nothing = timed(lambda: sync(folder, uri))
    comparing, found = timed(lambda: check(folder, uri))
    assert not found.differences
    assert nothing.metrics == 0
    speed = sent.metrics / sending
    print(
        f"{name}: {sent.metrics} values of {sent.runs} runs in {sending:.1f} s = {speed:.0f} values/s; "
        f"a look {looking:.1f} s; compared in {comparing:.1f} s"
    )


def timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
