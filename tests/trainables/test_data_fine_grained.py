"""The official layouts of birds and dogs, made in small."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.trainables.pictures import write
from trainables.data import Split, prepare

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    folder = tmp_path / "CUB_200_2011"
    classes = [f"{number:03d}.Bird_{number}" for number in range(1, 201)]
    counts = {f"images/{name}": 12 if name == classes[0] else 2 for name in classes}
    write(folder, counts, suffix=".jpg")
    files = [f"{name.removeprefix('images/')}/{i:04d}.jpg" for name, count in counts.items() for i in range(count)]
    for name, value in {
        "images.txt": lambda file: file,
        "image_class_labels.txt": lambda file: int(file[:3]),
        "train_test_split.txt": lambda file: int(not file.endswith("0001.jpg")),
    }.items():
        (folder / name).write_text("".join(f"{i} {value(file)}\n" for i, file in enumerate(files, start=1)))
    return folder


def test_cub200_follows_its_lists(tmp_path: Path, packs: Path, cub: Path) -> None:
    data = prepare("cub200", packs, source=cub)
    assert (data.storage, data.sizes) == ("streamed", {"train": 209, "val": 1, "test": 200})
    assert {file.name for file in data.files("test")} == {"0001.jpg"}
    for split in SPLITS:
        for file, label in zip(data.files(split), data.targets(split), strict=True):
            assert file.parent.name == data.class_names[label]
    assert prepare("cub200", packs / "parent", source=tmp_path).sizes == data.sizes


def test_damaged_lists_of_birds_are_named(packs: Path, cub: Path) -> None:
    damages = [
        (
            "image_class_labels.txt",
            r"^300 \d+$",
            "300 201",
            r"must be in 1\.\.200, .* got 201 of image 300 in .*labels",
        ),
        ("image_class_labels.txt", r"^300 \d+$", "300", r"got '300' in line 300 of .*image_class_labels\.txt"),
        ("train_test_split.txt", r"^300 \d+\n", "", "must list the same images"),
        ("images.txt", r"^300 .*$", "300 001.Bird_1/none.jpg", r"none\.jpg must be there"),
    ]
    for file, old, new, message in damages:
        text = (cub / file).read_text()
        (cub / file).write_text(re.sub(old, new, text, flags=re.MULTILINE))
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            prepare("cub200", packs, source=cub)
        (cub / file).write_text(text)


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    folder = tmp_path / "dogs"
    classes = [f"n{number:08d}-Dog_{number}" for number in range(120)]
    counts = {f"Images/{name}": 11 if name == classes[0] else 2 for name in classes}
    write(folder, counts, suffix=".jpg")
    for part in ("train", "test"):
        files = [
            (f"{name}/{i:04d}.jpg", label)
            for label, name in enumerate(classes, start=1)
            for i in range(counts[f"Images/{name}"])
            if (i == 1) == (part == "test")
        ]
        cells = np.empty((len(files), 1), dtype=object)
        cells[:, 0] = [file for file, _ in files]
        savemat(folder / f"{part}_list.mat", {"file_list": cells, "labels": np.array([[label] for _, label in files])})
    return folder


def test_dogs_follow_their_lists(packs: Path, dogs: Path) -> None:
    data = prepare("dogs", packs, source=dogs)
    assert (data.storage, data.sizes) == ("streamed", {"train": 128, "val": 1, "test": 120})
    for split in SPLITS:
        for file, label in zip(data.files(split), data.targets(split), strict=True):
            assert file.parent.name == data.class_names[label]
            assert (file.name == "0001.jpg") == (split == "test")
    (dogs / "lists").mkdir()
    for part in ("train", "test"):
        (dogs / f"{part}_list.mat").rename(dogs / "lists" / f"{part}_list.mat")
    assert prepare("dogs", packs / "lists", source=dogs).digest == data.digest


def test_damaged_lists_of_dogs_are_named(packs: Path, dogs: Path) -> None:
    savemat(dogs / "test_list.mat", {"file_list": np.array([["x"]], dtype=object), "labels": [[121]]})
    with pytest.raises(ValueError, match=r"labels must be in 1\.\.120, .*got 121\.\.121 in .*test_list\.mat"):
        prepare("dogs", packs, source=dogs)
    (dogs / "train_list.mat").write_bytes(b"<html>" * 100)
    with pytest.raises(ValueError, match=r"train_list\.mat must be a list of Stanford Dogs"):
        prepare("dogs", packs, source=dogs)
    (dogs / "train_list.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_list\.mat must lie beside Images.*Unpack lists\.tar"):
        prepare("dogs", packs, source=dogs)
