from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from trainables.data import Split, imdb
from trainables.data.packed import Samples
from trainables.data.progress import Progress

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def write(folder: Path, texts: Mapping[str, list[str]]) -> Path:
    """The official layout with these texts, for example under ``train/neg``."""
    for part, some in texts.items():
        (folder / part).mkdir(parents=True)
        for number, text in enumerate(some):
            (folder / part / f"{number:02d}_7.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 and 30 training reviews and 4 + 4 test reviews; each has a word of its own, twice."""
    counts = {"train/neg": 20, "train/pos": 30, "test/neg": 4, "test/pos": 4}
    texts = {
        part: [f"film film{part.replace('/', '')}{i} film{part.replace('/', '')}{i} {part[6:]}" for i in range(n)]
        for part, n in counts.items()
    }
    return write(tmp_path / "aclImdb", texts)


def read(source: Path) -> tuple[Mapping[Split, Samples], list[str]]:
    return imdb.read(source, Progress())


def spelled(samples: Samples, row: int, words: list[str]) -> str:
    """A review as a reader would get it back."""
    assert samples.lengths is not None
    return " ".join(words[number] for number in samples.inputs[row, : samples.lengths[row]])


def test_splits_have_the_contracts_shapes_and_types(source: Path) -> None:
    splits, words = read(source)
    assert {split: len(splits[split].targets) for split in SPLITS} == {"train": 45, "val": 5, "test": 8}
    assert words[:2] == ["<pad>", "<unk>"]
    for samples in splits.values():
        assert samples.lengths is not None
        assert samples.inputs.shape == (len(samples.targets), imdb.MAX_TOKENS)
        assert (samples.inputs.dtype, samples.lengths.dtype) == (np.int32, np.int32)
        assert (samples.targets.dtype, samples.index.dtype) == (np.int64, np.int64)
        padded = np.arange(imdb.MAX_TOKENS) >= samples.lengths[:, None]
        np.testing.assert_array_equal(samples.inputs == imdb.PADDING, padded)
        assert samples.inputs.max() < len(words)


def test_validation_is_a_tenth_of_every_class_of_train(source: Path) -> None:
    splits, _ = read(source)
    assert np.bincount(splits["val"].targets).tolist() == [2, 3]
    assert sorted([*splits["train"].index, *splits["val"].index]) == list(range(50))
    for split in ("train", "val"):
        np.testing.assert_array_equal(splits[split].targets, splits[split].index >= 20)  # neg first, then pos
    assert splits["test"].index.tolist() == list(range(8))
    assert splits["test"].targets.tolist() == [0] * 4 + [1] * 4


def test_vocabulary_knows_neither_validation_nor_test_reviews(source: Path) -> None:
    splits, words = read(source)
    own = {word for word in words if re.fullmatch(r"film\w+\d+", word)}
    names = [f"filmtrainneg{i}" for i in range(20)] + [f"filmtrainpos{i}" for i in range(30)]
    assert own == {names[i] for i in splits["train"].index}
    for split in ("val", "test"):
        assert all(spelled(splits[split], row, words).startswith("film <unk> <unk>") for row in range(5))


def test_index_finds_the_review_in_its_source(source: Path) -> None:
    splits, words = read(source)
    files = [*sorted((source / "train/neg").iterdir()), *sorted((source / "train/pos").iterdir())]
    for row, place in enumerate(splits["train"].index):
        assert spelled(splits["train"], row, words) == files[place].read_text()


def test_folder_that_holds_the_official_one_will_do_and_unlabelled_reviews_are_not_read(source: Path) -> None:
    expected, words = read(source)
    (source / "train/unsup").mkdir()
    (source / "train/unsup/0_0.txt").write_text("zebra zebra zebra")
    (source / "train/pos/.DS_Store").write_bytes(b"\xff\x00")
    found, again = read(source.parent)
    assert again == words
    for split in SPLITS:
        np.testing.assert_array_equal(found[split].inputs, expected[split].inputs)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's GREAT!!!<br /><br />Really\tgreat...", ["it", "'", "s", "great", "!!!", "really", "great", "..."]),
        ("\ufb01lm caf\u00e9 \uff21\uff22\uff23", ["film", "caf\u00e9", "abc"]),  # NFKC: ligature, wide letters
        ("<br/>a<br>b", ["a", "b"]),
        ("<pad> <unk>", ["<", "pad", ">", "<", "unk", ">"]),
        ("never-seen", ["<unk>", "-", "<unk>"]),
    ],
)
def test_text_is_cut_into_words_and_punctuation(text: str, tokens: list[str]) -> None:
    words = [*imdb.SPECIAL_WORDS, *sorted({*tokens} - {*imdb.SPECIAL_WORDS})]
    inputs, lengths = imdb.encode(words, [text], Progress())
    assert [words[number] for number in inputs[0, : lengths[0]]] == tokens


def test_words_are_those_of_an_independent_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"W{n}," for n in rng.zipf(1.3, size=60) if n < 500) + "<br />End." for _ in range(200)]
    counts: Counter[str] = Counter()
    for text in texts:
        plain = unicodedata.normalize("NFKC", text.replace("<br />", " ")).lower()
        counts.update(re.findall(r"\w+|[^\w\s]+", plain))
    ranked = sorted((word for word in counts if counts[word] >= imdb.MIN_COUNT), key=lambda word: (-counts[word], word))
    assert imdb.vocabulary(texts) == [*imdb.SPECIAL_WORDS, *ranked]
    monkeypatch.setattr(imdb, "MAX_WORDS", 50)
    assert imdb.vocabulary(texts) == [*imdb.SPECIAL_WORDS, *ranked[:48]]


def test_equally_frequent_words_come_in_one_order_whatever_the_threads_and_the_order_of_texts() -> None:
    code = (
        "import random; from trainables.data import imdb\n"
        "texts = [f'w{i} w{i} w{i % 700}' for i in range(5000)]; random.shuffle(texts)\n"
        "print(*imdb.vocabulary(texts))"
    )
    found = set()
    for threads in ("1", "4"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert run.stderr == ""
        found.add(run.stdout)
    (text,) = found
    once = text.split()[702:]
    assert once == sorted(once)
    assert len(once) == 4300


def test_progress_is_told_in_sentences_and_counts(source: Path) -> None:
    said, counted = [], []
    imdb.read(source, Progress(said.append, lambda done, total: counted.append((done, total))))
    assert [sentence.split()[0] for sentence in said] == ["Reading", "Collecting", "Encoding"]
    assert counted == [*((n, 58) for n in range(1, 59)), (58, 58)]


def test_long_review_keeps_its_head_and_an_empty_one_is_one_unknown_word() -> None:
    words = [*imdb.SPECIAL_WORDS, "head", "tail"]
    inputs, lengths = imdb.encode(words, ["head " * 390 + "tail " * 100, "", " <br /> \n"], Progress())
    assert lengths.tolist() == [imdb.MAX_TOKENS, 1, 1]
    assert inputs[0].tolist() == [2] * 390 + [3] * 10
    assert inputs[1:, 0].tolist() == [imdb.UNKNOWN] * 2
    assert not inputs[1:, 1:].any()


@pytest.mark.parametrize("missing", ["train", "test", "train/pos", "test/neg"])
def test_missing_folder_is_named(source: Path, missing: str) -> None:
    (source / missing).rename(source.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=re.escape(str(source / missing if "/" in missing else source))):
        read(source)


def test_empty_class_is_refused(source: Path) -> None:
    for file in (source / "test/pos").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"at least 1 review \(\*.txt\) of a class, got 0 in .*test/pos"):
        read(source)


def test_class_too_small_for_a_validation_split_is_refused(source: Path) -> None:
    for file in sorted((source / "train/neg").iterdir())[9:]:
        file.unlink()
    with pytest.raises(ValueError, match=r"at least 10 reviews .* got 9 in .*train/neg"):
        read(source)


def test_file_that_is_not_utf8_is_named(source: Path) -> None:
    (source / "train/pos/07_7.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"UTF-8, got byte 0xe9 at 3 of .*train/pos/07_7\.txt"):
        read(source)


@pytest.mark.data
def test_all_of_imdb() -> None:
    splits, words = read(Path(os.environ["THERMOTUNE_TEST_DATA"]))
    assert {split: np.bincount(splits[split].targets).tolist() for split in SPLITS} == {
        "train": [11250, 11250],
        "val": [1250, 1250],
        "test": [12500, 12500],
    }
    assert len(words) == len(set(words)) == imdb.MAX_WORDS
    assert words[2:8] == ["the", ".", ",", "and", "a", "of"]
    for samples in splits.values():
        assert samples.lengths is not None
        assert (samples.inputs == imdb.UNKNOWN).sum() / samples.lengths.sum() < 0.03
        assert 0.15 < (samples.lengths == imdb.MAX_TOKENS).mean() < 0.2
