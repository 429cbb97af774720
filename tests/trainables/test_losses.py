from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from trainables import Recipe
from trainables.losses import (
    loss_function,
    predicted_log_probabilities,
    tampered_cross_entropy,
    tempered_cross_entropy,
)
from trainables.losses.smoothing import Reduction

ALPHAS = (0.0, 1e-6, 0.05, 0.25, 1.0)
SMOOTHING = st.sampled_from([0.0, 0.1, 0.9])
REDUCTION: st.SearchStrategy[Reduction] = st.sampled_from(["mean", "sum"])
Case = tuple[Tensor, Tensor]


def case(n: int, c: int, scale: float, seed: int, soft: bool, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(n, c, generator=generator, dtype=torch.float64)).to(dtype)
    if soft:
        return logits, torch.randn(n, c, generator=generator, dtype=torch.float64).softmax(-1)
    return logits, torch.randint(c, (n,), generator=generator)


def cases(scales: tuple[float, ...] = (1e-3, 1.0, 30.0)) -> st.SearchStrategy[Case]:
    return st.builds(
        case, st.integers(1, 16), st.integers(2, 50), st.sampled_from(scales), st.integers(0, 10**6), st.booleans()
    )


def distribution(target: Tensor, classes: int, eps: float) -> Tensor:
    """The smoothed target written out, float64."""
    q = target if target.is_floating_point() else torch.eye(classes, dtype=torch.float64)[target]
    return (1 - eps) * q + eps / classes


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    leaf = logits.detach().clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


@given(cases(), st.sampled_from([1e-3, 0.1, 1.0, 10.0, 1e3]), SMOOTHING, REDUCTION)
def test_tempered_value_and_gradient_follow_the_formula(
    sample: Case, beta: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    q, p = distribution(target, z.shape[1], eps), (beta * z).softmax(-1)
    share = len(z) if reduction == "mean" else 1
    loss = lambda x: tempered_cross_entropy(x, target, beta=beta, label_smoothing=eps, reduction=reduction)  # noqa: E731
    expected = -(q * (beta * z).log_softmax(-1)).sum() / share
    torch.testing.assert_close(loss(z), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(loss, z), beta * (p - q) / share, rtol=1e-11, atol=1e-12 * max(beta, 1))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.01, 0.7, 10.0])
def test_tempered_passes_gradcheck_in_logits_and_beta(beta: float, eps: float, soft: bool) -> None:
    z, target = case(5, 4, 1.0, 0, soft)
    temperature = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, b: tempered_cross_entropy(x, target, beta=b, label_smoothing=eps), (z.requires_grad_(), temperature)
    )


@given(cases(), st.sampled_from(ALPHAS), SMOOTHING, REDUCTION)
def test_tampered_gradient_is_tempered_probabilities_minus_target(
    sample: Case, alpha: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    share = len(z) if reduction == "mean" else 1
    found = gradient(
        lambda x: tampered_cross_entropy(x, target, alpha=alpha, label_smoothing=eps, reduction=reduction), z
    )
    expected = ((alpha * z).softmax(-1) - distribution(target, z.shape[1], eps)) / share
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@given(cases(), st.sampled_from(ALPHAS), SMOOTHING, st.sampled_from(["mean", "sum", "none"]))
def test_tampered_value_is_exactly_the_plain_cross_entropy(
    sample: Case, alpha: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    found = tampered_cross_entropy(z, target, alpha=alpha, label_smoothing=eps, reduction=reduction)
    plain = tempered_cross_entropy(z, target, beta=1.0, label_smoothing=eps, reduction=reduction)
    assert torch.equal(found, plain)


@given(cases(), SMOOTHING, st.sampled_from(["mean", "sum", "none"]))
def test_without_temperature_both_are_torch_cross_entropy(sample: Case, eps: float, reduction: Reduction) -> None:
    z, target = sample
    torchs = lambda x: F.cross_entropy(x, target, reduction=reduction, label_smoothing=eps)  # noqa: E731
    tempered = lambda x: tempered_cross_entropy(x, target, beta=1.0, label_smoothing=eps, reduction=reduction)  # noqa: E731
    tampered = lambda x: tampered_cross_entropy(x, target, alpha=1.0, label_smoothing=eps, reduction=reduction)  # noqa: E731
    for ours in (tempered, tampered):
        torch.testing.assert_close(ours(z), torchs(z), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            gradient(lambda x, ours=ours: ours(x).sum(), z), gradient(lambda x: torchs(x).sum(), z), rtol=0, atol=1e-13
        )


@given(cases(), st.floats(0.01, 1), SMOOTHING, REDUCTION)
def test_tampered_gradient_times_alpha_is_the_tempered_gradient(
    sample: Case, alpha: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    tampered = gradient(
        lambda x: tampered_cross_entropy(x, target, alpha=alpha, label_smoothing=eps, reduction=reduction), z
    )
    tempered = gradient(
        lambda x: tempered_cross_entropy(x, target, beta=alpha, label_smoothing=eps, reduction=reduction), z
    )
    torch.testing.assert_close(alpha * tampered, tempered, rtol=0, atol=1e-12)


LOSSES = [
    pytest.param(lambda z, t: tempered_cross_entropy(z, t, beta=0.3, label_smoothing=0.1), id="tempered"),
    pytest.param(lambda z, t: tampered_cross_entropy(z, t, alpha=0.3, label_smoothing=0.1), id="tampered"),
]
Loss = Callable[[Tensor, Tensor], Tensor]


@pytest.mark.parametrize("loss", LOSSES)
@given(sample=cases(), shift=st.floats(-100, 100))
def test_shifting_all_logits_changes_nothing(loss: Loss, sample: Case, shift: float) -> None:
    z, target = sample
    torch.testing.assert_close(loss(z + shift, target), loss(z, target), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradient(lambda x: loss(x, target), z + shift), gradient(lambda x: loss(x, target), z), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("loss", LOSSES)
@given(sample=cases())
def test_gradient_rows_sum_to_zero(loss: Loss, sample: Case) -> None:
    z, target = sample
    assert gradient(lambda x: loss(x, target), z).sum(-1).abs().max() < 1e-13


@pytest.mark.parametrize("loss", LOSSES)
@given(sample=cases())
def test_accumulating_halves_of_a_doubled_batch_gives_the_gradient_of_the_whole(loss: Loss, sample: Case) -> None:
    z, target = sample
    whole = gradient(lambda x: loss(x, target), torch.cat([z, z])[: len(z)])
    halves = gradient(lambda x: (loss(x[: len(z)], target) + loss(x[len(z) :], target)) / 2, torch.cat([z, z]))
    torch.testing.assert_close(halves[: len(z)] + halves[len(z) :], whole, rtol=0, atol=1e-13)


@given(cases())
def test_beta_near_zero_gives_the_log_of_the_number_of_classes(sample: Case) -> None:
    z, target = sample
    assert float(tempered_cross_entropy(z, target, beta=1e-13)) == pytest.approx(math.log(z.shape[1]), abs=1e-10)


def test_large_beta_gives_the_hinge() -> None:
    z, target = case(8, 5, 1.0, 3, soft=False)
    hinge = (z.max(-1).values - z.gather(-1, target[:, None])[:, 0]).mean()
    assert float(tempered_cross_entropy(z, target, beta=1e6)) / 1e6 == pytest.approx(float(hinge), abs=2e-6)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float16, 6e4), (torch.bfloat16, 6e4), (torch.float32, 1e4)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_extreme_logits_stay_finite(dtype: torch.dtype, size: float, soft: bool, eps: float) -> None:
    z = torch.tensor([[size, -size, 0.0], [-size, size, size]], dtype=dtype)
    target = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.25, 0.25]]) if soft else torch.tensor([1, 0])
    losses: list[Callable[[Tensor], Tensor]] = [
        *(partial(tempered_cross_entropy, target=target, beta=b, label_smoothing=eps) for b in (1e-3, 1.0, 10.0)),
        *(partial(tampered_cross_entropy, target=target, alpha=a, label_smoothing=eps) for a in ALPHAS),
    ]
    for loss in losses:
        assert torch.isfinite(loss(z))
        assert torch.isfinite(gradient(loss, z)).all()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_logits_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    z, target = case(6, 5, 3.0, 1, soft=False, dtype=dtype)
    value, slope = loss(z, target), gradient(lambda x: loss(x, target), z)
    wide = z if dtype == torch.float64 else z.float()
    assert value.dtype == wide.dtype
    assert slope.dtype == dtype
    assert torch.equal(value, loss(wide, target))
    assert torch.equal(slope, gradient(lambda x: loss(x, target), wide).to(dtype))


@pytest.mark.parametrize("name", ["tempered", "tampered"])
@pytest.mark.parametrize("soft", [False, True])
def test_vmap_of_grad_with_hyperparameters_of_each_lane_equals_a_loop(name: str, soft: bool) -> None:
    lanes = [case(6, 5, 2.0, seed, soft) for seed in range(4)]
    logits, targets = torch.stack([z for z, _ in lanes]), torch.stack([t for _, t in lanes])
    temperatures = torch.tensor([0.1, 0.3, 0.7, 1.0], dtype=torch.float64)
    smoothing = torch.tensor([0.0, 0.1, 0.2, 0.0], dtype=torch.float64)

    def loss(z: Tensor, target: Tensor, temperature: Tensor, eps: Tensor) -> Tensor:
        if name == "tempered":
            return tempered_cross_entropy(z, target, beta=temperature, label_smoothing=eps)
        return tampered_cross_entropy(z, target, alpha=temperature, label_smoothing=eps)

    fused = vmap(grad(loss))(logits, targets, temperatures, smoothing)
    for lane, row in enumerate(fused):
        alone = gradient(lambda x, k=lane: loss(x, targets[k], temperatures[k], smoothing[k]), logits[lane])
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-15)


@pytest.mark.parametrize("loss", [tempered_cross_entropy, tampered_cross_entropy])
def test_hyperparameters_in_double_precision_do_not_widen_the_lanes(loss: Callable[..., Tensor]) -> None:
    logits, targets = torch.zeros(3, 6, 5), torch.zeros(3, 6, dtype=torch.int64)
    name = "beta" if loss is tempered_cross_entropy else "alpha"
    values = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)
    assert vmap(lambda z, t, v: loss(z, t, **{name: v}))(logits, targets, values).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tempered", "tampered"])
def test_compiled_vmap_keeps_the_gradient(name: str) -> None:
    z = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    target = torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(1))
    temperatures = torch.tensor([0.1, 0.4, 0.9])

    def loss(z: Tensor, target: Tensor, temperature: Tensor) -> Tensor:
        if name == "tempered":
            return tempered_cross_entropy(z, target, beta=temperature)
        return tampered_cross_entropy(z, target, alpha=temperature)

    slopes = vmap(grad(loss))
    compiled = torch.compile(slopes, fullgraph=True)
    torch.testing.assert_close(compiled(z, target, temperatures), slopes(z, target, temperatures), rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan])
def test_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be > 0, got"):
        tempered_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), beta=beta)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got"):
        tampered_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), alpha=alpha)


def test_probabilities_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(1, 3\) for \(2, 3\)"):
        tempered_cross_entropy(torch.zeros(2, 3), torch.ones(1, 3) / 3, beta=1.0)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match="reduction must be one of mean, none, sum, got 'average'"):
        tempered_cross_entropy(torch.zeros(2, 3), torch.ones(2, 3) / 3, beta=1.0, reduction="average")


def test_a_recipe_gets_its_loss_and_its_probabilities() -> None:
    z, target = case(6, 5, 2.0, 0, soft=False)
    tempered = Recipe(loss={"name": "tempered", "beta": 0.3, "label_smoothing": 0.1}).loss
    tampered = Recipe(loss={"name": "tampered", "alpha": 0.3, "label_smoothing": 0.1}).loss
    assert torch.equal(
        loss_function(tempered)(z, target), tempered_cross_entropy(z, target, beta=0.3, label_smoothing=0.1)
    )
    slope = gradient(lambda x: loss_function(tampered)(x, target), z)
    expected = gradient(lambda x: tampered_cross_entropy(x, target, alpha=0.3, label_smoothing=0.1), z)
    assert torch.equal(slope, expected)
    torch.testing.assert_close(predicted_log_probabilities(z, tempered).exp(), (0.3 * z).softmax(-1))
    torch.testing.assert_close(predicted_log_probabilities(z, tampered).exp(), z.softmax(-1))
    assert predicted_log_probabilities(z.half(), tempered).dtype == torch.float32
