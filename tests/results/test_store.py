"""Records: what was acknowledged is read back once, whatever happens to the writer."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import store
from results.errors import RecordsUnreadable
from results.schema import METRICS, ROW_TYPES, DecisionRow, EpochRow, SessionRow, TrialRow, arrow_schema
from results.store import RecordWriter, compact, part_count, read_rows, read_tables, table_dir

NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)


def common(seq, session="s0001"):
    return {"study": "demo", "session": session, "seq": seq, "reported_at": NOW}


def epoch(seq, *, trial="t0001", number=None, session="s0001", metrics=None):
    return EpochRow(
        **common(seq, session),
        trial=trial,
        arm="search",
        stage="explore",
        lane=0,
        seed=2**40,
        epoch=number or seq,
        attempt=1,
        attempt_start=0,
        epoch_time_s=0.5,
        metrics={"val/accuracy": 0.9} if metrics is None else metrics,
    )


def trial(seq, state="PENDING", **values):
    return TrialRow(
        **common(seq), trial="t0001", arm="search", stage="explore", number=0, state=state, attempt=1, **values
    )


def session_row(seq):
    return SessionRow(
        **common(seq), state="RUNNING", host="h", pid=2**33, slots=4, command="c", environment="{}", reason="\u00e9 |\n"
    )


def decision(seq):
    return DecisionRow(
        **common(seq), trial="t0001", arm="search", rung=1, value=0.5, cutoff=None, rank=1, n=1, verdict="CONTINUE"
    )


def test_every_kind_of_row_is_read_back_as_it_was(tmp_path):
    rows = [
        session_row(1),
        trial(2, coordinates='{"loss.beta": 1.0}', value=None, error=""),
        epoch(3, metrics={name: i + 0.25 for i, name in enumerate(METRICS)}),
        decision(4),
        trial(5, "COMPLETED", epochs=3, value=0.5),
    ]
    writer = RecordWriter(tmp_path, session="s0001")
    for row in rows:
        writer.append(row)
    writer.close()
    assert read_rows(tmp_path) == rows


def test_columns_on_disk_are_those_of_the_schema(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    for row in (session_row(1), trial(2), epoch(3), decision(4)):
        writer.append(row)
    writer.close()
    for table in ROW_TYPES:
        (path,) = table_dir(tmp_path, table).iterdir()
        assert path.name == "part-s0001-000001-sedt.parquet"
        found = pq.read_schema(path)
        assert found.equals(arrow_schema(table))
        assert found.metadata == arrow_schema(table).metadata
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_nan_and_infinity_survive(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1, metrics={"train/loss": float("nan"), "val/loss": float("inf")}))
    writer.close()
    (row,) = read_rows(tmp_path)
    assert row.metrics["train/loss"] != row.metrics["train/loss"]
    assert row.metrics["val/loss"] == float("inf")


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))), min_size=1, max_size=20),
    value=st.one_of(st.none(), st.floats(allow_nan=False)),
)
def test_any_text_and_number_survives(texts, value, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    rows = [trial(i, reason=text, value=value) for i, text in enumerate(texts, start=1)]
    writer = RecordWriter(folder, session="s0001")
    for row in rows:
        writer.append(row)
    writer.close()
    assert read_rows(folder) == rows


def test_rows_come_back_in_order_of_arrival(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    for seq in (1, 2):
        writer.append(epoch(seq))
        writer.append(trial(seq + 10))
        writer.flush()
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 11, 12]


def test_times_are_kept_to_the_microsecond_in_any_zone(tmp_path):
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(TrialRow(**{**common(1), "reported_at": there}, trial="t", arm="a", stage="explore", number=0,
                           state="PENDING", attempt=0))  # fmt: skip
    writer.close()
    assert read_rows(tmp_path)[0].reported_at == NOW


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
    monkeypatch.setattr(store.time, "monotonic", lambda: clock[0])
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
    monkeypatch.setattr(store.time, "monotonic", lambda: clock[0])
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


@pytest.mark.parametrize("table", ["sessions", "epochs", "decisions", "trials"])
@pytest.mark.parametrize("step", ["replace", "fsync folder", "write"])
def test_a_failed_write_loses_nothing_and_repeats_nothing(tmp_path, monkeypatch, table, step):
    writer = RecordWriter(tmp_path, session="s0001")
    for row in (trial(1), decision(2), epoch(3), session_row(4)):
        writer.append(row)

    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    real_replace, real_sync, real_open = Path.replace, store._sync_folder, Path.open
    if step == "replace":
        monkeypatch.setattr(
            Path, "replace", lambda s, target: fail() if target.parent.name == table else real_replace(s, target)
        )
    elif step == "write":
        monkeypatch.setattr(
            Path, "open", lambda s, *a, **k: fail() if s.parent.name == table else real_open(s, *a, **k)
        )
    else:
        monkeypatch.setattr(store, "_sync_folder", lambda folder: fail() if folder.name == table else real_sync(folder))
    with pytest.raises(OSError, match="No space"):
        writer.flush()
    monkeypatch.undo()
    writer.append(epoch(5))
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert not list(tmp_path.rglob("*.tmp"))


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


def test_a_study_without_records_is_empty(tmp_path):
    assert read_rows(tmp_path) == []
    assert {table: data.schema for table, data in read_tables(tmp_path).items()} == {
        table: arrow_schema(table) for table in ROW_TYPES
    }


def test_leftover_temporary_files_are_invisible_and_removed(tmp_path):
    RecordWriter(tmp_path, session="s0001").close()
    leftover = table_dir(tmp_path, "epochs") / ".part-s0001-000001.parquet.tmp"
    leftover.write_bytes(b"half a fi")
    assert read_rows(tmp_path) == []
    RecordWriter(tmp_path, session="s0002").close()
    assert not leftover.exists()


def write_part(tmp_path, metadata, *, name="part-s0001-000001.parquet", table="epochs", columns=None):
    folder = table_dir(tmp_path, table)
    folder.mkdir(parents=True, exist_ok=True)
    data = pa.table(columns or {"seq": [1]}).replace_schema_metadata(metadata)
    pq.write_table(data, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: write_part(p, {"thermotune_schema": "2"}), ["schema 2", "Update thermotune"]),
        (lambda p: write_part(p, None), ["not from thermotune"]),
        (lambda p: write_part(p, {"thermotune_schema": "1"}), ["lacks", "trial"]),
        (lambda p: write_part(p, {"thermotune_schema": "1"}, name="mine.parquet"), ["foreign name"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, words):
    path = make(tmp_path)
    with pytest.raises(RecordsUnreadable) as caught:
        read_rows(tmp_path)
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_a_damaged_file_is_named(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    writer.close()
    (path,) = table_dir(tmp_path, "epochs").iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordsUnreadable, match=r"part-s0001-000001-e\.parquet is damaged"):
        read_rows(tmp_path)


def test_a_column_of_another_type_is_refused(tmp_path):
    columns = {n: ["x"] for n in arrow_schema("epochs").names}
    write_part(tmp_path, {"thermotune_schema": "1"}, columns=columns)
    with pytest.raises(RecordsUnreadable, match="types"):
        read_rows(tmp_path)


def test_columns_newer_than_a_file_are_null_and_unknown_ones_left_out(tmp_path):
    writer = RecordWriter(tmp_path, session="s0001")
    writer.append(epoch(1))
    writer.close()
    (path,) = table_dir(tmp_path, "epochs").iterdir()
    old = pq.read_table(path).drop_columns(["optimizer/lr"])
    old = old.append_column("stranger", pa.array([1]))
    pq.write_table(old, path)
    assert read_rows(tmp_path) == [epoch(1)]


def fill(folder, parts=5):
    writer = RecordWriter(folder, session="s0001")
    for seq in range(1, parts + 1):
        writer.append(epoch(2 * seq - 1))
        writer.append(trial(2 * seq))
        writer.flush()
    writer.close()
    return read_rows(folder)


def test_compaction_keeps_every_row_in_one_file_a_table(tmp_path):
    rows = fill(tmp_path)
    assert part_count(tmp_path) == 10
    compact(tmp_path)
    assert read_rows(tmp_path) == rows
    assert [p.name for p in table_dir(tmp_path, "epochs").iterdir()] == ["compact-000001.parquet"]
    assert part_count(tmp_path) == 0


def test_compaction_again_takes_in_what_came_since(tmp_path):
    fill(tmp_path)
    compact(tmp_path)
    writer = RecordWriter(tmp_path, session="s0002")
    writer.append(epoch(90, session="s0002"))
    writer.close()
    rows = read_rows(tmp_path)
    compact(tmp_path)
    compact(tmp_path)
    assert read_rows(tmp_path) == rows
    assert [p.name for p in table_dir(tmp_path, "epochs").iterdir()] == ["compact-000002.parquet"]


@pytest.mark.parametrize("deletions", range(6))
def test_parts_left_over_by_a_killed_compaction_count_once(tmp_path, monkeypatch, deletions):
    rows = fill(tmp_path)
    real, done = Path.unlink, []

    def unlink(path, missing_ok=False):
        if path.name.startswith("part-"):
            if len(done) == deletions:
                raise KeyboardInterrupt
            done.append(path)
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with contextlib.suppress(KeyboardInterrupt):
        compact(tmp_path)
    monkeypatch.undo()
    assert read_rows(tmp_path) == rows
    writer = RecordWriter(tmp_path, session="s0002")
    writer.append(epoch(90, session="s0002"))
    writer.close()
    compact(tmp_path)
    assert read_rows(tmp_path) == [*rows, epoch(90, session="s0002")]


def test_a_reader_looks_again_when_compaction_removes_files_under_its_eyes(tmp_path, monkeypatch):
    rows = fill(tmp_path)
    real, first = store._read, []

    def read(path):
        if not first:
            first.append(path)
            compact(tmp_path)
        return real(path)

    monkeypatch.setattr(store, "_read", read)
    assert read_rows(tmp_path) == rows


def test_writing_and_reading_import_no_pandas(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from pathlib import Path\n"
        "from results.store import RecordWriter, read_rows, compact\n"
        "from tests.results.test_store import session_row, epoch\n"
        "folder = Path(sys.argv[1]); writer = RecordWriter(folder, session='s0001')\n"
        "writer.append(session_row(1)); writer.append(epoch(2)); writer.flush(); writer.append(epoch(3))\n"
        "writer.close(); compact(folder); assert len(read_rows(folder)) == 3; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tests.results.test_store import epoch, trial
from results.store import RecordWriter, compact, part_count
folder, session, seq = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
while True:
    writer = RecordWriter(folder, session=session)
    for _ in range(12):
        for _ in range(3):
            seq += 1
            writer.append(epoch(seq, session=session))
        seq += 1
        writer.append(trial(seq))
        writer.flush()
        print(seq, flush=True)
    writer.close()
    if part_count(folder) > 20:
        compact(folder)
"""


@pytest.mark.slow
def test_killed_writers_lose_no_acknowledged_row_and_repeat_none(tmp_path):
    """Twenty kills at random moments, among them during compaction; a reader works all the time."""
    chance = random.Random(7)
    script = WRITER.format(tests=str(Path(__file__).parents[2]))
    acknowledged, kills, compactions = 0, 0, 0
    while kills < 20:
        last = max((row.seq for row in read_rows(tmp_path)), default=0)
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), f"s{kills + 1:04d}", str(last)], stdout=subprocess.PIPE
        )
        first = process.stdout.readline()
        deadline = time.monotonic() + chance.uniform(0.0, 0.35)
        while time.monotonic() < deadline:
            seen = [row.seq for row in read_rows(tmp_path)]
            assert len(seen) == len(set(seen))
        os.kill(process.pid, signal.SIGKILL)
        lines = [first, *process.stdout.read().splitlines()]
        process.wait()
        acknowledged = int([line for line in lines if line.strip()][-1])
        kills += 1
        seqs = [row.seq for row in read_rows(tmp_path)]
        assert acknowledged > last, "nothing was acknowledged before the kill"
        assert len(seqs) == len(set(seqs))
        assert set(range(1, acknowledged + 1)) <= set(seqs)
        compactions += bool(list(table_dir(tmp_path, "epochs").glob("compact-*")))
    assert compactions
