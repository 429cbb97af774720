from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from trainables.data.augment import Draws, crop_and_mirror, cut_out, draw, mix
from trainables.recipe import Augment

CPU = torch.device("cpu")
NOTHING = Draws(offsets=None, mirrored=None, centres=None, shares=None)


def drawn(augment: Augment, *, samples: int = 500, seed: int = 0, epoch: int = 1, steps: int = 5) -> Draws:
    return draw(augment, image=(6, 8), samples=samples, steps=steps, seed=seed, epoch=epoch, device=CPU)


def images(count: int, channels: int = 3, height: int = 6, width: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


@given(st.integers(0, 4), st.booleans(), st.integers(1, 3), st.integers(0, 100))
def test_crops_and_mirrors_are_those_of_torchvision(pad: int, flip: bool, channels: int, seed: int) -> None:
    before = images(20, channels)
    draws = drawn(Augment(pad=pad, flip=flip), samples=20, seed=seed)
    after = crop_and_mirror(before, draws, pad)
    assert after.dtype == torch.uint8
    for i, image in enumerate(before):
        top, left = (0, 0) if draws.offsets is None else draws.offsets[i].tolist()
        expected = reference.crop(reference.pad(image, [pad]), top, left, 6, 8)
        if draws.mirrored is not None and draws.mirrored[i]:
            expected = reference.horizontal_flip(expected)
        assert torch.equal(after[i], expected)


@given(st.integers(1, 6), st.integers(0, 100))
def test_cutout_sets_a_square_to_the_mean_and_leaves_the_rest(side: int, seed: int) -> None:
    before = images(20).float() + 1
    draws = drawn(Augment(cutout=side), samples=20, seed=seed)
    after = cut_out(before, draws, side)
    assert draws.centres is not None
    for i, (row, column) in enumerate(draws.centres.tolist()):
        expected = before[i].clone()
        top, left = row - side // 2, column - side // 2
        expected[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(after[i], expected)


def test_every_offset_and_half_of_the_mirrors_come() -> None:
    draws = drawn(Augment(pad=2, flip=True, cutout=3), samples=4000)
    assert draws.offsets is not None
    assert draws.mirrored is not None
    assert draws.centres is not None
    for axis in range(2):
        counts = np.bincount(draws.offsets[:, axis].numpy(), minlength=5)
        assert counts.min() > 4000 / 5 * 0.85
    assert 0.46 < draws.mirrored.float().mean() < 0.54
    assert [set(draws.centres[:, axis].tolist()) for axis in range(2)] == [set(range(6)), set(range(8))]


def test_draws_depend_on_seed_and_epoch_and_on_nothing_else() -> None:
    augment = Augment(pad=2, flip=True)
    first = drawn(augment)
    assert first.offsets is not None
    for same in (drawn(augment), drawn(Augment(pad=2, flip=True, cutout=1))):
        assert same.offsets is not None
        assert torch.equal(first.offsets, same.offsets)
    for other in (drawn(augment, seed=1), drawn(augment, epoch=2)):
        assert other.offsets is not None
        assert not torch.equal(first.offsets, other.offsets)


def test_mixing_keeps_the_larger_share_and_the_labels_follow() -> None:
    draws = drawn(Augment(mixup=0.4), steps=200)
    assert draws.shares is not None
    assert min(draws.shares) >= 0.5
    assert max(draws.shares) <= 1
    before, labels = images(5).float(), torch.tensor([0, 1, 2, 1, 0])
    step = draws.of_step(slice(10, 15), 2)
    (share,) = step.shares or ()
    after, targets = mix(before, labels, step, 3)
    of_class = torch.nn.functional.one_hot(labels, 3).float()
    for i in range(5):
        torch.testing.assert_close(after[i], share * before[i] + (1 - share) * before[i - 1])
        torch.testing.assert_close(targets[i], share * of_class[i] + (1 - share) * of_class[i - 1])
    torch.testing.assert_close(targets.sum(1), torch.ones(5))


def test_without_draws_nothing_changes() -> None:
    before, labels = images(4).float(), torch.arange(4)
    assert crop_and_mirror(before, NOTHING, 0) is before
    assert cut_out(before, NOTHING, 0) is before
    assert mix(before, labels, NOTHING, 4) == (before, labels)
    assert drawn(Augment()) == NOTHING


def test_a_batch_gets_the_draws_of_its_place() -> None:
    draws = drawn(Augment(pad=1, flip=True, cutout=2))
    part = draws.of_step(slice(100, 130), 3)
    assert draws.offsets is not None
    assert part.offsets is not None
    assert torch.equal(part.offsets, draws.offsets[100:130])
