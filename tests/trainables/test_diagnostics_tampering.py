"""Statements of methods.md B.6 about tampered probabilities; references are numpy powers of p, written anew."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from trainables.diagnostics import stationary_threshold, tampered_probabilities, transformation_curves

BELOW_ONE = st.sampled_from([0.0, 1e-6, 0.05, 0.25]) | st.floats(0, 0.99)
ABOVE_ONE = st.floats(1.01, 20)
EXPONENTS = BELOW_ONE | ABOVE_ONE | st.just(1.0)


def log_distribution(c: int, scale: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(c, generator=generator, dtype=torch.float64)).log_softmax(-1)


def distributions(*scales: float) -> st.SearchStrategy[Tensor]:
    chosen = st.sampled_from(scales or (1e-3, 1.0, 5.0, 30.0, 1e4))
    return st.builds(log_distribution, st.integers(2, 50), chosen, st.integers(0, 10**6))


def entropy(p: Tensor) -> float:
    return float(torch.special.entr(p).sum())


@given(distributions(), BELOW_ONE)
def test_lemma_below_one_tampering_raises_exactly_what_is_at_most_the_threshold(logs: Tensor, alpha: float) -> None:
    p, tampered, t = logs.exp(), tampered_probabilities(logs, alpha), stationary_threshold(logs, alpha)
    clear = (p - t).abs() >= 1e-9
    assert torch.equal((tampered >= p)[clear], (p <= t)[clear])


@given(distributions(1e-3, 1.0, 5.0), ABOVE_ONE)
def test_lemma_above_one_tampering_lowers_exactly_what_is_at_most_the_threshold(logs: Tensor, alpha: float) -> None:
    p, tampered, t = logs.exp(), tampered_probabilities(logs, alpha), stationary_threshold(logs, alpha)
    clear = (p - t).abs() >= 1e-9
    assert torch.equal((tampered <= p)[clear], (p <= t)[clear])


@given(distributions(1e-3, 1.0, 5.0), EXPONENTS)
def test_a_probability_at_the_threshold_stays(logs: Tensor, alpha: float) -> None:
    """At p = t the definition is p^(alpha - 1) = sum p^alpha, hence p' = p."""
    t, p = float(stationary_threshold(logs, alpha)), logs.exp().numpy()
    assert t**alpha / (p**alpha).sum() == pytest.approx(t, rel=1e-9)


@given(distributions(1e-3, 1.0, 5.0), EXPONENTS.filter(lambda alpha: alpha != 1))
def test_the_threshold_is_one_over_the_hill_number(logs: Tensor, alpha: float) -> None:
    hill_number = (logs.exp().numpy() ** alpha).sum() ** (1 / (1 - alpha))
    assert float(stationary_threshold(logs, alpha)) == pytest.approx(1 / hill_number, rel=1e-9)


@given(distributions(), st.lists(st.floats(0, 50), min_size=2, max_size=6))
def test_theorem_1_the_threshold_never_falls_in_alpha(logs: Tensor, alphas: list[float]) -> None:
    found = [float(stationary_threshold(logs, alpha)) for alpha in [0, *sorted(alphas), math.inf]]
    assert all(later >= earlier * (1 - 1e-6) for earlier, later in pairwise(found))


@given(distributions())
def test_the_threshold_at_0_1_2_and_infinity(logs: Tensor) -> None:
    p = logs.exp()
    assert float(stationary_threshold(logs, 0)) == pytest.approx(1 / len(p), rel=1e-12)
    assert float(stationary_threshold(logs, 1)) == pytest.approx(math.exp(-entropy(p)), rel=1e-12)
    assert float(stationary_threshold(logs, 2)) == pytest.approx(float((p * p).sum()), rel=1e-12)
    assert float(stationary_threshold(logs, math.inf)) == pytest.approx(float(p.max()), rel=1e-12)
    assert float(stationary_threshold(logs, 1e6)) == pytest.approx(float(p.max()), rel=1e-2 if p.max() < 1e-4 else 1e-4)


@given(distributions(1e-3, 1.0, 5.0), st.sampled_from([-1e-3, -2e-6, -1e-7, 1e-7, 2e-6, 1e-3]))
def test_the_threshold_passes_1_without_a_step(logs: Tensor, offset: float) -> None:
    p = logs.exp().numpy()
    spread = float((p * (np.log(p) - (p * np.log(p)).sum()) ** 2).sum())  # d ln t / d alpha at 1 is half of this
    found = float(stationary_threshold(logs, 1 + offset))
    expected = float(stationary_threshold(logs, 1)) * math.exp(offset * spread / 2)
    assert found == pytest.approx(expected, rel=1e-9 + 3e-6 * spread + 1e2 * offset**2 * (1 + spread) ** 2)


@given(distributions(1e-3, 1.0, 5.0), EXPONENTS)
def test_log_probabilities_in_float32_lose_little_even_close_to_1(logs: Tensor, alpha: float) -> None:
    for exponent in (alpha, 1 - 2e-6):
        found = stationary_threshold(logs.float(), exponent)
        torch.testing.assert_close(found, stationary_threshold(logs, exponent), rtol=1e-4, atol=0)


@given(distributions(1e-3, 1.0, 5.0), st.integers(1, 5), EXPONENTS | st.just(math.inf))
def test_classes_of_probability_0_stay_out(logs: Tensor, impossible: int, alpha: float) -> None:
    padded = torch.cat([logs, torch.full((impossible,), -math.inf)])
    torch.testing.assert_close(stationary_threshold(padded, alpha), stationary_threshold(logs, alpha))
    assume(alpha != math.inf)
    expected = torch.cat([tampered_probabilities(logs, alpha), torch.zeros(impossible)])
    torch.testing.assert_close(tampered_probabilities(padded, alpha), expected)


def test_the_threshold_of_half_precision_rows_has_their_shape() -> None:
    logs = torch.randn(3, 4, 7).log_softmax(-1)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        found = stationary_threshold(logs.to(dtype), 0.25)
        assert found.shape == (3, 4)
        assert found.dtype == torch.float64
        assert float(found[1, 2]) == float(stationary_threshold(logs[1, 2].to(dtype), 0.25))


@given(distributions(1e-3, 1.0), EXPONENTS)
def test_tampered_probabilities_are_normalised_powers(logs: Tensor, alpha: float) -> None:
    powers = logs.exp().numpy() ** alpha
    np.testing.assert_allclose(tampered_probabilities(logs, alpha).numpy(), powers / powers.sum(), rtol=1e-11)


@given(distributions(), EXPONENTS)
def test_tampered_probabilities_sum_to_1_and_differ_from_a_target_by_at_most_2(logs: Tensor, alpha: float) -> None:
    tampered = tampered_probabilities(logs, alpha)
    assert float(tampered.sum()) == pytest.approx(1, abs=1e-12)
    q = torch.zeros(len(logs), dtype=torch.float64)
    q[logs.argmin()] = 1
    assert float((tampered - q).abs().sum()) <= 2 + 1e-12


@given(distributions(1e-3, 1.0, 5.0), st.floats(0.01, 5))
def test_tampering_keeps_the_strict_order(logs: Tensor, alpha: float) -> None:
    order = logs.argsort()
    steps = tampered_probabilities(logs, alpha)[order].diff()
    assert (steps >= 0).all()
    distinct = (logs[order].diff() > 1e-6) & (tampered_probabilities(logs, alpha)[order][1:] > 1e-250)
    assert (steps[distinct] > 0).all()


@given(distributions())
def test_alpha_0_is_uniform_and_alpha_1_changes_nothing(logs: Tensor) -> None:
    uniform = torch.full_like(logs, 1 / len(logs))
    torch.testing.assert_close(tampered_probabilities(logs, 0), uniform, rtol=1e-12, atol=0)
    torch.testing.assert_close(tampered_probabilities(logs, 1), logs.exp(), rtol=1e-11, atol=0)


@given(distributions(), st.lists(st.floats(0, 20), min_size=2, max_size=6))
def test_entropy_never_rises_in_alpha(logs: Tensor, alphas: list[float]) -> None:
    found = [entropy(tampered_probabilities(logs, alpha)) for alpha in sorted(alphas)]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(found))


@given(distributions(1e-3, 1.0, 5.0), EXPONENTS, st.floats(-100, 100))
def test_logits_may_be_shifted_or_normalised(logs: Tensor, alpha: float, shift: float) -> None:
    torch.testing.assert_close(
        tampered_probabilities(logs + shift, alpha), tampered_probabilities(logs, alpha), rtol=1e-10, atol=1e-14
    )
    torch.testing.assert_close(
        stationary_threshold(logs + shift, alpha), stationary_threshold(logs, alpha), rtol=1e-10, atol=0
    )


def test_small_classes_survive_where_powers_underflow() -> None:
    found = tampered_probabilities(torch.tensor([0.0, -60.0, -120.0]).log_softmax(-1).float(), 0.05)
    np.testing.assert_allclose(found.numpy(), [0.9503, 0.0473, 0.0024], atol=5e-5)
    assert tampered_probabilities(torch.tensor([0.0, -2e3, -4e3]), 1e-3).tolist() == pytest.approx(
        [0.8668, 0.1173, 0.0159], abs=1e-4
    )


@given(distributions(1e-3, 1.0, 5.0), st.lists(st.floats(0, 3), max_size=5))
def test_curves_are_a_row_of_tampered_probabilities_for_every_exponent(logs: Tensor, alphas: list[float]) -> None:
    curves = transformation_curves(logs.exp(), alphas)
    assert curves.shape == (len(alphas), len(logs))
    for curve, alpha in zip(curves, alphas, strict=True):
        torch.testing.assert_close(curve, tampered_probabilities(logs, alpha), rtol=1e-9, atol=1e-14)


def test_curves_flatten_from_the_distribution_to_uniform_and_keep_impossible_classes_out() -> None:
    curves = transformation_curves(torch.tensor([0.6, 0.0, 0.4]), [1.0, 0.5, 0.0])
    np.testing.assert_allclose(curves[0], [0.6, 0, 0.4], rtol=1e-6)
    np.testing.assert_allclose(curves[2], [0.5, 0, 0.5], rtol=1e-12)
    assert (curves[:, 0].diff() < 0).all()
    assert torch.equal(curves[:, 1], torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize(
    "probabilities", [torch.tensor([0.5, 0.4]), torch.tensor([1.5, -0.5]), torch.eye(2), torch.tensor([torch.nan, 1.0])]
)
def test_curves_need_a_distribution(probabilities: Tensor) -> None:
    with pytest.raises(ValueError, match="probabilities must be"):
        transformation_curves(probabilities, [0.5])


@pytest.mark.parametrize("alpha", [-0.1, math.nan])
def test_an_exponent_that_is_not_at_least_0_is_refused(alpha: float) -> None:
    for function in (stationary_threshold, tampered_probabilities):
        with pytest.raises(ValueError, match="alpha must be >= 0"):
            function(torch.zeros(3), alpha)
    with pytest.raises(ValueError, match="finite"):
        tampered_probabilities(torch.zeros(3), math.inf)
