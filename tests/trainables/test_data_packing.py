"""Archives, full disks, killed and competing processes: a pack is complete or not there."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.pictures import digits, link, picture, write
from trainables.data import Progress, prepare


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """What cifar10 takes, in small: ten classes, 10 training images and one test image each."""
    return write(tmp_path / "small", {**digits("train", 10), **digits("test", 1)})


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


def left_in(packs: Path) -> list[str]:
    return sorted(path.name for path in packs.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("form", "top"), [("tar", None), ("gztar", "small"), ("bztar", None), ("xztar", "small"), ("zip", None)]
)
def test_an_archive_gives_the_same_pack_as_its_folder(
    tmp_path: Path, source: Path, packs: Path, form: str, top: str | None
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "small"), form, source.parent if top else source, top))
    done: list[tuple[int, int]] = []
    data = prepare("cifar10", packs, Progress(advance=lambda *here: done.append(here)), source=archive)
    assert data.digest == prepare("cifar10", tmp_path / "other", source=source).digest
    assert data.source == str(archive)
    assert done[-1] == (110, 110)
    assert left_in(packs) == ["cifar10-v2"]


@pytest.mark.parametrize("form", ["gztar", "xztar", "zip"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, source: Path, packs: Path, form: str, damage: str
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "small"), form, source))
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    if damage == "cut":
        del content[middle:]
    else:
        content[middle : middle + 400] = bytes(byte ^ 0xFF for byte in content[middle : middle + 400])
    archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"small\.\S+,? .*damaged.*Get it again"):
        prepare("cifar10", packs, source=archive)
    assert left_in(packs) == []


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, packs: Path) -> None:
    (tmp_path / "page.tar.gz").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"must be a folder or an archive .*, got .*page\.tar\.gz"):
        prepare("cifar10", packs, source=tmp_path / "page.tar.gz")


def _tar(file: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    member.size = len(content)
    with tarfile.open(file, "w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return file


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path, packs: Path) -> None:
    outside = _tar(tmp_path / "outside.tar", tarfile.TarInfo("../../evil"), b"x")
    away = tarfile.TarInfo("link")
    away.type, away.linkname = tarfile.SYMTYPE, "/etc"
    linked = _tar(tmp_path / "linked.tar", away)
    device = tarfile.TarInfo("null")
    device.type = tarfile.CHRTYPE
    zipped = tmp_path / "outside.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("../../evil", "x")
    for file in (outside, linked, _tar(tmp_path / "device.tar", device), zipped):
        with pytest.raises(ValueError, match=r"is refused: it would write outside its own folder"):
            prepare("cifar10", packs, source=file)
    assert left_in(packs) == []
    assert not list(tmp_path.parent.rglob("evil"))


def test_an_archive_of_images_to_be_streamed_is_refused_with_advice(tmp_path: Path, packs: Path) -> None:
    write(tmp_path / "photos", {"a": 20, "b": 20}, side=100)
    archive = Path(shutil.make_archive(str(tmp_path / "photos"), "tar", tmp_path / "photos"))
    with pytest.raises(ValueError, match=r"--source of imagenet must be a folder.*Unpack it first"):
        prepare("imagenet", packs, source=archive)
    assert not packs.exists()
    with pytest.raises(ValueError, match=r"photos are too large or too different to be packed.*Unpack it first"):
        prepare("photos", packs, source=archive)
    assert left_in(packs) == []


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("form", [None, "tar", "zip"])
def test_too_little_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, source: Path, packs: Path, form: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Path(shutil.make_archive(str(tmp_path / "small"), form, source)) if form else source
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10_000, 9_900, 100))
    with pytest.raises(OSError, match=r"needs 0\.00 GB, and only 0\.00 GB are free at .*THERMOTUNE_DATA"):
        prepare("cifar10", packs, source=given)
    assert left_in(packs) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 140 kB, on which the pixels of the digits just fit."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_becomes_full_is_an_error_that_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(OSError, match=r"the disk of .*disk became full while data set digits was packed"):
        prepare("digits", small_disk)
    assert left_in(small_disk) == []


def test_a_disk_that_may_only_be_read_is_an_error_that_says_what_to_do(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(PermissionError, match=r"needs .*lock, .* \(Read-only file system\)\. .*THERMOTUNE_DATA"):
        prepare("digits", small_disk)


CODE = """
import sys
from pathlib import Path
from trainables.data import prepare
print(prepare("cifar10", sys.argv[1], print, source=sys.argv[2]).digest)
"""


def test_a_half_written_pack_of_a_killed_process_is_never_used(tmp_path: Path, packs: Path) -> None:
    (tmp_path / "one.png").write_bytes(picture())
    source = link(tmp_path / "source", {**digits("train", 200), **digits("test", 1)}, tmp_path / "one.png")
    last = source / "train" / "9" / "zzz.png"
    os.mkfifo(last)  # whoever reads this file waits for ever
    process = subprocess.Popen([sys.executable, "-c", CODE, packs, source], stdout=subprocess.PIPE)
    end = time.monotonic() + 60
    while not any(file.stat().st_size > 100_000 for file in packs.glob(".cifar10-v2.*.tmp/pack/train_inputs.npy")):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (half,) = left_in(packs)
    assert half.endswith(".tmp")
    with pytest.raises(ValueError, match="dataset must be one of"):
        prepare("cifar-10", packs)
    last.unlink()
    data = prepare("cifar10", packs, source=source)
    assert data.sizes == {"train": 1800, "val": 200, "test": 10}
    assert left_in(packs) == ["cifar10-v2"]
    np.testing.assert_array_equal(data.load("train")[0][-1], data.load("train")[0][0])


def test_processes_that_prepare_at_once_share_the_work(source: Path, packs: Path) -> None:
    command = [sys.executable, "-c", CODE, packs, source]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 3
    assert sum(line.startswith("Packing") for line in lines) == 1
    assert len({line for line in lines if len(line) == 64}) == 1
    assert left_in(packs) == ["cifar10-v2"]
