"""Image files: which are found, what they become, and which are refused."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.pictures import picture, write
from trainables.data import prepare
from trainables.data.images import open_rgb


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Two classes with 20 training and 4 test images of 8 x 8 pixels."""
    return write(tmp_path / "flowers", {"train/rose": 20, "train/tulip": 20, "test/rose": 4, "test/tulip": 4})


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / ("image.jpg" if mode in ("CMYK", "YCbCr") else "image.png")
    Image.new("RGB", (4, 4), (255, 255, 255)).convert(mode).save(file)
    image = open_rgb(file)
    assert (image.mode, image.size) == ("RGB", (4, 4))
    assert np.asarray(image).min() >= 250


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (6, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_rgb(tmp_path / "turned.jpg").size == (4, 6)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def _deep(file: Path) -> None:
    Image.fromarray(np.zeros((8, 8), dtype=np.uint16)).save(file)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _deep,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("<html>404</html>"),
        lambda file: file.write_bytes(picture()[:30] + b"broken" + picture()[36:]),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named(
    tmp_path: Path, flowers: Path, damage: Callable[[Path], None]
) -> None:
    damage(flowers / "train" / "tulip" / "0007.png")
    with pytest.raises(ValueError, match=r"tulip/0007\.png must be an image, but it cannot be decoded \(.*Replace"):
        prepare("flowers", tmp_path / "packs", source=flowers)
    assert [path.name for path in (tmp_path / "packs").iterdir()] == [".flowers-v2.lock"]


def test_an_image_of_another_size_is_named_where_all_must_be_packed(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {f"{part}/{label}": 10 for part in ("train", "test") for label in range(10)})
    write(source, {"test/3": 1}, side=9)
    with pytest.raises(ValueError, match=r"must be 8 x 8 pixels, got 9 x 9 in .*test/3/0000\.png\. Replace"):
        prepare("cifar10", tmp_path / "packs", source=source)


def test_what_is_no_image_of_a_class_is_passed_over(tmp_path: Path, flowers: Path) -> None:
    before = prepare("flowers", tmp_path / "a", source=flowers)
    (flowers / "train" / "rose" / ".DS_Store").write_bytes(b"x")
    (flowers / "train" / "rose" / "._0000.png").write_bytes(b"x")
    (flowers / "train" / "rose" / "notes.txt").write_text("x")
    (flowers / "__MACOSX" / "train").mkdir(parents=True)
    (flowers / "train" / ".cache").mkdir()
    assert prepare("flowers", tmp_path / "b", source=flowers).digest == before.digest


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_what_may_not_be_read_is_named() -> None:
    folder = Path(tempfile.mkdtemp())  # not under tmp_path, which only its owner may enter
    folder.chmod(0o755)
    source = write(folder / "s", {"a": 10, "b": 10})
    (folder / "packs").mkdir()
    os.chown(folder / "packs", 65534, 65534)
    (source / "a" / "0004.png").chmod(0o600)
    (folder / "locked").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"needs .*a/0004\.png, which may not be read or written"):
            prepare("mine", folder / "packs", source=source)
        with pytest.raises(PermissionError, match=r"got .*packs2 \(Permission denied\)\. .*THERMOTUNE_DATA"):
            prepare("digits", folder / "packs2")
        with pytest.raises(ValueError, match=r"got .*locked \(Permission denied\)\. .*THERMOTUNE_DATA"):
            prepare("digits", folder / "locked")
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_large_images_that_were_cut_short_are_found_before_they_are_streamed(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / "s", {"a": 20, "b": 20}, side=100, suffix=suffix)
    image = source / "b" / f"0005{suffix}"
    whole = image.read_bytes()
    for kept in (700, len(whole) // 2, len(whole) - 40):
        image.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"b/0005\.\w+ must be an image, but it cannot be decoded .*truncated.*"):
            prepare("photos", tmp_path / "packs", source=source)
    image.write_bytes(whole + b"\0" * 5000)  # what some cameras write behind the end does no harm
    assert prepare("photos", tmp_path / "packs", source=source).storage == "streamed"


def test_links_to_classes_and_images_elsewhere_are_followed(tmp_path: Path, flowers: Path) -> None:
    linked = tmp_path / "linked"
    (linked / "train").mkdir(parents=True)
    (linked / "test").symlink_to(flowers / "test")
    (linked / "train" / "rose").symlink_to(flowers / "train" / "rose")
    (linked / "train" / "tulip").mkdir()
    for image in (flowers / "train" / "tulip").iterdir():
        (linked / "train" / "tulip" / image.name).symlink_to(image)
    expected = prepare("flowers", tmp_path / "a", source=flowers)
    assert prepare("flowers", tmp_path / "b", source=linked).digest == expected.digest


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("train/rose/loop", ".."),
        ("train/rose/loop", "../.."),
        ("train/rose/self", "."),
        ("train/rose/more", "../tulip"),
        ("train/rose/more", "../../test/rose"),
        ("train/rosa", "rose"),
        ("val", "test"),
    ],
)
def test_a_folder_that_links_reach_twice_is_refused(tmp_path: Path, flowers: Path, link: str, target: str) -> None:
    (flowers / link).symlink_to(target)
    if link == "train/rosa":
        write(flowers, {"test/rosa": 4})
    with pytest.raises(ValueError, match=rf"must be reached once, .*flowers/{link} is a link .*Remove the link"):
        prepare("flowers", tmp_path / "packs", source=flowers)
    assert [path.name for path in (tmp_path / "packs").iterdir()] == [".flowers-v2.lock"]


def test_a_channel_that_never_changes_is_scaled_by_one(tmp_path: Path) -> None:
    for number in range(40):
        file = tmp_path / "s" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 200, 0)).save(file)
    data = prepare("flat", tmp_path / "packs", source=tmp_path / "s")
    assert (data.mean[1:], data.std[1:]) == ((200.0, 0.0), (1.0, 1.0))
    assert data.std[0] == pytest.approx(data.load("train")[0][:, 0].std())
