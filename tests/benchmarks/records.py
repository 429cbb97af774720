"""What the records cost: a flush, here and on an object store; merging and reading a million epochs.

The object store is moto on this machine, so its figures are those of pyarrow and of moto in Python, without a network.
Reading before and after merging is measured in turn, in one process. Prints medians, quartiles, and peak memory.
Usage: uv run python -m tests.benchmarks.records [EPOCH_ROWS] [PARTS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.encoding import columns
from results.places import Place, RemotePath
from results.schema import EpochRow
from results.store import RecordWriter, live_files, read_tables, table_dir
from results.store import writer as writing
from tests.results.record_rows import decision, epoch, trial
from tests.s3 import make_bucket, s3_server

METRICS = {"train/loss": 0.5, "train/accuracy": 0.9, "val/loss": 0.4, "val/accuracy": 0.91, "optimizer/lr": 0.1}


def milliseconds(times: list[float]) -> str:
    low, middle, high = statistics.quantiles(times, n=4)
    return f"{1e3 * middle:.1f} ms (quartiles {1e3 * low:.1f} to {1e3 * high:.1f}, n={len(times)})"


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def flushes(where: Place, label: str, number: int) -> None:
    """A flush of 20 rows in three tables, and how long the driver's loop stands still for it."""
    writer = RecordWriter(where, session="s0001")
    seq, blocking, stalls = 0, [], []
    for _ in range(number):
        for make in (*[epoch] * 18, decision, trial):
            seq += 1
            writer.append(make(seq))
        blocking.append(timed(writer.flush))
    for _ in range(number):
        for make in (*[epoch] * 18, decision):
            seq += 1
            writer.append(make(seq))
        writer._due = 0.0  # as if five seconds had gone by
        stalls.append(timed(writer.flush_if_due))
        while writer.waiting:
            writer.flush_if_due()
            time.sleep(0.001)
    writer.close()
    print(f"{label}: a flush of 20 rows in 3 tables takes {milliseconds(blocking)}")
    print(f"{label}: the driver's loop stands still for {milliseconds(stalls)} (2 tables)")


def epochs(rows: int, first: int) -> pa.Table:
    """Made-up rows of the table epochs, in its columns."""
    chance = np.random.default_rng(first)
    seq = np.arange(first, first + rows)
    texts = {"study": "demo", "session": "s0001", "arm": "search", "stage": "explore"}
    arrays = []
    for column in columns(EpochRow.table):
        if column.name == "trial":
            values = pa.array([f"t{n:05d}" for n in seq // 100])
        elif column.name in texts:
            values = pa.array([texts[column.name]] * rows)
        elif column.name == "seq":
            values = pa.array(seq)
        elif column.name == "reported_at":
            values = pa.array(seq * 1_000_000 + 1_790_000_000_000_000).cast(column.type)
        elif column.name == "epoch":
            values = pa.array(seq % 100 + 1).cast(column.type)
        elif column.type == pa.float64():
            values = (
                pa.array(chance.random(rows))
                if column.name in (*METRICS, "epoch_time_s")
                else pa.nulls(rows, pa.float64())
            )
        else:
            values = pa.array(np.ones(rows)).cast(column.type)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, schema=columns(EpochRow.table))


def lay(study: Path, rows: int, parts: int) -> None:
    """Parts of the table epochs, as so many flushes would leave them."""
    folder = table_dir(study, EpochRow.table)
    folder.mkdir(parents=True)
    for number in range(parts):
        size = rows // parts
        pq.write_table(
            epochs(size, 1 + number * size), folder / f"part-{number + 1:06d}-s0001-e.parquet", compression="zstd"
        )


def apart(code: str, *arguments: object) -> tuple[float, float]:
    """Seconds and peak memory in MiB of some code, in a process of its own, its imports left out."""
    script = (
        "import resource, sys, time; from pathlib import Path; import pyarrow.compute\n"
        "from results.store import compact, read_tables\n"
        "began = time.perf_counter(); study = Path(sys.argv[1])\n"
        f"{code}\n"
        "print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    seconds, memory = map(float, run.stdout.split())
    return seconds, memory


def merging(rows: int, parts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        lay(before, rows, parts)
        lay(after, rows, parts)
        seconds, memory = apart("compact(study)", after)
        size = sum(path.stat().st_size for path in table_dir(after, "epochs").iterdir()) / 2**20  # type: ignore[union-attr]
        print(
            f"merging {rows:,} epochs in {parts} parts: {seconds:.2f} s, peak {memory:.0f} MiB, {size:.1f} MiB on disk"
        )
        seconds, memory = apart("read_tables(study)", after)
        print(f"reading all of it as Arrow, once merged: peak {memory:.0f} MiB")
        times: dict[str, list[float]] = {"before": [], "after": []}
        for _ in range(5):
            for name, study in (("before", before), ("after", after)):
                times[name].append(timed(lambda study=study: read_tables(study)))
        for name, measured in times.items():
            print(f"reading all of it, {name} merging: {milliseconds(measured)}")
        print(f"ratio before / after: {statistics.median(times['before']) / statistics.median(times['after']):.2f}")
        names = [timed(lambda: live_files(before)) for _ in range(20)]
        print(f"which of {parts} files count: {milliseconds(names)}")


def a_week(flushes: int) -> None:
    """Small flushes, each of three parts, with merging: the work must not grow faster than their number."""
    with tempfile.TemporaryDirectory() as folder:
        writer = RecordWriter(Path(folder), session="s0001")
        stalls, seq, began = [], 0, time.perf_counter()
        for number in range(1, flushes + 1):
            for make in (epoch, epoch, decision, trial):
                seq += 1
                writer.append(make(seq))
            stalls.append(timed(writer.flush))
            if number in (flushes // 8, flushes // 4, flushes // 2, flushes):
                files = sum(map(len, live_files(Path(folder)).values()))
                print(f"{number:,} flushes: {time.perf_counter() - began:.1f} s, {files} files that count")
        stalls.sort()
        late = 1e3 * stalls[int(0.99 * len(stalls))]
        print(
            f"a flush with merges beside it: {milliseconds(stalls)}, 99 % {late:.1f}, longest {1e3 * stalls[-1]:.0f} ms"
        )
        writer.close()


def main() -> None:
    rows, parts = (int(argument) for argument in (*sys.argv[1:], "1000000", "200")[:2])
    with tempfile.TemporaryDirectory() as folder:
        flushes(Path(folder), "local", 200)
    with s3_server() as variables:
        os.environ.update(variables)
        flushes(RemotePath(make_bucket("lab", variables)) / "study", "s3 (moto)", 50)
    writing.GRACE_S = 1.0
    a_week(4000)
    merging(rows, parts)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
