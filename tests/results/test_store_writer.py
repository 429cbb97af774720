"""The writer: when rows are written, and that what fails or is killed is written once or not at all."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from results import places
from results.errors import Held
from results.schema import EpochRow
from results.store import RecordWriter, compact, read_rows, read_to_continue, table_dir
from tests.results.record_rows import decision, epoch, session_row, trial


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"trial": None}, TypeError, "trial"),
        ({"trial": 3}, TypeError, "trial"),
        ({"epoch": 1.5}, TypeError, "integer"),
        ({"epoch": 2**31}, ValueError, "epoch"),
        ({"epoch_time_s": "fast"}, TypeError, "epoch_time_s"),
        ({"reported_at": datetime(2026, 1, 1)}, ValueError, "time zone"),
        ({"metrics": {"val/f1": 1.0}}, ValueError, "val/f1"),
    ],
)
def test_a_bad_row_is_refused_and_harms_no_other(tmp_path, change, error, word):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    values = {name: getattr(epoch(2), name) for name in EpochRow.__dataclass_fields__ if name != "table"}
    with pytest.raises(error, match=word):
        writer.append(EpochRow(**{**values, **change}))
    writer.append(epoch(3))
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 3]


def test_append_writes_by_itself_at_200_rows(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    for seq in range(1, 200):
        writer.append(epoch(seq))
    assert read_rows(tmp_path) == []
    writer.append(epoch(200))
    assert len(read_rows(tmp_path)) == 200
    assert writer.waiting == 0


def test_append_writes_by_itself_when_the_oldest_row_waited_long(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    clock[0] += 4.9
    writer.append(epoch(2))
    assert read_rows(tmp_path) == []
    clock[0] += 0.1
    writer.append(epoch(3))
    assert len(read_rows(tmp_path)) == 3
    clock[0] += 4.0
    writer.append(epoch(4))
    assert len(read_rows(tmp_path)) == 3


def test_a_row_does_not_wait_for_the_next_one(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    clock[0] += 4.9
    writer.flush_if_due()
    assert read_rows(tmp_path) == []
    clock[0] += 0.1
    writer.flush_if_due()
    assert len(read_rows(tmp_path)) == 1
    clock[0] += 60.0
    monkeypatch.setattr(writer, "flush", lambda: pytest.fail("nothing waits"))
    writer.flush_if_due()


@pytest.mark.parametrize("renamed", range(5))
@pytest.mark.parametrize("merge", [False, True])
def test_a_flush_that_was_killed_on_its_way_counts_as_a_whole_or_not_at_all(tmp_path, monkeypatch, renamed, merge):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    writer.append(trial(2))
    writer.flush()
    for row in (trial(3), decision(4), epoch(5), session_row(6)):
        writer.append(row)
    real, done = Path.replace, []

    def replace(path, target):
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(target)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # who is killed tidies nothing up
    with contextlib.suppress(KeyboardInterrupt):
        writer.flush()
    monkeypatch.undo()
    there = [1, 2, 3, 4, 5, 6] if renamed == 4 else [1, 2]
    assert [row.seq for row in read_rows(tmp_path)] == there
    if merge:
        compact(tmp_path)
        assert [row.seq for row in read_rows(tmp_path)] == there
    after = RecordWriter(tmp_path, session="s0002")
    for seq in (7, 8):
        after.append(trial(seq))
        after.append(epoch(seq + 2))
        after.flush()
    compact(tmp_path)
    assert [row.seq for row in read_rows(tmp_path)] == [*there, 7, 8, 9, 10]
    assert len(list((tmp_path / "records").rglob("*.parquet"))) == (4 if renamed == 4 else 2)


@pytest.mark.parametrize("comes", ["before the next writer", "before its first flush", "after it"])
@pytest.mark.parametrize("tables", ["te", "e"])
def test_what_a_killed_writer_sent_counts_not_beside_its_successor_when_it_comes_late(tmp_path, comes, tables):
    """A store may carry out a request of a process that is dead, after the next driver has read the records."""
    killed = RecordWriter(tmp_path, session="s0001")
    killed.append(trial(1))
    killed.flush()
    _, newest = read_to_continue(tmp_path)
    for row in [trial(2), epoch(3)] if tables == "te" else [epoch(2)]:
        killed.append(row)

    def late(moment):
        if moment == comes:
            killed.flush()

    late("before the next writer")
    successor = RecordWriter(tmp_path, session="s0002", after=newest)
    late("before its first flush")
    for seq in (2, 3):
        successor.append(epoch(seq, session="s0002"))
        successor.flush()
    late("after it")
    assert [(row.seq, row.session) for row in read_rows(tmp_path)] == [(1, "s0001"), (2, "s0002"), (3, "s0002")]
    compact(tmp_path)
    assert [(row.seq, row.session) for row in read_rows(tmp_path)] == [(1, "s0001"), (2, "s0002"), (3, "s0002")]


@pytest.mark.parametrize("table", ["sessions", "epochs", "decisions", "trials"])
@pytest.mark.parametrize("step", ["replace", "fsync folder", "write"])
def test_a_failed_write_loses_nothing_and_repeats_nothing(tmp_path, monkeypatch, table, step):
    writer = RecordWriter(tmp_path, session="s0001")
    for row in (trial(1), decision(2), epoch(3), session_row(4)):
        writer.append(row)

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    real_replace, real_sync, real_open = Path.replace, places.sync_folder, Path.open
    if step == "replace":
        monkeypatch.setattr(
            Path, "replace", lambda s, target: fail() if target.parent.name == table else real_replace(s, target)
        )
    elif step == "write":
        monkeypatch.setattr(
            Path, "open", lambda s, *a, **k: fail() if s.parent.name == table else real_open(s, *a, **k)
        )
    else:
        monkeypatch.setattr(places, "sync_folder", lambda folder: fail() if folder.name == table else real_sync(folder))
    with pytest.raises(OSError, match="No space"):
        writer.flush()
    monkeypatch.undo()
    writer.append(epoch(5))
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_flush_that_failed_is_written_again_as_it_was(tmp_path, monkeypatch):
    """It may have arrived all the same, whatever the error said; then the rows that came since must not repeat it."""
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))

    def unsafe(folder):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(places, "sync_folder", unsafe)
        with pytest.raises(OSError, match="Input"):
            writer.flush()
    assert writer.waiting == 1
    assert [row.seq for row in read_rows(tmp_path)] == [1]
    writer.append(trial(2))
    assert writer.waiting == 2
    writer.close()
    assert writer.waiting == 0
    assert read_rows(tmp_path) == [epoch(1), trial(2)]
    assert [p.name for p in table_dir(tmp_path, "epochs").iterdir()] == ["part-000001-s0001-e.parquet"]


def test_rows_wait_as_long_as_the_driver_must_not_write(tmp_path):
    allowed = [False]

    def may_write():
        if not allowed[0]:
            raise Held("another driver")

    writer = RecordWriter(tmp_path, session="s0001", may_write=may_write)
    writer.append(epoch(1))
    with pytest.raises(Held, match="another driver"):
        writer.flush()
    assert not list((tmp_path / "records").rglob("*.*"))
    assert writer.waiting == 1
    allowed[0] = True
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1]


def test_flushes_are_numbered_over_all_sessions(tmp_path):
    for session in ("s0001", "s0002"):
        writer = RecordWriter(tmp_path, session=session)
        writer.append(epoch(int(session[1:])))
        writer.close()
    assert sorted(p.name for p in table_dir(tmp_path, "epochs").iterdir()) == [
        "part-000001-s0001-e.parquet",
        "part-000002-s0002-e.parquet",
    ]


def test_rows_from_several_threads_come_once(tmp_path):
    """The watchdog of a driver closes from a thread of its own while the driver may be writing."""
    writer = RecordWriter(tmp_path, session="s0001")

    def add(first):
        for seq in range(first, first + 500):
            writer.append(epoch(seq))

    threads = [threading.Thread(target=add, args=[1 + 500 * i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert sorted(row.seq for row in read_rows(tmp_path)) == list(range(1, 2001))


def test_a_closed_writer_takes_no_row(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(epoch(1))


def test_two_writers_of_one_session_never_share_a_name(tmp_path):
    for seq in (1, 2):
        writer = RecordWriter(tmp_path, session="s0001")
        writer.append(epoch(seq))
        writer.close()
    compact(tmp_path)
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(3))
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3]


def test_leftover_temporary_files_are_invisible_and_removed(tmp_path):
    RecordWriter(tmp_path, session="s0001").close()
    leftover = table_dir(tmp_path, "epochs") / ".part-s0001-000001.parquet.tmp"
    leftover.write_bytes(b"half a fi")
    assert read_rows(tmp_path) == []
    RecordWriter(tmp_path, session="s0002").close()
    assert not leftover.exists()
