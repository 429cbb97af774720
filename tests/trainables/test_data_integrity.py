"""Damaged packs, and streamed images that are gone, changed or broken: found, and mended where that can be."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.trainables.pictures import write
from trainables.data import Progress, prepare
from trainables.data.integrity import UnusablePack, check_pack, folder_of


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Two classes with 20 training and 4 test images of 8 x 8 pixels."""
    return write(tmp_path / "flowers", {"train/rose": 20, "train/tulip": 20, "test/rose": 4, "test/tulip": 4})


def _cut(folder: Path) -> None:
    file = folder / "val_inputs.npy"
    file.write_bytes(file.read_bytes()[:-10])


def _flip(folder: Path) -> None:
    file = folder / "train_inputs.npy"
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)


def _change_meta(folder: Path) -> None:
    file = folder / "meta.json"
    meta = json.loads(file.read_text())
    file.write_text(json.dumps(meta | {"mean": [0.0]}))


DAMAGES = [
    _cut,
    _flip,
    _change_meta,
    lambda folder: (folder / "test_targets.npy").unlink(),
    lambda folder: (folder / "meta.json").unlink(),
    lambda folder: (folder / "meta.json").write_text('{"format": 1, "na'),
    lambda folder: (folder / "meta.json").write_text("[1]"),
    lambda folder: (folder / "meta.json").write_text("{}"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pack_is_noticed_and_packed_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    before = prepare("digits", tmp_path)
    damage(before.folder)
    with pytest.warns(RuntimeWarning, match="packed again"):
        after = prepare("digits", tmp_path)
    assert after == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare("digits", tmp_path) == before


def test_a_copy_without_times_is_read_once_and_found_sound(tmp_path: Path) -> None:
    before = prepare("digits", tmp_path / "a")
    copy = folder_of(tmp_path / "b", "digits")
    shutil.copytree(before.folder, copy, copy_function=shutil.copyfile)
    assert prepare("digits", tmp_path / "b").digest == before.digest


def test_damage_that_kept_size_and_time_is_found_by_a_thorough_check(tmp_path: Path) -> None:
    folder = prepare("digits", tmp_path).folder
    assert check_pack(folder, Progress()) == prepare("digits", tmp_path)
    status = (folder / "train_inputs.npy").stat()
    _flip(folder)
    os.utime(folder / "train_inputs.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(UnusablePack, match=r"train_inputs\.npy does not match"):
        check_pack(folder, Progress())


def test_a_damaged_pack_is_made_again_from_its_source_while_that_is_there(tmp_path: Path, flowers: Path) -> None:
    first = prepare("flowers", tmp_path, source=flowers)
    (first.folder / "val_inputs.npy").unlink()
    with pytest.warns(RuntimeWarning, match="packed again"):
        assert prepare("flowers", tmp_path) == first
    (first.folder / "val_inputs.npy").unlink()
    flowers.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"is damaged, and what it was made from is gone\. .*prepare flowers"):
        prepare("flowers", tmp_path)


def test_streamed_images_that_are_gone_or_changed_are_noticed(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a": 20, "b": 20}, side=100)
    data = prepare("photos", tmp_path, source=source)
    check_pack(data.folder, Progress())
    (source / "a" / "0003.png").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"a/0003\.png must have \d+ bytes, .* got 5"):
        check_pack(data.folder, Progress())
    write(source, {"a": 20}, side=100)
    source.rename(tmp_path / "elsewhere")
    for again in (lambda: prepare("photos", tmp_path), lambda: data.files("val")):
        with pytest.raises(FileNotFoundError, match=r"must lie in .*/s, .* but this folder is gone\. Bring it back"):
            again()
    moved = prepare("photos", tmp_path, source=tmp_path / "elsewhere", replace=True)
    assert moved.files("val")[0].is_file()


def test_a_check_decodes_every_streamed_image(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a": 20, "b": 20}, side=100)
    data = prepare("photos", tmp_path, source=source)
    done: list[tuple[int, int]] = []
    assert check_pack(data.folder, Progress(advance=lambda *here: done.append(here))) == data
    assert [total for now, total in done if now == total] == list(data.sizes.values())
    image = data.files("val")[1]
    whole = image.read_bytes()
    image.write_bytes(whole[:700] + bytes(len(whole) - 720) + whole[-20:])  # its size, header and end are sound
    assert prepare("photos", tmp_path) == data
    with pytest.raises(ValueError, match=rf"{image} must be an image, but it cannot be decoded"):
        check_pack(data.folder, Progress())
    image.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{image} must be there, .*--replace"):
        check_pack(data.folder, Progress())


def test_an_image_cut_short_that_was_listed_is_found_by_a_check(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a": 20, "b": 20}, side=100)
    image = source / "a" / "cut.bmp"  # of a format whose end is not looked for
    Image.new("RGB", (100, 100)).save(image)
    image.write_bytes(image.read_bytes()[:700])
    data = prepare("photos", tmp_path, source=source)
    with pytest.raises(ValueError, match=rf"{image} must be an image, but it cannot be decoded .*truncated"):
        check_pack(data.folder, Progress())
