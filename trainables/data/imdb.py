"""IMDB movie reviews: 50,000 texts, positive or negative (Maas et al. 2011), as rows of word numbers.

Words are cut and counted by the ``tokenizers`` library: HTML line breaks dropped, NFKC, lower case, split at white
space and between words and punctuation. The vocabulary knows the training split only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainables.data.packed import Samples, Split
from trainables.data.progress import Progress
from trainables.data.source import SHARES, SPLIT_SEED, stratified_split

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CLASSES = ("neg", "pos")
"""Class 0 and class 1: the folders of the official layout."""
MAX_TOKENS = 400
"""Tokens kept of a review, its first ones; 18 % of the reviews are longer."""
MAX_WORDS = 20_000
"""Size of the vocabulary, with the two words that stand for padding and for unknown words."""
MIN_COUNT = 2
"""A word that the training split has less often is an unknown one."""
PADDING, UNKNOWN = 0, 1
SPECIAL_WORDS = ("<pad>", "<unk>")

_FEWEST = {"train": 10, "test": 1}  # reviews of a class; with ten there is one for validation
_CHUNK = 2_000  # reviews encoded together, which bounds the memory


def read(source: Path, progress: Progress) -> tuple[Mapping[Split, Samples], list[str]]:
    """The three splits; a tenth of the official training reviews, stratified by class, is the validation split.

    Args:
        source: The official folder ``aclImdb`` or one that holds it; ``train/unsup`` is not read.
        progress: Told about every step that takes seconds.

    Returns:
        Splits with inputs (N, MAX_TOKENS) int32 (padded at the end by 0), targets (N,) int64 (0 negative, 1 positive),
        lengths (N,) int32 in 1..MAX_TOKENS, and index (N,) int64: the place among the sorted files of ``neg``, then of
        ``pos``, of ``train`` or ``test``. Then the words by number, by falling frequency after the special ones.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks one of its parts.
        ValueError: A class has too few reviews, or a file is not a text in UTF-8; the message names it.
    """
    folder = _official_folder(source)
    files = {(part, label): _files(folder / part / label, _FEWEST[part]) for part in _FEWEST for label in CLASSES}
    total = sum(len(some) for some in files.values())
    progress(f"Reading {total:,} reviews from {folder}.")
    texts = [_text(file) for file in progress.over([file for some in files.values() for file in some], total)]
    targets = {
        part: np.repeat(np.arange(len(CLASSES)), [len(files[part, label]) for label in CLASSES]) for part in _FEWEST
    }
    index = stratified_split(targets["train"], SHARES, SPLIT_SEED)
    progress(f"Collecting the words of {len(index['train']):,} training reviews.")
    words = vocabulary([texts[place] for place in index["train"]])
    progress(f"Encoding {total:,} reviews with {len(words):,} words.")
    inputs, lengths = encode(words, texts, progress)

    def samples(part: str, chosen: NDArray[np.int64]) -> Samples:
        rows = chosen + (len(targets["train"]) if part == "test" else 0)
        return Samples(inputs=inputs[rows], targets=targets[part][chosen], index=chosen, lengths=lengths[rows])

    splits = {split: samples("train", chosen) for split, chosen in index.items()}
    return {**splits, "test": samples("test", np.arange(len(targets["test"])))}, words


def vocabulary(texts: Sequence[str]) -> list[str]:
    """The words by number: the special ones, then the most frequent, equally frequent ones in alphabetical order.

    Args:
        texts: Their order does not matter, nor does the number of threads.

    Returns:
        At most MAX_WORDS words, each at least MIN_COUNT times in the texts.
    """
    from tokenizers.trainers import WordLevelTrainer

    tokenizer = _tokenizer(SPECIAL_WORDS)
    trainer = WordLevelTrainer(
        vocab_size=MAX_WORDS - len(SPECIAL_WORDS), min_frequency=MIN_COUNT, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    numbers = tokenizer.get_vocab()
    return [*SPECIAL_WORDS, *sorted(numbers, key=lambda word: numbers[word])]


def encode(
    words: Sequence[str], texts: Sequence[str], progress: Progress
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Reviews as word numbers.

    Args:
        words: As :func:`vocabulary` gives them.
        texts: N reviews; of longer ones the head is kept. One without any word counts as one unknown word.
        progress: Told how far it is.

    Returns:
        inputs (N, MAX_TOKENS) int32, 0 after the end, and lengths (N,) int32 in 1..MAX_TOKENS.
    """
    tokenizer = _tokenizer(words)
    inputs = np.full((len(texts), MAX_TOKENS), PADDING, dtype=np.int32)
    lengths = np.empty(len(texts), dtype=np.int32)
    for start in range(0, len(texts), _CHUNK):
        for row, encoding in enumerate(tokenizer.encode_batch_fast(list(texts[start : start + _CHUNK])), start):
            numbers = encoding.ids or [UNKNOWN]
            inputs[row, : len(numbers)] = numbers
            lengths[row] = len(numbers)
        progress.advance(min(start + _CHUNK, len(texts)), len(texts))
    return inputs, lengths


def _tokenizer(words: Sequence[str]) -> Tokenizer:
    """Cuts and numbers; the special words are no markup, so a review that spells one out cannot hold padding."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # the default, but said: then a later fork warns of nothing
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordLevel

    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token=SPECIAL_WORDS[UNKNOWN]))
    line_break = normalizers.Replace(Regex(r"<br\s*/?>"), " ")
    tokenizer.normalizer = normalizers.Sequence([line_break, normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _official_folder(source: Path) -> Path:
    for folder in (source, source / "aclImdb"):
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return folder
    raise FileNotFoundError(
        f"imdb must be the folder aclImdb with train/ and test/ (or one that holds it), not found at {source}. "
        "Give the folder that aclImdb_v1.tar.gz unpacks to, or the archive itself"
    )


def _files(folder: Path, fewest: int) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"imdb must have neg and pos in train and in test, not found: {folder}. Unpack the archive again"
        )
    files = sorted(folder.glob("*.txt"))
    if len(files) < fewest:
        raise ValueError(
            f"imdb must have at least {fewest} review{'s' * (fewest > 1)} (*.txt) of a class, "
            f"got {len(files)} in {folder}. Unpack the archive again"
        )
    return files


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"a review must be text in UTF-8, got byte 0x{error.object[error.start]:02x} at {error.start} of {file}. "
            "Unpack the archive again"
        ) from error
