"""CIFAR from its official files, a download or class folders; and the real CIFAR-10."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tests.trainables.pictures import digits, write
from trainables.data import prepare


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


# Pickles as the official archive holds them, whose md5 sums torchvision checks; the sums are the only thing
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
