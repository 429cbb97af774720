"""Opens the data of a recipe the way they are kept: on the device, or as a stream."""

from __future__ import annotations

from pathlib import Path

import torch

from trainables.data import prepare
from trainables.engine.batches import TrainingData
from trainables.engine.ranks import Ranks
from trainables.engine.resident import ResidentData
from trainables.fit import misfits
from trainables.recipe import Recipe


def feed(
    recipe: Recipe,
    device: torch.device,
    *,
    test: bool = False,
    data_root: str | Path | None = None,
    workers: int = 1,
    ranks: Ranks | None = None,
) -> TrainingData:
    """What a run of a recipe trains on; packs the data set if that has not been done.

    Args:
        recipe: Names the data set, and says what is done to its samples.
        device: Where batches are to live.
        test: Whether the test split may be read.
        data_root: Folder of the packed data sets; default as ``trainables.data.data_root``.
        workers: Processes that decode images, where the data set is streamed.
        ranks: Who trains together; None for this process alone.

    Raises:
        ValueError: The data set is unknown, or the recipe does not fit it.
        OSError: It cannot be had.
    """
    packed = prepare(recipe.dataset, data_root)
    if mistakes := misfits(recipe, packed):
        raise ValueError("; ".join(mistakes))
    if packed.storage == "packed":
        return ResidentData(packed, recipe, device, test=test, ranks=ranks)
    from trainables.engine.streamed import StreamedData  # loads torchvision

    return StreamedData(packed, recipe, device, test=test, workers=workers, ranks=ranks)
