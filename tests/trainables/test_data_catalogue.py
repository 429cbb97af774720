"""What the catalogue says of its data sets, and how it keeps texts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trainables.data import prepare


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return tmp_path / "packs"


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
