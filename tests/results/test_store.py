"""Records: what was written is read back, once and in order; what cannot be read is named."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.errors import RecordsUnreadable
from results.schema import METRICS, ROW_TYPES, TrialRow, arrow_schema
from results.store import RecordWriter, read_rows, read_tables, table_dir
from tests.results.record_rows import NOW, common, decision, epoch, session_row, trial


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
        assert path.name == "part-000001-s0001-sedt.parquet"
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


def test_a_study_without_records_is_empty(tmp_path):
    assert read_rows(tmp_path) == []
    assert {table: data.schema for table, data in read_tables(tmp_path).items()} == {
        table: arrow_schema(table) for table in ROW_TYPES
    }


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
    with pytest.raises(RecordsUnreadable, match=r"part-000001-s0001-e\.parquet is damaged"):
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


def test_writing_and_reading_import_no_pandas(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from pathlib import Path\n"
        "from results.store import RecordWriter, read_rows, compact\n"
        "from tests.results.record_rows import session_row, epoch\n"
        "folder = Path(sys.argv[1]); writer = RecordWriter(folder, session='s0001')\n"
        "writer.append(session_row(1)); writer.append(epoch(2)); writer.flush(); writer.append(epoch(3))\n"
        "writer.close(); compact(folder); assert len(read_rows(folder)) == 3; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
