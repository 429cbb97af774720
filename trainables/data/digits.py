"""The digits data set: 1797 images of 8 x 8 pixels in 10 classes, which ships inside scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainables.data.packed import Samples, Split
from trainables.data.source import SPLIT_SEED, stratified_split


def read(file: Path | None = None) -> dict[Split, Samples]:
    """The three splits, 60/20/20 and stratified by class.

    Args:
        file: ``digits.csv.gz``; default the one inside the installed scikit-learn, which is not imported (4 s).

    Returns:
        Splits of pixels (N, 1, 8, 8) uint8 in 0..16 and labels (N,) int64 in 0..9.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: The file holds something else.
    """
    file = file or _packaged_file()
    if not file.is_file():
        raise FileNotFoundError(
            f"digits.csv.gz must lie inside scikit-learn, not found at {file}. Install scikit-learn again."
        )
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    if table.shape != (1797, 65) or table[:, :64].max() > 16 or table[:, 64].max() > 9:
        raise ValueError(
            f"digits.csv.gz must hold 1797 rows of 64 pixels in 0..16 and a label, got shape {table.shape} in {file}. "
            "Install scikit-learn again."
        )
    inputs, targets = table[:, :64].reshape(-1, 1, 8, 8), table[:, 64].astype(np.int64)
    shares: dict[Split, float] = {"train": 0.6, "val": 0.2, "test": 0.2}
    return {
        split: Samples(inputs=inputs[index], targets=targets[index], index=index)
        for split, index in stratified_split(targets, shares, SPLIT_SEED).items()
    }


def _packaged_file() -> Path:
    spec = find_spec("sklearn")  # of a top-level package: finds it without importing it
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("data set digits needs scikit-learn, which is not installed. pip install scikit-learn")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
