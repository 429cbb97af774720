"""The official layouts of the known data sets, made in small; and the real CIFAR-10."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.trainables.pictures import digits, picture, write
from trainables.data import PackedDataset, prepare


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


def labels_of_files(data: PackedDataset, split: Any) -> set[tuple[str, str]]:
    """The class that each file of a streamed split has, by its name."""
    return {
        (file.name, data.class_names[label]) for file, label in zip(data.files(split), data.targets(split), strict=True)
    }


# CIFAR: pickles as the official archive holds them, whose md5 sums torchvision checks; the sums are the only thing
# that is not official here.


def _pickled(folder: Path, name: str, content: dict[str, Any]) -> tuple[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(content))
    return name, hashlib.md5((folder / name).read_bytes()).hexdigest()


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision import datasets

    folder = tmp_path / "official" / "cifar-10-batches-py"
    random = np.random.default_rng(0)

    def batch(name: str, count: int) -> tuple[str, str]:
        data = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        return _pickled(folder, name, {"data": data, "labels": [i % 10 for i in range(count)]})

    monkeypatch.setattr(datasets.CIFAR10, "train_list", [batch(f"data_batch_{i}", 40) for i in range(1, 6)])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [batch("test_batch", 30)])
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    key, md5 = _pickled(folder, "batches.meta", {"label_names": names})
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": key, "key": "label_names", "md5": md5})
    return folder


def test_cifar_comes_from_the_official_folder_its_parent_or_its_archive(
    tmp_path: Path, packs: Path, cifar10: Path
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "cifar-10-python"), "gztar", cifar10.parent))
    said: list[str] = []
    data = prepare("cifar10", packs / "a", said.append, source=cifar10)
    assert data.sizes == {"train": 180, "val": 20, "test": 30}
    assert any("has 50,000 training and 10,000 test samples where it is published, here" in line for line in said)
    assert data.class_names[3] == "cat"
    for place, source in (("b", cifar10.parent), ("c", archive)):
        assert prepare("cifar10", packs / place, source=source).digest == data.digest
    batches = [pickle.loads((cifar10 / f"data_batch_{i}").read_bytes()) for i in range(1, 6)]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    index = np.load(data.folder / "val_index.npy")
    inputs, targets = data.load("val")
    np.testing.assert_array_equal(inputs, pixels[index])
    np.testing.assert_array_equal(targets, index % 10)
    np.testing.assert_array_equal(np.bincount(targets), [2] * 10)


def test_damaged_official_cifar_is_refused(packs: Path, cifar10: Path) -> None:
    with (cifar10 / "data_batch_3").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ValueError, match=r"must hold the official files of CIFAR-10, .* Get cifar-10-python"):
        prepare("cifar10", packs, source=cifar10)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_cifar_is_downloaded_and_checked(
    tmp_path: Path, packs: Path, cifar10: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    served = Path(shutil.make_archive(str(tmp_path / "served" / "cifar-10-python"), "gztar", cifar10.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(served.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{served.name}")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(OSError, match=r"must be downloaded, which failed \(.*data prepare cifar10 --source"):
        prepare("cifar10", packs)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(served.read_bytes()).hexdigest())
    data = prepare("cifar10", packs)
    server.shutdown()
    server.server_close()
    assert data.source == str(packs / "downloads" / "cifar-10-python.tar.gz")
    assert data.digest == prepare("cifar10", packs / "other", source=cifar10).digest
    with pytest.raises(OSError, match="Connection refused"):
        prepare("cifar10", packs / "third")


def test_cifar_must_have_all_its_classes(tmp_path: Path, packs: Path) -> None:
    source = write(tmp_path / "s", {**digits("train", 10), **digits("test", 1)})
    with pytest.raises(ValueError, match=r"cifar100 must have 100 classes, got 10\. If this is another"):
        prepare("cifar100", packs, source=source)
    shutil.rmtree(source / "test" / "7")
    with pytest.raises(ValueError, match=r"test must have a folder for each of the 10 classes, but it lacks 7\."):
        prepare("cifar10", packs, source=source)
    with pytest.raises(FileNotFoundError, match=r"must hold train, test, but it holds 0, 1, 2"):
        prepare("cifar10", packs, source=source / "train")


@pytest.mark.data
@pytest.mark.timeout(300)
def test_real_cifar10_is_packed_in_time(packs: Path) -> None:
    source = Path(os.environ["THERMOTUNE_TEST_DATA"]) / "cifar10"
    begin = time.monotonic()
    data = prepare("cifar10", packs, source=source)
    print(f"60,000 JPEGs packed in {time.monotonic() - begin:.1f} s")
    assert data.sizes == {"train": 45_000, "val": 5_000, "test": 10_000}
    np.testing.assert_allclose(np.divide(data.mean, 255), [0.4914, 0.4822, 0.4465], atol=2e-3)  # well known, of 50,000
    np.testing.assert_allclose(np.divide(data.std, 255), [0.2470, 0.2435, 0.2616], atol=2e-3)
    assert [np.bincount(data.targets(split)).tolist() for split in ("val", "test")] == [[500] * 10, [1000] * 10]


# TinyImageNet


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-imagenet-200"
    wnids = [f"n{number:08d}" for number in range(200)]
    write(folder, {f"train/{wnid}/images": 10 if wnid == wnids[7] else 1 for wnid in wnids}, suffix=".JPEG")
    write(folder, {"val/images": 200}, suffix=".JPEG")
    lines = [f"{number:04d}.JPEG\t{wnids[199 - number]}\t0\t32\t44\t62\n" for number in range(200)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "train" / wnids[0] / f"{wnids[0]}_boxes.txt").write_text("x")
    write(folder, {"test/images": 2}, suffix=".JPEG")
    return folder


def test_tiny_imagenet_is_packed_and_its_val_is_the_test_split(tmp_path: Path, packs: Path, tiny: Path) -> None:
    archive = Path(shutil.make_archive(str(tiny), "zip", tmp_path, tiny.name))
    data = prepare("tiny-imagenet", packs, source=archive)
    assert data.sizes == {"train": 208, "val": 1, "test": 200}
    assert (data.storage, data.num_classes) == ("packed", 200)
    assert data.targets("val").tolist() == [7]
    assert data.targets("test").tolist() == list(range(200))
    shutil.rmtree(tiny / "val")
    write(tiny, {f"val/n{number:08d}": 1 for number in range(200)}, suffix=".JPEG")
    assert prepare("tiny-imagenet", packs / "sorted", source=tiny).sizes == data.sizes


def test_damaged_annotations_of_tiny_imagenet_are_named(packs: Path, tiny: Path) -> None:
    annotations = tiny / "val" / "val_annotations.txt"
    text = annotations.read_text()
    annotations.write_text(text.replace("n00000150", "n00000999"))
    with pytest.raises(
        ValueError, match=r"one of the 200 classes of train, got 'n00000999' in line 50 of .*annotations"
    ):
        prepare("tiny-imagenet", packs, source=tiny)
    annotations.write_text(text)
    (tiny / "val" / "images" / "0003.JPEG").unlink()
    with pytest.raises(FileNotFoundError, match=r"images/0003\.JPEG must be there, because the data set lists it"):
        prepare("tiny-imagenet", packs, source=tiny)


# ImageNet

WNIDS = [f"n{number:08d}" for number in range(1000, 2000)]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 classes with an image each, one of them with 30; and four validation images that lie flat."""
    folder = tmp_path_factory.mktemp("imagenet")
    write(folder, {f"train/{wnid}": 30 if wnid == WNIDS[5] else 1 for wnid in WNIDS}, suffix=".JPEG")
    (folder / "val").mkdir()
    for number in range(1, 5):
        (folder / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(picture(20, 0, "JPEG"))
    return folder


FLAT = {(f"ILSVRC2012_val_{number:08d}.JPEG", WNIDS[100 * number]) for number in range(1, 5)}


def kaggle(folder: Path) -> None:
    rows = [f"{name.removesuffix('.JPEG')},{wnid} 85 1 499 272 {wnid} 1 2 3 4\n" for name, wnid in sorted(FLAT)]
    (folder / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))


def devkit(folder: Path, last: int | None = None) -> None:
    """The official numbers follow no order of wnids; inner nodes of the tree have numbers above 1000."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    number_of = {wnid: 1000 - place for place, wnid in enumerate(WNIDS)} | {"n09999999": 1001}
    kinds = [("ILSVRC2012_ID", float), ("WNID", object), ("words", object), ("num_children", float)]
    synsets = np.array([(n, wnid, "some, words", wnid == "n09999999") for wnid, n in number_of.items()], dtype=kinds)
    savemat(data / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    numbers = [number_of[wnid] for _, wnid in sorted(FLAT)]
    if last is not None:
        numbers[-1] = last
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in numbers))


def linked(source: Path, folder: Path) -> Path:
    """The same images in another folder, beside which something may be put."""
    folder.mkdir(parents=True)
    for part in ("train", "val"):
        (folder / part).symlink_to(source / part)
    return folder


@pytest.mark.parametrize("labels", [kaggle, devkit])
def test_flat_imagenet_gets_its_labels_from_the_official_lists(
    tmp_path: Path, packs: Path, imagenet: Path, labels: Callable[[Path], None]
) -> None:
    source = linked(imagenet, tmp_path / "imagenet")
    labels(source)
    data = prepare("imagenet", packs, source=source)
    assert (data.storage, data.num_classes, data.sizes) == ("streamed", 1000, {"train": 1028, "val": 1, "test": 4})
    assert data.class_names == tuple(WNIDS)
    assert labels_of_files(data, "test") == FLAT
    assert data.targets("val").tolist() == [5]


def test_imagenet_as_kaggle_packs_it(tmp_path: Path, packs: Path, imagenet: Path) -> None:
    linked(imagenet, tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC")
    kaggle(tmp_path / "kaggle")
    data = prepare("imagenet", packs, source=tmp_path / "kaggle")
    assert labels_of_files(data, "test") == FLAT
    assert data.files("test")[0].is_file()


def test_flat_imagenet_without_labels_says_what_is_needed(packs: Path, imagenet: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val lie flat, .* LOC_val_solution\.csv .*ILSVRC2012_devkit_t12"):
        prepare("imagenet", packs, source=imagenet)


@pytest.mark.parametrize(("last", "shown"), [(1001, "n09999999"), (5000, "5000"), (0, "0")])
def test_a_label_outside_of_imagenet_is_named(
    tmp_path: Path, packs: Path, imagenet: Path, last: int, shown: str
) -> None:
    source = linked(imagenet, tmp_path / "imagenet")
    devkit(source, last)
    with pytest.raises(
        ValueError, match=rf"classes of train, got {shown} for ILSVRC2012_val_00000004\.JPEG in .*truth"
    ):
        prepare("imagenet", packs, source=source)


def test_imagenet_in_class_folders_must_have_all_of_them(tmp_path: Path, packs: Path, imagenet: Path) -> None:
    source = tmp_path / "sorted"
    source.mkdir()
    (source / "train").symlink_to(imagenet / "train")
    write(source, {f"val/{wnid}": 1 for wnid in WNIDS[1:]}, suffix=".JPEG")
    with pytest.raises(ValueError, match=r"each of the 1000 classes, but it lacks n00001000\."):
        prepare("imagenet", packs, source=source)


# Birds and dogs


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
    for split in ("train", "val", "test"):
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
    for split in ("train", "val", "test"):
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


@pytest.mark.parametrize("name", ["imagenet", "tiny-imagenet", "cub200", "dogs", "imdb"])
def test_what_cannot_be_downloaded_says_what_to_get_and_the_command(packs: Path, name: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=rf"{name} is not prepared\. Get .*http.*thermotune data prepare {name} -"
    ):
        prepare(name, packs)
    assert not packs.exists()


def test_reviews_are_packed_with_lengths_and_vocabulary(tmp_path: Path, packs: Path) -> None:
    for part in ("train/neg", "train/pos", "test/neg", "test/pos"):
        (tmp_path / "aclImdb" / part).mkdir(parents=True)
        for number in range(20):
            text = "a fine film" + " indeed" * number
            (tmp_path / "aclImdb" / part / f"{number}_1.txt").write_text(text)
    archive = Path(shutil.make_archive(str(tmp_path / "aclImdb_v1"), "gztar", tmp_path, "aclImdb"))
    data = prepare("imdb", packs, source=archive)
    assert (data.kind, data.storage, data.class_names) == ("text", "packed", ("neg", "pos"))
    assert data.sizes == {"train": 36, "val": 4, "test": 40}
    assert (data.vocabulary, data.mean, data.std) == (6, (), ())  # with the words for padding and unknown ones
    inputs, _ = data.load("test")
    assert (inputs.dtype, inputs.shape[1:]) == (np.int32, data.input_shape)
    lengths = data.lengths("test")
    np.testing.assert_array_equal(lengths, (inputs != 0).sum(axis=1))
    assert sorted(lengths[:20]) == list(range(3, 23))
