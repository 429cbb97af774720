from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainables import Recipe, prepare
from trainables.engine import Training
from trainables.engine.batches import Batch, ClosedTestSplit, evaluation_batch, members_of, order_of, steps_of
from trainables.engine.feed import feed
from trainables.fit import misfits

CPU = torch.device("cpu")


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate({"model": "mlp-16", "batch_size": 100} | values)


@given(st.lists(st.integers(0, 3), min_size=8, max_size=200), st.data())
def test_a_part_of_the_samples_keeps_the_classes_shares_and_lies_in_every_larger_part(
    labels: list[int], data: st.DataObject
) -> None:
    targets = np.asarray(labels)
    count = data.draw(st.integers(1, len(labels)))
    part, larger = members_of(targets, count, 0), members_of(targets, min(count + 5, len(labels)), 0)
    assert len(set(part.tolist())) == count
    assert set(part.tolist()) <= set(larger.tolist())
    for label in set(labels):
        assert abs((targets[part] == label).sum() - count * labels.count(label) / len(labels)) <= 2
    np.testing.assert_array_equal(members_of(targets, len(labels), 0), np.arange(len(labels)))


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    data = feed(recipe(), CPU)
    seen = [torch.cat([step[0].positions for step in data.epoch([3], epoch)]) for epoch in (1, 2, 1)]
    size = prepare("digits").sizes["train"]
    assert torch.equal(seen[0].sort().values, torch.arange(size))
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0].numpy(), order_of(np.arange(size), 3, 1))


def test_an_epoch_of_a_part_shows_that_part_only() -> None:
    small = recipe(train_samples=250)
    data = feed(small, CPU)
    batches = [step[0] for step in data.epoch([0], 1)]
    assert [len(batch.labels) for batch in batches] == [100, 100, 50]
    assert len(batches) == steps_of(small, data.packed)
    other = torch.cat([step[0].positions for step in data.epoch([0], 2)])
    assert torch.equal(torch.cat([batch.positions for batch in batches]).sort().values, other.sort().values)


def test_batches_hold_what_the_pack_holds_normalised() -> None:
    data = feed(recipe(), CPU)
    inputs, targets = prepare("digits").load("train")
    batch = next(iter(data.epoch([0], 1)))[0]
    mean, std = prepare("digits").mean[0], prepare("digits").std[0]
    expected = (torch.from_numpy(np.array(inputs))[batch.positions].double() - mean) / std
    torch.testing.assert_close(batch.samples.double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(batch.labels, torch.from_numpy(np.array(targets))[batch.positions])
    assert batch.targets is batch.labels
    assert not batch.augmented


def test_augmented_batches_differ_in_every_epoch_and_lane_but_not_when_repeated() -> None:
    data = feed(recipe(augment={"pad": 1, "flip": True, "cutout": 2, "mixup": 0.5}), CPU)

    def first(seed: int, epoch: int, position: int = 0) -> torch.Tensor:
        return next(iter(data.epoch([seed, 5], epoch)))[position].samples

    assert torch.equal(first(0, 1), first(0, 1))
    assert torch.equal(first(9, 1, position=1), first(0, 1, position=1))
    assert not torch.equal(first(0, 1), first(0, 2))
    batch = next(iter(data.epoch([0], 1)))[0]
    assert batch.augmented
    assert batch.targets.shape == (100, 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_samples": 5}, "train_samples must lie between the 10 classes and the 1079 training samples"),
        ({"train_samples": 5000}, "train_samples must lie between"),
        ({"image_size": 32}, "image_size must be null for digits, which is not streamed, got 32"),
        ({"augment": {"crop_scale": [0.1, 1]}}, "augment.crop_scale must be null"),
        ({"augment": {"color_jitter": 0.4}}, "augment.color_jitter must be 0"),
        ({"augment": {"cutout": 9}}, "augment.cutout must be at most the images' 8 pixels, got 9"),
        ({"augment": {"pad": 9}}, "augment.pad must be at most"),
        ({"model": "gru-128"}, "model must suit the data, got gru-128 for digits, which holds images"),
    ],
)
def test_a_recipe_that_does_not_fit_its_data_is_refused(values: dict[str, Any], message: str) -> None:
    (found,) = misfits(recipe(**values), prepare("digits"))
    assert message in found
    with pytest.raises(ValueError, match=re.escape(message)):
        feed(recipe(**values), CPU)


def test_all_misfits_are_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"image_size.*; train_samples"):
        feed(recipe(train_samples=5, image_size=32), CPU)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"augment": {"crop_scale": [0.5, 0.1]}}, "crop_scale must be two shares"),
        ({"augment": {"crop_scale": [0.5, 1], "pad": 4}}, "pad must be 0 beside crop_scale"),
        ({"augment": {"mixup": 0.2}, "loss": {"name": "distilled", "teacher": "t"}}, "augment.mixup must be 0"),
    ],
)
def test_augmentations_that_exclude_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**values)


def test_the_test_split_cannot_be_read_where_something_may_still_be_chosen() -> None:
    closed, opened = feed(recipe(), CPU), feed(recipe(), CPU, test=True)
    reads = (
        lambda data: data.targets("test"),
        lambda data: next(iter(data.chunks("test"))),
        lambda data: data.batch("test", torch.arange(2)),
    )
    for read in reads:
        with pytest.raises(ClosedTestSplit, match="the test split must stay closed"):
            read(closed)
        read(opened)


@pytest.mark.parametrize(
    ("shape", "values", "expected"),
    [
        ((1, 8, 8), {}, 1024),
        ((3, 32, 32), {}, 1024),
        ((3, 64, 64), {}, 256),
        ((3, 224, 224), {"storage": "streamed"}, 83),
        ((400,), {"kind": "text"}, 327),
    ],
)
def test_fewer_large_samples_are_measured_at_once(shape: tuple[int, ...], values: Any, expected: int) -> None:
    assert evaluation_batch(replace(prepare("digits"), **values), shape) == expected


def test_the_direction_of_learning_is_that_of_all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs made of class folders are sorted by class, so the first samples will not do."""
    monkeypatch.setattr("trainables.engine.start.DIRECTION_SAMPLES", 200)
    small = recipe(train_samples=500, diagnostics={"theory": True})
    run = Training(small, [0])
    seen: list[Batch] = []
    objective = Training._objective

    def looking(self: Training, moment: float, batch: Batch) -> Any:
        seen.append(batch)
        return objective(self, moment, batch)

    monkeypatch.setattr(Training, "_objective", looking)
    run._before_learning()
    positions = torch.cat([batch.positions for batch in seen])
    assert len(positions) == 200
    assert set(positions.tolist()) <= set(run.data.members.tolist())
    assert positions.tolist() != sorted(positions.tolist())
    assert torch.bincount(torch.cat([batch.labels for batch in seen])).min() > 8
