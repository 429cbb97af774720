"""Networks that learn real data: all of CIFAR-10 and IMDB are packed, and a part of each is trained on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trainables import Recipe, prepare
from trainables.engine import Training

pytestmark = pytest.mark.data


def accuracies(dataset: str, folder: str, **values: Any) -> list[float]:
    prepare(dataset, source=Path(os.environ["THERMOTUNE_TEST_DATA"]) / folder)
    run = Training(Recipe.model_validate({"dataset": dataset, "compute": {"precision": "bf16"}} | values), [0])
    return [run.train_epoch()[0].metrics["val/accuracy"] for _ in range(run.recipe.epochs)]


@pytest.mark.parametrize(("model", "lr", "at_least"), [("resnet-8", 0.1, 0.33), ("wrn-10-1-nonorm", 0.02, 0.2)])
def test_convolutional_networks_learn_cifar(model: str, lr: float, at_least: float) -> None:
    found = accuracies(
        "cifar10",
        "cifar10",
        model=model,
        batch_size=64,
        epochs=3,
        train_samples=4000,
        optimizer={"lr": lr},
        augment={"pad": 4, "flip": True},
    )
    assert found[-1] > max(found[0], at_least), found


def test_a_recurrent_network_learns_imdb() -> None:
    found = accuracies(
        "imdb",
        "aclImdb",
        model="gru-16-meanpool",
        batch_size=64,
        epochs=3,
        train_samples=5000,
        optimizer={"name": "adamw", "lr": 0.01},
    )
    assert found[-1] > 0.75, found
