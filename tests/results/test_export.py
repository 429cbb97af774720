"""Export: what the views show, whole files, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import json
import math

import pyarrow.parquet as pq
import pytest

from results.errors import ResultsError
from results.export import ExportRefused, export_study
from results.query import Database
from results.schema import EpochRow, TrialRow
from tests.results.synthetic import Study, finished

TABLES = ("trials", "epochs", "decisions", "sessions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("export"), trials=6)


def same(found, expected):
    """Equal but for the last digit of floats: sums depend on the order in which they are added up."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
        else:
            assert found[name] == value, name


def shown(folder, table):
    return Database([folder]).arrow(f"select * from {table} order by seq")


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_every_row_and_value_comes_back(folder, tmp_path, form):
    written = export_study(folder, form, tmp_path / "out")
    assert [path.name for path in written] == [*(f"{table}.{form}" for table in TABLES), "README.md"]
    for table, path in zip(TABLES, written, strict=False):
        expected = shown(folder, table).to_pylist()
        if form == "parquet":
            found = [
                {k: v.replace(tzinfo=None) if hasattr(v, "tzinfo") else v for k, v in row.items()}
                for row in pq.read_table(path).to_pylist()
            ]
            for row, wanted in zip(found, expected, strict=True):
                same(row, wanted)
        elif form == "json":
            found = json.loads(path.read_text())
            assert [row["study"] for row in found] == [row["study"] for row in expected]
            for row, wanted in zip(found, expected, strict=True):
                known = {
                    name: value
                    for name, value in wanted.items()
                    if isinstance(value, (int, float, str))
                    and not (isinstance(value, float) and not math.isfinite(value))
                }
                same({name: row[name] for name in known}, known)
        else:
            with path.open(newline="") as file:
                found = list(csv.DictReader(file))
            assert len(found) == len(expected)
            for row, wanted in zip(found, expected, strict=True):
                for name, value in wanted.items():
                    if isinstance(value, float) and not math.isnan(value):
                        same({name: float(row[name])}, {name: value})
                    elif value is None:
                        assert row[name] == ""


def test_parquet_says_what_its_columns_are_and_that_times_are_utc(folder, tmp_path):
    path, *_ = export_study(folder, "parquet", tmp_path, table="epochs")
    schema = pq.read_schema(path)
    assert schema.field("val/loss").metadata[b"doc"].endswith(b"nats")
    assert str(schema.field("reported_at").type) == "timestamp[us, tz=UTC]"
    text = (tmp_path / "README.md").read_text()
    assert "## epochs.parquet" in text
    assert all(f"| {name.replace('_', chr(92) + '_')} |" in text for name in schema.names)


def evil_study(tmp_path):
    """A study whose texts are formulas, and whose numbers are not finite."""
    study = Study(tmp_path, trials=1)
    study.begin()
    trial = study.propose("search")
    common = {"trial": trial, "arm": "search", "stage": "explore"}
    for number, value in enumerate((math.nan, math.inf, -0.5), 1):
        study.writer.append(
            EpochRow(
                **study.common, **common, lane=0, seed=0, epoch=number, attempt=1, attempt_start=0, epoch_time_s=1.0,
                metrics={"val/loss": value},
            )
        )  # fmt: skip
    reason = '=HYPERLINK("http://evil"), "quoted"\nsecond line'
    study.writer.append(
        TrialRow(**study.common, **common, number=0, state="FAILED", attempt=1, value=-0.5, reason=reason, error="+1+1")
    )
    study.end("INTERRUPTED", "\tcmd")
    return study.folder, reason


def test_formulas_are_inert_in_csv_and_numbers_stay_numbers(tmp_path):
    folder, reason = evil_study(tmp_path)
    written = export_study(folder, "csv", tmp_path / "out")
    (trial,) = csv.DictReader(written[0].open(newline=""))
    assert (trial["reason"], trial["error"], trial["value"]) == (f"'{reason}", "'+1+1", "-0.5")
    assert [row["val/loss"] for row in csv.DictReader(written[1].open(newline=""))] == ["nan", "inf", "-0.5"]
    assert [row["reason"] for row in csv.DictReader(written[3].open(newline=""))] == ["'\tcmd"]


def test_json_is_valid_where_numbers_are_not_finite(tmp_path):
    folder, reason = evil_study(tmp_path)
    written = export_study(folder, "json", tmp_path / "out")
    strict = json.loads(written[1].read_text(), parse_constant=pytest.fail)
    assert [row["val/loss"] for row in strict] == [None, None, -0.5]
    (trial,) = json.loads(written[0].read_text())
    assert trial["reason"] == reason
    assert trial["created_at"].endswith("Z")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_study_without_rows_gives_files_without_rows(tmp_path, form):
    study = Study(tmp_path)
    study.writer.close()
    written = export_study(study.folder, form, tmp_path / "out")
    text = written[0].read_text()
    assert json.loads(text) == [] if form == "json" else text.startswith('"study","trial"')
    assert text.count("\n") == 1


def test_nothing_is_replaced_unless_asked_for(folder, tmp_path):
    export_study(folder, "csv", tmp_path, table="trials")
    (tmp_path / "trials.csv").write_text("mine")
    with pytest.raises(ExportRefused, match=r"trials\.csv is there"):
        export_study(folder, "csv", tmp_path, table="trials")
    assert (tmp_path / "trials.csv").read_text() == "mine"
    export_study(folder, "csv", tmp_path, table="trials", force=True)
    assert (tmp_path / "trials.csv").read_text() != "mine"


def test_a_single_table_may_go_into_a_file(folder, tmp_path):
    assert export_study(folder, "csv", tmp_path / "a.csv", table="trials") == (tmp_path / "a.csv",)
    with pytest.raises(ExportRefused, match="must hold one table"):
        export_study(folder, "csv", tmp_path / "b.csv")
    with pytest.raises(ExportRefused, match=r"end with \.csv"):
        export_study(folder, "csv", tmp_path / "b.json", table="trials")


def test_a_write_that_fails_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    import results.export as module

    def fails(schema, batches):
        yield b"half of it"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "csv_pieces", fails)
    with pytest.raises(ExportRefused, match="No space left"):
        export_study(folder, "csv", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_place_that_is_a_file_is_a_message(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="must be writable"):
        export_study(folder, "csv", tmp_path / "file" / "out")
