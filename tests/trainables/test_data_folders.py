"""Folders of images that users bring: which splits they become, what is packed, streamed or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.trainables.pictures import picture, pixels, write
from trainables.data import PackedDataset, Split, check_dataset, prepare, prepared

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Two classes with 20 training and 4 test images of 8 x 8 pixels."""
    return write(tmp_path / "flowers", {"train/rose": 20, "train/tulip": 20, "test/rose": 4, "test/tulip": 4})


def sizes(data: PackedDataset) -> tuple[int, ...]:
    return tuple(data.sizes[split] for split in SPLITS)


def test_small_images_are_packed_with_their_pixels_labels_and_places(tmp_path: Path, flowers: Path) -> None:
    data = prepare("flowers", tmp_path / "packs", source=flowers)
    assert (data.storage, data.input_shape, data.class_names) == ("packed", (3, 8, 8), ("rose", "tulip"))
    assert data.source == str(flowers)
    assert sizes(data) == (36, 4, 8)
    for split in SPLITS:
        inputs, targets = data.load(split)
        index = np.load(data.folder / f"{split}_index.npy")
        per_class = 4 if split == "test" else 20
        for image, target, place in zip(inputs, targets, index, strict=True):
            assert target == place // per_class
            np.testing.assert_array_equal(image, pixels(8, place % per_class).transpose(2, 0, 1))
    train = data.load("train")[0].astype(np.float64)
    np.testing.assert_allclose(data.mean, train.mean(axis=(0, 2, 3)), rtol=1e-14)
    np.testing.assert_allclose(data.std, train.std(axis=(0, 2, 3)), rtol=1e-14)


def test_large_images_are_streamed_from_where_they_are(tmp_path: Path) -> None:
    source = write(tmp_path / "photos", {"train/a": 10, "train/b": 20, "val/a": 1, "val/b": 2}, side=100, suffix=".JPG")
    data = prepare("photos", tmp_path / "packs", source=source)
    assert (data.storage, data.input_shape, sizes(data)) == ("streamed", (3, 224, 224), (27, 3, 3))
    np.testing.assert_allclose(np.divide(data.mean, 255), [0.485, 0.456, 0.406])
    files = data.files("train")
    assert len(files) == 27
    assert [data.class_names[label] for label in data.targets("train")] == [file.parent.name for file in files]
    assert files[0] == source / "train" / "a" / files[0].name
    assert list(files[3:5]) == list(files)[3:5]
    assert {*data.files("train"), *data.files("val")} == {*source.glob("train/*/*.JPG")}
    assert [*data.files("test")] == sorted(source.glob("val/*/*.JPG"))
    with pytest.raises(ValueError, match=r"photos is streamed\. Use files\('val'\)"):
        data.load("val")


def test_small_images_of_different_sizes_are_streamed(tmp_path: Path) -> None:
    source = write(write(tmp_path / "s", {"a": 20, "b": 20}), {"b": 1}, side=9)
    assert prepare("odd", tmp_path / "packs", source=source).storage == "streamed"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"": 50}, (36 * 2, 4 * 2, 10 * 2)),
        ({"train": 50}, (36 * 2, 4 * 2, 10 * 2)),
        ({"train": 20, "val": 5}, (18 * 2, 2 * 2, 5 * 2)),
        ({"train": 20, "test": 5}, (18 * 2, 2 * 2, 5 * 2)),
        ({"train": 20, "val": 3, "test": 5}, (20 * 2, 3 * 2, 5 * 2)),
    ],
)
@pytest.mark.parametrize("top", ["", "archive-1.0"])
def test_every_layout_gives_three_splits(
    tmp_path: Path, parts: dict[str, int], expected: tuple[int, ...], top: str
) -> None:
    for part, count in parts.items():
        write(tmp_path / "source" / top / part, {"a": count, "b": count})
    said: list[str] = []
    data = prepare("mine", tmp_path / "packs", said.append, source=tmp_path / "source")
    assert sizes(data) == expected
    assert any(sentence.startswith("Note: ") for sentence in said) == (len(parts) < 3)


def test_classes_must_be_the_same_everywhere(tmp_path: Path, flowers: Path) -> None:
    write(flowers, {"train/iris": 20})
    with pytest.raises(ValueError, match=r"flowers/test must have a folder for each of the 3 classes, .* lacks iris\."):
        prepare("flowers", tmp_path, source=flowers)
    write(flowers, {"test/iris": 2, "test/lily": 2})
    with pytest.raises(ValueError, match=r"flowers/test has classes that the training data lack: lily\."):
        prepare("flowers", tmp_path, source=flowers)


def test_an_empty_class_is_named(tmp_path: Path, flowers: Path) -> None:
    (flowers / "train" / "iris").mkdir()
    with pytest.raises(ValueError, match=r"every class must have images, and .*train/iris has none"):
        prepare("flowers", tmp_path, source=flowers)


def test_a_folder_without_class_folders_or_without_train_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"test/a": 2})
    with pytest.raises(FileNotFoundError, match="must have a folder train beside test"):
        prepare("mine", tmp_path, source=source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must hold a folder of images for every class"):
        prepare("mine", tmp_path, source=tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"must be a folder or an archive, and .*nowhere does not exist"):
        prepare("mine", tmp_path, source=tmp_path / "nowhere")


def test_too_few_images_to_draw_a_split_from_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"train/a": 3, "train/b": 3, "test/a": 1, "test/b": 1})
    with pytest.raises(ValueError, match="the val split of mine would be empty"):
        prepare("mine", tmp_path, source=source)


def test_a_prepared_folder_is_a_data_set_like_any_other(tmp_path: Path, flowers: Path) -> None:
    with pytest.raises(ValueError, match=r"must be one of .* got 'flowers'"):
        check_dataset("flowers", tmp_path)
    first = prepare("flowers", tmp_path, source=flowers)
    check_dataset("flowers", tmp_path)
    assert prepare("flowers", tmp_path) == first
    assert prepared(tmp_path) == ["flowers"]
    with pytest.raises(ValueError, match=r"got 'flower'\. Did you mean flowers\?"):
        check_dataset("flower", tmp_path)
    with pytest.raises(ValueError, match=r"a data set's name must be of a-z.* got '\.\./flowers'"):
        prepare("../flowers", tmp_path, source=flowers)


def test_another_source_needs_replace(tmp_path: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare("flowers", tmp_path, source=flowers)
    monkeypatch.chdir(tmp_path)
    assert prepare("flowers", tmp_path, source="flowers") == first
    other = write(tmp_path / "other", {"a": 50, "b": 50})
    with pytest.raises(
        ValueError, match=r"flowers is already packed, from .*flowers, and not from .*other\. .*--replace"
    ):
        prepare("flowers", tmp_path, source=other)
    replaced = prepare("flowers", tmp_path, source=other, replace=True)
    assert replaced.class_names == ("a", "b")
    assert prepare("flowers", tmp_path) == replaced
    write(other, {"a": 51})
    assert prepare("flowers", tmp_path) == replaced
    assert sum(sizes(prepare("flowers", tmp_path, replace=True))) == 101


def test_equal_folders_have_equal_digests_wherever_they_are(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, {"x": 20, "y": 20}, side=100) for name in "ab")
    first, second = prepare("p", tmp_path / "1", source=a), prepare("p", tmp_path / "2", source=b)
    assert first.digest == second.digest
    (b / "x" / "0001.png").write_bytes(picture(100, 1) + b" ")
    assert prepare("p", tmp_path / "2", replace=True).digest != first.digest
