"""The official layouts of ImageNet and TinyImageNet, made in small."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.trainables.pictures import picture, write
from trainables.data import PackedDataset, Split, prepare


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


def labels_of_files(data: PackedDataset, split: Split) -> set[tuple[str, str]]:
    """The class that each file of a streamed split has, by its name."""
    return {
        (file.name, data.class_names[label]) for file, label in zip(data.files(split), data.targets(split), strict=True)
    }


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
