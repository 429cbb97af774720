"""Which files count: told by their names, at one moment, whatever lies about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.errors import RecordsUnreadable
from results.places import Place, RemotePath
from results.store import RecordWriter, compact, live_files, read_rows, table_dir
from results.store import files as module
from results.store.reading import opened
from tests.results.record_rows import decision, epoch, trial


@pytest.fixture(params=["local", "s3"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "s3":
        yield RemotePath(request.getfixturevalue("bucket")) / "files" / tmp_path.name
    else:
        yield tmp_path


def lay(study: Place, table: str, *names: str) -> None:
    """Empty files: what counts is told without opening them."""
    folder = table_dir(study, table)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.parquet").write_bytes(b"")


def live(study: Place) -> dict[str, list[str]]:
    return {table: [path.stem for path in paths] for table, paths in live_files(study).items() if paths}


def test_files_come_in_order_of_arrival(study: Place) -> None:
    assert live(study) == {}
    lay(study, "epochs", "part-000010-s0002-e", "part-000009-s0001-e", "compact-000001-000008")
    assert live(study) == {"epochs": ["compact-000001-000008", "part-000009-s0001-e", "part-000010-s0002-e"]}
    assert live_files(study)["epochs"][0] == table_dir(study, "epochs") / "compact-000001-000008.parquet"


def test_a_flush_counts_as_a_whole_or_not_at_all(study: Place) -> None:
    lay(study, "epochs", "part-000001-s0001-et", "part-000002-s0001-et")
    lay(study, "trials", "part-000001-s0001-et", "part-000003-s0001-t")
    assert live(study) == {
        "epochs": ["part-000001-s0001-et"],
        "trials": ["part-000001-s0001-et", "part-000003-s0001-t"],
    }


def test_a_compact_file_counts_in_place_of_all_within_its_range(study: Place) -> None:
    lay(study, "epochs", "part-000002-s0001-et", "compact-000001-000002", "compact-000001-000004")
    lay(study, "epochs", "compact-000003-000004", "part-000005-s0002-e")
    lay(study, "trials", "part-000002-s0001-et")
    assert live(study) == {
        "epochs": ["compact-000001-000004", "part-000005-s0002-e"],
        "trials": ["part-000002-s0001-et"],  # its other half has been merged
    }


def test_what_a_driver_wrote_after_it_had_lost_the_study_does_not_count(study: Place) -> None:
    lay(study, "epochs", "part-000007-s0009-et", "part-000007-s0010-e")
    lay(study, "trials", "part-000007-s0009-et")
    assert live(study) == {"epochs": ["part-000007-s0010-e"]}


def test_a_foreign_name_is_told(study: Place) -> None:
    lay(study, "epochs", "mine")
    with pytest.raises(RecordsUnreadable, match=r"epochs/mine\.parquet has a foreign name"):
        live_files(study)


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", "/the/records")


def test_records_that_must_not_be_read_are_named_and_never_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "epochs", "part-000001-s0001-e")
    (path,) = live_files(tmp_path)["epochs"]
    wanted = r"must be readable, but /the/records is not \(Permission denied\)\. Give yourself the right"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        with pytest.raises(RecordsUnreadable, match=wanted):
            opened(path)
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(RecordsUnreadable, match=wanted):
        live_files(tmp_path)


def test_the_trouble_of_a_store_stays_an_error_that_may_pass(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OSError("AWS Error NETWORK_CONNECTION during GetObject operation: no route")

    study = RemotePath(bucket) / "away"
    monkeypatch.setattr(RemotePath, "walk", away)
    monkeypatch.setattr(RemotePath, "read_bytes", away)
    for ask in (lambda: live_files(study), lambda: opened(study / "part-000001-s0001-e.parquet")):
        with pytest.raises(OSError, match="NETWORK_CONNECTION"):
            ask()


@pytest.mark.parametrize("name", ["records", "records/epochs"])
@pytest.mark.parametrize(("target", "why"), [("itself", "symbolic links"), ("gone", "a link that leads nowhere")])
def test_a_link_that_leads_nowhere_is_no_empty_folder(tmp_path: Path, name: str, target: str, why: str) -> None:
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(link.name if target == "itself" else target)
    with pytest.raises(RecordsUnreadable, match=f"{name} is not .*{why}"):
        live_files(tmp_path)


def test_a_flush_that_is_seen_in_part_waits_for_the_next_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the tables are listed one after another, flushes 2 and 3 arrive: of 2 only the second half is seen."""
    lay(tmp_path, "epochs", "part-000001-s0001-e")
    looks = []

    def look(study: Place) -> object:
        found = dict(real(study))
        if not looks:
            lay(tmp_path, "epochs", "part-000002-s0001-e")
            lay(tmp_path, "trials", "part-000003-s0001-t")
            found["trials"] = real(study)["trials"]
        looks.append(found)
        return found

    real = module.listing
    monkeypatch.setattr(module, "listing", look)
    assert live(tmp_path) == {"epochs": ["part-000001-s0001-e"]}
    assert live(tmp_path) == {
        "epochs": ["part-000001-s0001-e", "part-000002-s0001-e"],
        "trials": ["part-000003-s0001-t"],
    }


def test_files_that_vanish_are_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "epochs", "part-000001-s0001-e", "part-000002-s0001-e")
    real, looks = module.listing, []

    def look(study: Place) -> object:
        found = real(study)
        looks.append(found)
        if len(looks) == 1:
            lay(tmp_path, "epochs", "compact-000001-000002")
            for part in table_dir(tmp_path, "epochs").glob("part-*"):
                part.unlink()
        return found

    monkeypatch.setattr(module, "listing", look)
    assert live(tmp_path) == {"epochs": ["compact-000001-000002"]}
    first = module.RecordFile.of("part-000001-s0001-e.parquet", "")
    nothing = {table: [] for table in module.TABLES.values()}
    changing = (found for _ in range(module.TRIES) for found in ({**nothing, "epochs": [first]}, nothing))
    monkeypatch.setattr(module, "listing", lambda study: next(changing))
    with pytest.raises(RecordsUnreadable, match="stay still"):
        live_files(tmp_path)


def old_file(study: Path, table: str, name: str, rows: list[object], supersedes: str = "[]") -> None:
    """As it was written before flushes were numbered over all sessions."""
    writer = RecordWriter(study / "elsewhere" / table / name, session="s0001")
    for row in rows:
        writer.append(row)  # type: ignore[arg-type]
    writer.close()
    (path,) = live_files(study / "elsewhere" / table / name)[table]
    assert isinstance(path, Path)
    data = pq.read_table(path)
    metadata = {**data.schema.metadata, b"thermotune_supersedes": supersedes.encode()}
    table_dir(study, table).mkdir(parents=True, exist_ok=True)  # type: ignore[call-arg]
    pq.write_table(data.replace_schema_metadata(metadata), table_dir(study, table) / name)  # type: ignore[arg-type]


def test_the_records_of_older_studies_are_read_and_go_on(tmp_path: Path) -> None:
    old_file(tmp_path, "epochs", "part-s0001-000001-et.parquet", [epoch(1)])
    old_file(tmp_path, "trials", "part-s0001-000001-et.parquet", [trial(2)])
    old_file(tmp_path, "epochs", "compact-000001.parquet", [epoch(1)], '["part-s0001-000001-et.parquet"]')
    old_file(tmp_path, "epochs", "part-s0002-000001-e.parquet", [epoch(3)])
    old_file(tmp_path, "epochs", "part-s0003-000001-et.parquet", [epoch(4)])  # a killed flush
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3]
    writer = RecordWriter(tmp_path, session="s0004")
    writer.append(decision(4))
    writer.append(epoch(5))
    writer.close()
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3, 4, 5]
    compact(tmp_path)
    assert [row.seq for row in read_rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert live(tmp_path)["epochs"] == ["compact-000000-000001"]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_was_merged_every_flush_counts_once(data: st.DataObject) -> None:
    """Any nest of merges, with any of what they replaced still there."""
    number = data.draw(st.integers(1, 12))
    present = [f"part-{n:06d}-s0001-e.parquet" for n in range(1, number + 1)]
    counting = [(n, n) for n in range(1, number + 1)]
    for _ in range(data.draw(st.integers(0, 4))):
        first = data.draw(st.integers(0, len(counting) - 1))
        last = data.draw(st.integers(first, len(counting) - 1))
        if last > first:
            counting[first : last + 1] = [(counting[first][0], counting[last][1])]
            present.append(f"compact-{counting[first][0]:06d}-{counting[first][1]:06d}.parquet")
    kept = [f"compact-{a:06d}-{b:06d}.parquet" if a < b else f"part-{a:06d}-s0001-e.parquet" for a, b in counting]
    removed = data.draw(st.sets(st.sampled_from([*sorted(set(present) - set(kept)), ""])))
    found = sorted(module.RecordFile.of(name, "") for name in set(present) - removed)
    nothing: dict[str, list[module.RecordFile]] = {table: [] for table in module.TABLES.values()}
    assert [f.name for f in module.counted({**nothing, "epochs": found})["epochs"]] == kept
