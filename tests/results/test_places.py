"""Places: local folders and a real S3 interface (moto's server)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from results.errors import RootUnreadable
from results.places import Place, RemotePath, names_in, place, publish, remove_tree, write_whole


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


def test_a_tree_is_removed(folder: Place) -> None:
    (folder / "t").mkdir()
    publish({folder / "t" / "x": b"1"})
    (folder / "t" / "u").mkdir()
    publish({folder / "t" / "u" / "y": b"2"})
    assert names_in(folder / "t") == ["u", "x"]
    remove_tree(folder / "t")
    assert names_in(folder / "t") == []


def test_a_failed_write_leaves_none_of_its_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        publish({tmp_path / "a": b"1", tmp_path / "missing" / "b": b"2"})
    assert names_in(tmp_path) == []


def test_a_failed_write_leaves_none_of_its_objects(bucket: str) -> None:
    root = RemotePath(bucket) / "failed"
    with pytest.raises(OSError, match="no-such-bucket"):
        publish({root / "a": b"1", RemotePath("no-such-bucket") / "b": b"2"})
    assert names_in(root) == []


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
