"""Places: local folders and a real S3 interface (moto's server)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results.errors import RootUnreadable
from results.places import (
    Place,
    RemotePath,
    names_by_folder,
    names_in,
    place,
    publish,
    reason,
    remove_tree,
    write_whole,
)


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "s3":
        bucket: str = request.getfixturevalue("bucket")
        yield place(f"s3://{bucket}/{tmp_path.name}")
    else:
        yield tmp_path


def test_what_is_published_is_read_back_and_listed(folder: Place) -> None:
    publish({folder / "b": b"two", folder / "a": b"one"})
    assert (folder / "a").read_bytes() == b"one"
    assert (folder / "b").read_text() == "two"
    assert names_in(folder) == ["a", "b"]
    assert (folder / "a").is_file()
    assert (folder / "a").exists()
    assert not (folder / "a").is_dir()
    assert folder.is_dir()


def test_a_file_is_replaced_whole(folder: Place) -> None:
    write_whole(folder / "study.yaml", "a: 1\n")
    write_whole(folder / "study.yaml", "b: 2\n")
    assert (folder / "study.yaml").read_text() == "b: 2\n"
    assert names_in(folder) == ["study.yaml"]


def test_what_is_missing_is_said_as_for_files(folder: Place) -> None:
    assert names_in(folder / "nothing") == []
    assert not (folder / "nothing").exists()
    with pytest.raises(FileNotFoundError):
        (folder / "nothing").read_bytes()
    with pytest.raises(FileNotFoundError):
        list((folder / "nothing").iterdir())
    with pytest.raises(FileNotFoundError):
        (folder / "nothing").unlink()
    (folder / "nothing").unlink(missing_ok=True)
    remove_tree(folder / "nothing")


def test_an_object_that_goes_while_it_is_read_is_missing(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = RemotePath(bucket) / "going"
    path.write_bytes(b"1")
    real = path._file_system()

    class GoesOnceItsSizeIsKnown:
        def open_input_file(self, key: str) -> object:
            stream = real.open_input_file(key)
            real.delete_file(key)
            return stream

        def get_file_info(self, key: str) -> object:
            return real.get_file_info(key)

    monkeypatch.setattr(RemotePath, "_file_system", lambda path: GoesOnceItsSizeIsKnown())
    with pytest.raises(FileNotFoundError, match="lab/going"):
        path.read_bytes()


def test_a_tree_is_removed(folder: Place) -> None:
    (folder / "t").mkdir()
    publish({folder / "t" / "x": b"1"})
    (folder / "t" / "u").mkdir()
    publish({folder / "t" / "u" / "y": b"2"})
    assert names_in(folder / "t") == ["u", "x"]
    remove_tree(folder / "t")
    assert names_in(folder / "t") == []


def test_a_failed_write_leaves_no_drafts_and_can_be_done_again(tmp_path: Path) -> None:
    files: dict[Place, bytes] = {tmp_path / "a": b"1", tmp_path / "missing" / "b": b"2"}
    with pytest.raises(OSError, match="directory"):
        publish(files)
    assert names_in(tmp_path) == []
    (tmp_path / "missing").mkdir()
    publish(files)
    assert (tmp_path / "missing" / "b").read_bytes() == b"2"


def test_what_confirms_right_before_the_names_can_keep_them_back(folder: Place) -> None:
    def refuse() -> None:
        assert names_in(folder) in ([], [".a.tmp"])
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        publish({folder / "a": b"1"}, refuse)
    assert names_in(folder) == []


def test_large_objects_are_whole_and_leave_no_drafts(bucket: str) -> None:
    root, content = RemotePath(bucket) / "large", bytes(range(256)) * 50_000
    (root / "object").write_bytes(content)
    assert (root / "object").read_bytes() == content
    assert names_in(root) == ["object"]


def test_names_are_listed_by_folder(folder: Place) -> None:
    assert names_by_folder(folder / "records") == {}
    for table in ("epochs", "trials"):
        (folder / "records" / table).mkdir(parents=True)
        publish({folder / "records" / table / name: b"" for name in ("b", "a")})
    assert names_by_folder(folder / "records") == {"epochs": ["a", "b"], "trials": ["a", "b"]}


def test_why_a_store_cannot_be_used_is_said_in_few_words(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="NO_SUCH_BUCKET") as missing:
        (RemotePath("no-such-bucket") / "x").write_bytes(b"1")
    assert reason(missing.value) == "there is no such bucket"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="127") as away:  # another bucket: file systems are kept
        (RemotePath("unreachable") / "x").read_bytes()
    assert reason(away.value) == "the store does not answer"
    assert reason(OSError(28, "No space left on device")) == "No space left on device"
    assert "refused by somebody" in reason(
        OSError("AWS Error NEW_CODE during PutObject operation: refused by somebody")
    )


def test_addresses_are_checked_and_keys_are_never_repeated() -> None:
    assert place("runs") == Path("runs")
    assert place("s3://lab/runs/") == RemotePath("lab/runs")
    for wrong in ("s3://", "s3://lab/../x", "s3://lab//x", "gs://lab"):
        with pytest.raises(RootUnreadable):
            place(wrong)
    for secret in ("s3://me:topsecret@lab/runs", "s3://lab/runs?secret_key=topsecret", "ftp://me:topsecret@host"):
        with pytest.raises(RootUnreadable) as error:
            place(secret)
        assert "topsecret" not in str(error.value)
