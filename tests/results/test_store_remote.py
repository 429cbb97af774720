"""Records on an object store: rows wait while it is slow or away, and arrive once."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from results import places
from results.errors import Held
from results.places import RemotePath, names_in
from results.schema import AnyRow
from results.store import RecordWriter, compact, live_files, part_count, read_rows, table_dir
from results.store import writer as writing
from tests.results.record_rows import decision, epoch, fill, session_row, trial
from tests.s3 import Proxy
from trainables.storage import patiently


@pytest.fixture
def study(bucket: str, tmp_path: Path) -> RemotePath:
    return RemotePath(bucket) / "records" / tmp_path.name


@pytest.fixture
def proxy(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """All requests go through it, and fail quickly."""
    made = Proxy(os.environ["AWS_ENDPOINT_URL"])
    through = fs.S3FileSystem(
        region="us-east-1",
        endpoint_override=made.address,
        request_timeout=2.0,
        background_writes=False,
        allow_delayed_open=True,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
    monkeypatch.setattr(places, "_s3", lambda bucket: through)
    yield made
    made.close()


def stored(study: RemotePath) -> set[str]:
    """Names of the objects of a study, asked of the store itself."""
    direct = fs.S3FileSystem(region="us-east-1", endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    found = direct.get_file_info(fs.FileSelector(study.key, recursive=True, allow_not_found=True))
    return {info.base_name for info in found if info.is_file}


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_rows_are_written_merged_and_read_back(study: RemotePath) -> None:
    rows: list[AnyRow] = [session_row(1), trial(2), epoch(3), decision(4)]
    writer = RecordWriter(study, session="s0001")
    for row in rows:
        writer.append(row)
    writer.close()
    assert read_rows(study) == rows
    assert names_in(table_dir(study, "epochs")) == ["part-000001-s0001-sedt.parquet"]
    assert read_rows(study.parent / "nothing-here") == []
    other = study / "other"
    rows = fill(other)
    compact(other)
    assert part_count(other) == 0
    assert read_rows(other) == rows
    assert names_in(table_dir(other, "epochs")) == ["compact-000001-000005.parquet"]


def test_the_driver_does_not_wait_for_a_slow_store(study: RemotePath, proxy: Proxy) -> None:
    writer = RecordWriter(study, session="s0001")
    proxy.delay_s = 0.5
    for seq in range(1, 402):
        writer.append(epoch(seq))
    assert writer.waiting == 401, "who had waited for 200 rows to be written would have seen that"
    wait_until(lambda: writer.waiting <= 201)
    proxy.delay_s = 0.0
    writer.close()
    assert writer.waiting == 0
    assert [row.seq for row in read_rows(study)] == list(range(1, 402))
    assert len(live_files(study)["epochs"]) <= 3


def test_rows_are_written_though_no_more_come(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FLUSH_AFTER_S", 0.2)
    writer = RecordWriter(study, session="s0001")
    writer.append(epoch(1))

    def between_events() -> bool:
        writer.flush_if_due()
        return writer.waiting == 0

    assert not between_events()
    wait_until(between_events)
    assert [row.seq for row in read_rows(study)] == [1]


def test_while_the_store_is_away_rows_wait_and_then_arrive_once(
    study: RemotePath, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "FLUSH_AFTER_S", 0.1)
    writer = RecordWriter(study, session="s0001")
    writer.append(epoch(1))
    writer.flush()
    proxy.cut()
    writer.append(epoch(2))
    writer.append(trial(3))
    began = time.monotonic()
    with pytest.raises(OSError, match="NETWORK"):
        writer.flush()
    assert time.monotonic() - began < 10
    for seq in range(4, 9):
        writer.append(epoch(seq))
        time.sleep(0.05)
        writer.flush_if_due()
    assert writer.waiting == 7
    proxy.mend()

    def written() -> bool:
        writer.flush_if_due()
        return writer.waiting == 0

    wait_until(written)
    assert [row.seq for row in read_rows(study)] == list(range(1, 9))
    writer.close()


def test_an_upload_whose_answer_was_lost_is_not_there_twice(study: RemotePath, proxy: Proxy) -> None:
    """The store has the rows, and the driver does not know; meanwhile more come."""
    writer = RecordWriter(study, session="s0001")
    for row in (epoch(1), trial(2)):
        writer.append(row)
    proxy.swallows = True
    failed = []

    def flush() -> None:
        try:
            writer.flush()
        except OSError as error:
            failed.append(error)

    upload = threading.Thread(target=flush)
    upload.start()
    wait_until(lambda: stored(study) == {"part-000001-s0001-et.parquet"})
    proxy.cut()
    upload.join()
    assert failed
    assert writer.waiting == 2
    proxy.swallows = False
    proxy.mend()
    writer.append(decision(3))
    writer.close()
    assert [row.seq for row in read_rows(study)] == [1, 2, 3]


@pytest.mark.slow
def test_a_large_object_whose_upload_breaks_off_does_not_appear(study: RemotePath, proxy: Proxy) -> None:
    """An upload in several requests: pyarrow, when it gives up, still tells the store to make do with those it has."""
    content = os.urandom(30 * 2**20)
    proxy.cut_after_bytes = 18 * 2**20
    with pytest.raises(OSError, match="NETWORK"):
        (study / "large").write_bytes(content)
    gc.collect()
    assert not patiently((study / "large").exists)  # a connection that was cut may be tried first
    (study / "large").write_bytes(content)
    assert (study / "large").read_bytes() == content
    assert names_in(study) == ["large"]


def test_a_store_that_stays_away_is_an_error_in_the_end(
    study: RemotePath, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "FLUSH_AFTER_S", 0.05)
    monkeypatch.setattr(writing, "TROUBLE_S", 0.5)
    writer = RecordWriter(study, session="s0001")
    proxy.cut()
    writer.append(epoch(1))
    began = time.monotonic()
    with pytest.raises(OSError, match="NETWORK"):
        wait_until(lambda: writer.flush_if_due() is not None)
    assert time.monotonic() - began > 0.5
    assert writer.waiting == 1


def test_who_lost_the_study_hears_of_it_at_the_next_row(study: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FLUSH_STATE_AFTER_S", 0.0)

    def may_write() -> None:
        raise Held("another driver")

    writer = RecordWriter(study, session="s0001", may_write=may_write)
    writer.append(trial(1))
    with pytest.raises(Held, match="another driver"):
        wait_until(lambda: writer.flush_if_due() is not None)
    assert names_in(study / "records") == []


def test_files_are_merged_on_the_store_while_the_session_goes_on(
    study: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MERGE_PARTS", 6)
    monkeypatch.setattr(writing, "GRACE_S", 0.0)
    writer = RecordWriter(study, session="s0001")
    for seq in range(1, 31):
        writer.append(epoch(seq))
        writer.flush()
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "records-merge"])
    assert part_count(study) < 30
    writer.close()
    assert [row.seq for row in read_rows(study)] == list(range(1, 31))
    assert [path.name for path in live_files(study)["epochs"]] == names_in(table_dir(study, "epochs"))
