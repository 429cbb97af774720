from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables import DATASETS, check_dataset, prepare
from trainables.data import Split, data_root, digits, prepared
from trainables.data.source import stratified_split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def test_digits_are_those_of_sklearn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    data = prepare("digits", tmp_path)
    seen = []
    for split in SPLITS:
        inputs, targets = data.load(split)
        index = np.load(data.folder / f"{split}_index.npy")
        seen += index.tolist()
        assert inputs.dtype == np.uint8
        assert targets.dtype == np.int64
        np.testing.assert_array_equal(inputs[:, 0], expected.images[index])
        np.testing.assert_array_equal(targets, expected.target[index])
    assert sorted(seen) == list(range(1797))


def test_splits_are_60_20_20_and_hold_the_classes_in_equal_shares(tmp_path: Path) -> None:
    data = prepare("digits", tmp_path)
    assert sum(data.sizes.values()) == 1797
    for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        _, targets = data.load(split)
        assert len(targets) == data.sizes[split]
        shares = np.bincount(targets, minlength=10) / np.bincount(np.concatenate([data.load(s)[1] for s in SPLITS]))
        assert np.abs(shares - share).max() < 0.01


def test_normalisation_is_that_of_the_train_split(tmp_path: Path) -> None:
    data = prepare("digits", tmp_path)
    inputs = data.load("train")[0].astype(np.float64)
    np.testing.assert_allclose(data.mean, [inputs.mean()], rtol=1e-14)
    np.testing.assert_allclose(data.std, [inputs.std()], rtol=1e-14)
    assert data.input_shape == (1, 8, 8)
    assert data.num_classes == 10


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.integers(0, 1000))
def test_stratified_splits_are_disjoint_complete_and_repeatable(labels: list[int], seed: int) -> None:
    targets = np.asarray(labels)
    shares: dict[Split, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
    splits = stratified_split(targets, shares, seed)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(labels)))
    for split, index in stratified_split(targets, shares, seed).items():
        np.testing.assert_array_equal(index, splits[split])
        for label in set(labels):
            assert abs((targets[index] == label).sum() - shares[split] * labels.count(label)) <= 1


def test_a_second_prepare_uses_the_pack_that_is_there(tmp_path: Path) -> None:
    said: list[str] = []
    first = prepare("digits", tmp_path, said.append)
    stamp = (first.folder / "meta.json").stat()
    assert prepare("digits", tmp_path, said.append) == first
    assert (first.folder / "meta.json").stat().st_mtime_ns == stamp.st_mtime_ns
    assert len(said) == 1
    assert "Packing data set digits" in said[0]


def test_packs_of_the_same_data_have_the_same_digest(tmp_path: Path) -> None:
    assert prepare("digits", tmp_path / "a").digest == prepare("digits", tmp_path / "b").digest


def test_embedded_data_take_no_source_and_have_neither_lengths_nor_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"digits must have no --source, got .*Ships inside"):
        prepare("digits", tmp_path, source=tmp_path)
    data = prepare("digits", tmp_path)
    with pytest.raises(ValueError, match="only texts have lengths"):
        data.lengths("train")
    with pytest.raises(ValueError, match=r"digits is packed\. Use load\('val'\)"):
        data.files("val")
    assert (data.kind, data.storage, data.vocabulary, data.class_names[3]) == ("images", "packed", None, "3")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    leftover = tmp_path / ".digits-v2.abc.tmp"
    leftover.mkdir()
    (leftover / "train_inputs.npy").write_bytes(b"half")
    prepare("digits", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".digits-v2.lock", "digits-v2"]


def test_many_processes_may_prepare_at_once(tmp_path: Path) -> None:
    code = f"from trainables import prepare; print(prepare('digits', {str(tmp_path)!r}, print).digest)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    lines = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * 4
    assert sum(line.startswith("Packing") for line in lines) == 1
    assert len({line for line in lines if not line.startswith("Packing")}) == 1


def test_writing_into_loaded_arrays_does_not_reach_the_pack(tmp_path: Path) -> None:
    data = prepare("digits", tmp_path)
    inputs, _ = data.load("val")
    inputs[:] = 99
    assert data.load("val")[0].max() <= 16
    assert prepare("digits", tmp_path) == data


def test_the_folder_of_packs_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "env"))
    assert data_root(tmp_path / "given") == tmp_path / "given"
    assert data_root() == tmp_path / "env"
    monkeypatch.delenv("THERMOTUNE_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_root() == tmp_path / "xdg" / "thermotune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setitem(os.environ, "HOME", str(tmp_path))
    assert data_root() == tmp_path / ".cache" / "thermotune"


def test_an_unknown_data_set_is_refused_with_advice(tmp_path: Path) -> None:
    for name in ("digits", "cifar10", "cifar100", "tiny-imagenet", "imagenet", "cub200", "dogs", "imdb"):
        assert DATASETS[name].name == name
        check_dataset(name)
    message = r"dataset must be one of cifar10, .*, got 'digit'\. Did you mean digits\? .*data prepare NAME --source"
    with pytest.raises(ValueError, match=message):
        check_dataset("digit")
    with pytest.raises(ValueError, match=message):
        prepare("digit", tmp_path)


def test_a_missing_or_foreign_source_is_an_error_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"not found at .*nowhere\.csv\.gz\. Install scikit-learn"):
        digits.read(tmp_path / "nowhere.csv.gz")
    (tmp_path / "short.csv").write_text("1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        digits.read(tmp_path / "short.csv")


def test_a_folder_of_packs_that_cannot_be_used_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        monkeypatch.setenv("THERMOTUNE_DATA", str(place))
        for use in (prepared, lambda: prepare("digits"), lambda: check_dataset("flowers")):
            with pytest.raises(ValueError, match=r"must be a folder .* got .*/file.* \(Not a directory\)\. .*=FOLDER"):
                use()
    with pytest.raises(OSError, match=r"^the folder of the packs must be .* got /proc/none/x \(No such file.*=FOLDER"):
        prepare("digits", "/proc/none/x")


def test_only_names_that_a_data_set_may_have_are_prepared(tmp_path: Path) -> None:
    prepare("digits", tmp_path)
    foreign = tmp_path / "My Pack-v2"
    foreign.mkdir()
    (foreign / "meta.json").write_text("{}")
    assert prepared(tmp_path) == ["digits"]
    with pytest.raises(ValueError, match=r"dataset must be one of .* got 'My Pack'"):
        check_dataset("My Pack", tmp_path)
