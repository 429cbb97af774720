"""Writers that are killed with SIGKILL at random moments, while they merge, and while somebody reads."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from results.errors import RecordsUnreadable
from results.places import Place, RemotePath
from results.store import RecordWriter, live_files, read_rows

WRITER = """
import sys
sys.path.insert(0, {repository!r})
from tests.results.record_rows import decision, epoch, trial
from results.places import place
from results.store import RecordWriter, read_to_continue, writer as writing
writing.MERGE_PARTS, writing.GRACE_S, writing.FLUSH_ROWS = int(sys.argv[3]), 0.05, 9
rows, newest = read_to_continue(place(sys.argv[1]))
writer = RecordWriter(place(sys.argv[1]), session=sys.argv[2], after=newest)
seq = len(rows)
while True:
    for make in (epoch, epoch, decision, epoch, trial):
        seq += 1
        writer.append(make(seq))
        if writer.waiting == 0:
            print(seq, flush=True)
    if seq % 4 == 0:
        writer.flush()
        print(seq, flush=True)
"""


@dataclass
class Counts:
    """What happened."""

    kills: int = 0
    acknowledged: int = 0
    reads: int = 0
    merges: set[str] = field(default_factory=set)
    drafts: int = 0


class Reader(threading.Thread):
    """Reads all the time, and says what it saw that must never be."""

    def __init__(self, study: Place, counts: Counts) -> None:
        super().__init__(daemon=True)
        self.wrong: list[str] = []
        self.ended = threading.Event()
        self._study, self._counts = study, counts

    def run(self) -> None:
        newest = 0
        while not self.ended.is_set():
            try:
                seqs = [row.seq for row in read_rows(self._study)]
            except RecordsUnreadable as error:
                self.wrong.append(str(error))
                continue
            self._counts.reads += 1
            if seqs != list(range(1, len(seqs) + 1)):
                self.wrong.append(f"a gap or a duplicate among {len(seqs)} rows")
            if len(seqs) < newest and isinstance(self._study, Path):  # a store may carry out a dead one's last request
                self.wrong.append(f"{newest} rows, then {len(seqs)}")
            newest = len(seqs)


def kill_writers(study: Place, kills: int, *, seed: int, longest_s: float, merge_parts: int = 20) -> Counts:
    """Starts a writer, kills it within ``longest_s`` of its first acknowledged row, and starts the next."""
    chance, counts = random.Random(seed), Counts()
    script = WRITER.format(repository=str(Path(__file__).parents[2]))
    reader = Reader(study, counts)
    reader.start()
    last = 0
    while counts.kills < kills:
        arguments = [str(study), f"s{counts.kills + 1:04d}", str(merge_parts)]
        process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(chance.uniform(0.0, longest_s))
        process.kill()
        lines = [first, *process.stdout.read().splitlines()]
        process.wait()
        acknowledged = int([line for line in lines if line.strip()][-1])
        assert acknowledged > last, "nothing was acknowledged before the kill"
        seqs = [row.seq for row in read_rows(study)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) >= acknowledged, f"{acknowledged - len(seqs)} acknowledged rows are lost"
        counts.merges |= {p.name for p in live_files(study)["epochs"] if p.name.startswith("compact-")}
        if isinstance(study, Path):
            counts.drafts += len(list(study.rglob("*.tmp")))
        counts.kills += 1
        counts.acknowledged, last = acknowledged, len(seqs)
        assert not reader.wrong, reader.wrong
    reader.ended.set()
    reader.join()
    assert not reader.wrong, reader.wrong
    return counts


@pytest.mark.slow
def test_killed_writers_lose_no_acknowledged_row_and_repeat_none(tmp_path: Path) -> None:
    counts = kill_writers(tmp_path, 20, seed=7, longest_s=0.35)
    assert counts.merges
    assert counts.reads > 20
    RecordWriter(tmp_path, session="s9999").close()
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(live_files(tmp_path)["epochs"]) < 60


@pytest.mark.slow
def test_writers_to_a_store_that_are_killed_lose_no_acknowledged_row_and_repeat_none(
    bucket: str, tmp_path: Path
) -> None:
    counts = kill_writers(RemotePath(bucket) / tmp_path.name, 4, seed=11, longest_s=2.5, merge_parts=6)
    assert counts.merges
    assert counts.reads > 3


if __name__ == "__main__":
    folder, number, seed = sys.argv[1:]
    found = kill_writers(Path(folder), int(number), seed=int(seed), longest_s=0.7)
    print(
        found.kills,
        "kills,",
        found.acknowledged,
        "rows,",
        found.reads,
        "reads,",
        len(found.merges),
        "merges,",
        found.drafts,
        "drafts",
    )
