from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from tests.trainables.test_losses import case, cases, distribution, gradient
from trainables.loss_settings import RecipeWarning
from trainables.losses.legacy_hook import legacy_hook_cross_entropy
from trainables.losses.smoothing import Reduction
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

few = settings(max_examples=40)
Case = tuple[Tensor, Tensor]


def scaled(function: partial[Tensor], z: Tensor, scale: float) -> Tensor:
    """The gradient as an optimizer sees it behind a gradient scaler of ``scale``."""
    return gradient(lambda x: scale * function(x), z) / scale


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def pair(z: Tensor, target: Tensor, alpha: float) -> tuple[partial[Tensor], Tensor]:
    """The hook's loss, and the gradient that it should have."""
    right = gradient(partial(tampered_cross_entropy, target=target, alpha=alpha), z)
    return partial(legacy_hook_cross_entropy, target=target, alpha=alpha), right


@few
@given(cases((1e-3, 1.0, 3.0)), st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0.0, 0.1]))
def test_the_gradient_is_the_printed_one(sample: Case, alpha: float, eps: float) -> None:
    z, target = sample
    n, q = len(z), distribution(target, z.shape[1], eps)
    pred = (z.softmax(-1) - q) / n / n + q
    expected = (pred**alpha / (pred**alpha).sum(-1, keepdim=True) - q) * n
    found = gradient(
        lambda x: legacy_hook_cross_entropy(x, target, alpha=alpha, label_smoothing=eps),
        z,
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@few
@given(cases(), st.sampled_from([0.05, 1.0]), st.sampled_from(["mean", "sum", "none"]))
def test_the_value_is_the_plain_cross_entropy(sample: Case, alpha: float, reduction: Reduction) -> None:
    z, target = sample
    for logits in (z, z.clone().requires_grad_()):
        found = legacy_hook_cross_entropy(logits, target, alpha=alpha, label_smoothing=0.1, reduction=reduction)
        plain = tempered_cross_entropy(z, target, beta=1.0, label_smoothing=0.1, reduction=reduction)
        assert torch.equal(found, plain)


@pytest.mark.parametrize("n", [1, 2, 8, 256])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_a_scaler_of_the_squared_batch_size_makes_it_right(n: int, alpha: float) -> None:
    z, target = case(n, 10, 1.0, 0, soft=False)
    legacy, right = pair(z, target, alpha)
    assert distance(scaled(legacy, z, n * n), right) < 1e-12


@pytest.mark.parametrize("n", [8, 256])
def test_a_scaler_below_the_squared_batch_size_makes_it_too_large_by_about_the_ratio(n: int) -> None:
    z, target = case(n, 10, 1.0, 0, soft=False)
    legacy, right = pair(z, target, 0.05)
    for ratio in (2, 4, 16):
        found = scaled(legacy, z, n * n / ratio)
        assert 0.9 * ratio < found.norm() / right.norm() <= ratio


@pytest.mark.parametrize(("n", "factor"), [(8, 30), (256, 3e4)])
def test_without_a_scaler_it_is_far_too_large(n: int, factor: float) -> None:
    z, target = case(n, 10, 1.0, 0, soft=False)
    legacy, right = pair(z, target, 0.1)
    assert factor < gradient(legacy, z).norm() / right.norm() < n * n


def test_a_scaler_above_the_squared_batch_size_gives_nan_for_hard_samples_only() -> None:
    z, target = case(64, 10, 3.0, 0, soft=False)
    legacy, _ = pair(z, target, 0.3)
    rows = scaled(legacy, z, 2 * 64**2).isnan().any(-1)
    p_y = z.softmax(-1).gather(-1, target[:, None])[:, 0]
    assert torch.equal(rows, p_y < 0.5)
    assert 0.5 < rows.double().mean() < 1


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_other_reductions_do_not_make_it_right(reduction: Reduction) -> None:
    z, target = case(8, 10, 1.0, 0, soft=False)
    found = gradient(lambda x: legacy_hook_cross_entropy(x, target, alpha=0.3, reduction=reduction).sum(), z)
    right = gradient(partial(tampered_cross_entropy, target=target, alpha=0.3, reduction="sum"), z)
    assert distance(found, right) > 1


@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_accumulating_parts_of_a_batch_does_not_give_the_whole(scale: float) -> None:
    z, target = case(8, 10, 1.0, 0, soft=False)
    legacy, right = pair(z, target, 0.3)
    whole = scaled(legacy, z, scale)
    parts = [
        scaled(partial(legacy_hook_cross_entropy, target=target[rows], alpha=0.3), z[rows], scale) / 2
        for rows in (slice(0, 4), slice(4, 8))
    ]
    accumulated = torch.cat(parts).nan_to_num()
    assert distance(accumulated, whole) > 0.5
    assert distance(accumulated, right) > 0.5


def test_a_batch_given_twice_changes_the_direction_of_the_gradient() -> None:
    z, target = case(8, 10, 1.0, 0, soft=False)
    legacy, _ = pair(z, target, 0.3)
    once = gradient(legacy, z)
    twice = gradient(
        partial(legacy_hook_cross_entropy, target=torch.cat([target, target]), alpha=0.3), torch.cat([z, z])
    )
    assert distance(twice[:8] / twice[:8].norm(), once / once.norm()) > 1e-3
    assert distance(2 * twice[:8], once) > 0.5


def test_other_uses_of_the_same_logits_are_not_hooked() -> None:
    z, target = case(8, 10, 1.0, 0, soft=False)
    leaf = z.clone().requires_grad_()
    legacy_hook_cross_entropy(leaf, target, alpha=0.3)
    tempered_cross_entropy(leaf, target, beta=1.0).backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, gradient(partial(tempered_cross_entropy, target=target, beta=1.0), z))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_hook_sees_the_gradient_in_the_precision_of_the_logits(dtype: torch.dtype) -> None:
    z, target = case(4, 5, 1.0, 0, soft=False, dtype=dtype)
    found = gradient(partial(legacy_hook_cross_entropy, target=target, alpha=0.3), z)
    seen = gradient(partial(tempered_cross_entropy, target=target, beta=1.0), z)
    q = distribution(target, 5).to(dtype)
    raised = (seen / 4 + q) ** 0.3
    assert found.dtype == dtype
    assert torch.equal(found, (raised / raised.sum(-1, keepdim=True) - q) * 4)


def test_lanes_with_exponents_of_their_own_equal_a_loop() -> None:
    lanes = [case(6, 5, 1.0, seed, soft=False) for seed in range(3)]
    logits, targets = torch.stack([z for z, _ in lanes]), torch.stack([t for _, t in lanes])
    alphas = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    fused = vmap(grad(lambda z, t, a: legacy_hook_cross_entropy(z, t, alpha=a)))(logits, targets, alphas)
    for lane, row in enumerate(fused):
        alone = gradient(partial(legacy_hook_cross_entropy, target=targets[lane], alpha=alphas[lane]), logits[lane])
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-15)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must be >= 0 and finite, got"):
        legacy_hook_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), alpha=alpha)


def test_alpha_above_one_warns() -> None:
    with pytest.warns(RecipeWarning, match=r"alpha should be in \[0, 1\], got 2"):
        legacy_hook_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), alpha=2.0)
