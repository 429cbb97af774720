"""Compaction: every row stays, once, in few files, whatever happens on the way."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import places
from results.errors import Held
from results.schema import AnyRow
from results.store import RecordWriter, compact, compaction, live_files, part_count, read_rows, read_tables, table_dir
from results.store import writer as writing
from results.store.files import RecordFile
from tests.results.record_rows import epoch, fill, trial


def names(folder: Path, table: str = "epochs") -> list[str]:
    return sorted(path.name for path in (folder / "records" / table).iterdir())


def test_compaction_keeps_every_row_in_one_file_a_table(tmp_path: Path) -> None:
    rows = fill(tmp_path)
    assert part_count(tmp_path) == 10
    compact(tmp_path)
    assert read_rows(tmp_path) == rows
    assert names(tmp_path) == ["compact-000001-000005.parquet"]
    assert part_count(tmp_path) == 0


def test_compaction_again_takes_in_what_came_since(tmp_path: Path) -> None:
    fill(tmp_path)
    compact(tmp_path)
    writer = RecordWriter(tmp_path, session="s0002")
    writer.append(epoch(90, session="s0002"))
    writer.close()
    rows = read_rows(tmp_path)
    compact(tmp_path)
    compact(tmp_path)
    assert read_rows(tmp_path) == rows
    assert names(tmp_path) == ["compact-000001-000006.parquet"]


@pytest.mark.parametrize("deletions", range(6))
def test_parts_left_over_by_a_killed_compaction_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    rows = fill(tmp_path)
    real, done = Path.unlink, []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("part-"):
            if len(done) >= deletions:
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


def test_a_reader_looks_again_when_compaction_removes_files_under_its_eyes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = fill(tmp_path)
    real, first = Path.read_bytes, []

    def read_bytes(path: Path) -> bytes:
        if not first:
            first.append(path)
            compact(tmp_path)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert read_rows(tmp_path) == rows


def test_a_damaged_file_stops_compaction_and_nothing_is_removed(tmp_path: Path) -> None:
    fill(tmp_path)
    (table_dir(tmp_path, "epochs") / "part-000003-s0001-et.parquet").write_bytes(b"PAR1 torn PAR1")
    before = names(tmp_path)
    with pytest.raises(Exception, match="damaged"):
        compact(tmp_path)
    assert names(tmp_path) == before


def settle(writer: RecordWriter) -> None:
    """Waits until no merge is at work."""
    for thread in [t for t in threading.enumerate() if t.name == "records-merge"]:
        thread.join()


def work(folder: Path, flushes: int, session: str = "s0001", start: int = 0) -> tuple[RecordWriter, list[AnyRow]]:
    """A session that has not ended, each of its flushes with two parts."""
    writer = RecordWriter(folder, session=session)
    rows: list[AnyRow] = []
    for number in range(flushes):
        pair = epoch(start + 2 * number + 1, session=session), trial(start + 2 * number + 2)
        rows += pair
        for row in pair:
            writer.append(row)
        writer.flush()
        settle(writer)
    return writer, rows


def test_files_are_merged_while_the_session_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 10)
    monkeypatch.setattr(writing, "GRACE_S", 0.0)
    writer, rows = work(tmp_path, 64)
    assert read_rows(tmp_path) == rows
    assert part_count(tmp_path) < 10
    assert len(live_files(tmp_path)["epochs"]) <= 10
    writer.close()
    assert read_rows(tmp_path) == rows
    assert [path.name for path in live_files(tmp_path)["epochs"]] == names(tmp_path)


def test_parts_of_short_sessions_are_merged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 10)
    rows: list[AnyRow] = []
    for session in range(12):
        writer, more = work(tmp_path, 1, f"s{session + 1:04d}", start=len(rows))
        writer.close()
        rows += more
    assert read_rows(tmp_path) == rows
    assert part_count(tmp_path) < 10


def test_merged_files_stay_for_their_readers_until_a_later_merge_or_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 10)
    writer, rows = work(tmp_path, 5)
    before = live_files(tmp_path)["epochs"]
    assert [path.name for path in before] == ["compact-000001-000005.parquet"]
    assert len(names(tmp_path)) == 6
    writer.close()
    assert names(tmp_path) == ["compact-000001-000005.parquet"]
    assert read_rows(tmp_path) == rows


def test_files_within_their_grace_survive_a_merge_and_go_with_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 4)
    writer, _ = work(tmp_path, 4)
    assert len([name for name in names(tmp_path) if name.startswith("part-")]) == 4
    monkeypatch.setattr(writing, "GRACE_S", 0.0)
    for seq in range(9, 13):
        writer.append(epoch(seq))
        writer.flush()
        settle(writer)
    assert [n for n in names(tmp_path) if n.startswith("part-")] == [
        f"part-{n:06d}-s0001-e.parquet" for n in (5, 6, 7, 8)
    ]
    writer.close()


def test_a_merge_that_fails_stops_nobody_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 10)
    monkeypatch.setattr(writing, "GRACE_S", 0.0)
    real = places.publish

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction, "publish", full)
    writer, rows = work(tmp_path, 8)
    assert part_count(tmp_path) == 16
    monkeypatch.setattr(compaction, "publish", real)
    for seq in range(17, 24):
        writer.append(epoch(seq))
        writer.flush()
        settle(writer)
    assert part_count(tmp_path) < 10
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == list(range(1, 24))
    assert read_rows(tmp_path)[:16] == rows


def test_who_has_lost_the_study_merges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 4)
    lost = threading.Event()

    def may_write() -> None:
        if lost.is_set() and threading.current_thread().name == "records-merge":
            raise Held("lost")

    writer = RecordWriter(tmp_path, session="s0001", may_write=may_write)
    lost.set()
    for seq in range(1, 7):
        writer.append(epoch(seq))
        writer.flush()
        settle(writer)
    assert part_count(tmp_path) == 6
    assert names(tmp_path) == [f"part-{n:06d}-s0001-e.parquet" for n in range(1, 7)]


def test_a_closing_driver_does_not_wait_for_a_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 4)
    pieces = []

    def slowly(groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for group in groups:
            pieces.append(group)
            time.sleep(0.01)
            yield group

    monkeypatch.setattr(compaction, "_regrouped", slowly)
    writer = RecordWriter(tmp_path, session="s0001")
    for seq in range(1, 201):
        writer.append(epoch(seq))
        writer.flush()
    writer.close()
    assert len(pieces) < 200
    assert [row.seq for row in read_rows(tmp_path)] == list(range(1, 201))
    assert not list(tmp_path.rglob("*.tmp"))


def test_compact_files_are_sorted_and_can_be_skipped_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 16)
    writer = RecordWriter(tmp_path, session="s0001")
    for seq in range(1, 101):
        writer.append(epoch(seq))
        if seq % 7 == 0:
            writer.flush()
    writer.close()
    before = read_tables(tmp_path)["epochs"]
    compact(tmp_path)
    assert read_tables(tmp_path)["epochs"].equals(before)
    (path,) = live_files(tmp_path)["epochs"]
    assert isinstance(path, Path)
    meta = pq.ParquetFile(path).metadata
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    assert [group.num_rows for group in groups] == [16] * 6 + [4]
    columns = {groups[0].column(i).path_in_schema: i for i in range(groups[0].num_columns)}
    ranges = [group.column(columns["seq"]).statistics for group in groups]
    assert [(r.min, r.max) for r in ranges] == [(1 + 16 * i, min(16 * i + 16, 100)) for i in range(7)]
    attempts = groups[0].column(columns["attempt"]).statistics
    assert (attempts.min, attempts.max) == (1, 1)


@settings(deadline=None, max_examples=40)
@given(rounds=st.lists(st.integers(1, 60), min_size=1, max_size=150))
def test_there_are_few_files_and_every_flush_is_rewritten_few_times(rounds: list[int]) -> None:
    """Parts come and are merged in rounds of any size: both grow with the logarithm of their number only."""
    files: list[RecordFile] = []
    written = number = 0
    for parts in rounds:
        files += [RecordFile.of(f"part-{number + i:06d}-s0001-e.parquet", "") for i in range(1, parts + 1)]
        number += parts
        merged = list(compaction.worth_merging(files))
        if merged:
            assert files[-len(merged) :] == merged, "a merge leaves no gap"
            written += merged[-1].last - merged[0].first + 1
            files = [
                *files[: -len(merged)],
                RecordFile.of(f"compact-{merged[0].first:06d}-{merged[-1].last:06d}.parquet", ""),
            ]
    logarithm = number.bit_length()
    assert sum(not file.is_part for file in files) <= logarithm + 1
    assert sum(file.is_part for file in files) <= 1
    assert written <= number * (logarithm + 1)


def test_full_compact_files_are_left_alone() -> None:
    full = RecordFile.of(f"compact-000001-{compaction.FULL_FLUSHES:06d}.parquet", "")
    last = compaction.FULL_FLUSHES
    large = RecordFile.of(f"compact-{last + 1:06d}-{2 * last - 1:06d}.parquet", "")
    parts = [RecordFile.of(f"part-{n:06d}-s0001-e.parquet", "") for n in (2 * last, 3 * last)]
    assert list(compaction.worth_merging([full, large, *parts])) == [large, *parts]
