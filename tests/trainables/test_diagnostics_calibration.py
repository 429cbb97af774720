"""Calibration against independent references: torchmetrics for the error, scipy for the temperature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from results.schema import METRICS
from trainables.diagnostics import calibration, calibration_metrics, expected_calibration_error, fit_temperature

Case = tuple[Tensor, Tensor]


def draw(n: int, c: int, scale: float, skill: float, seed: int) -> Case:
    """Predictions of some skill that are not calibrated, float64; the first label is not the first choice."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(c, (n,), generator=generator)
    z = torch.randn(n, c, generator=generator, dtype=torch.float64)
    z[torch.arange(n), target] += skill
    target[0] = z[0].argmin()
    return scale * z, target


def cases(*scales: float) -> st.SearchStrategy[Case]:
    chosen = st.sampled_from(scales or (0.1, 1.0, 10.0))
    return st.builds(draw, st.integers(20, 300), st.integers(2, 20), chosen, st.floats(0.5, 3), st.integers(0, 10**6))


def loss(z: Tensor, target: Tensor, temperature: float = 1.0) -> float:
    logs = scipy.special.log_softmax(z.double().numpy() / temperature, axis=1)
    return float(-logs[np.arange(len(z)), target.numpy()].mean())


def inside(temperature: float) -> bool:
    """Whether a temperature is no end of the range."""
    return 2e-4 < temperature < 5e3


@given(cases(), st.integers(1, 40))
def test_calibration_error_is_that_of_torchmetrics(case: Case, bins: int) -> None:
    logs, target = case[0].float().log_softmax(1), case[1]
    p = logs.double().exp()
    to_edge = (p.amax(1) * bins - (p.amax(1) * bins).round()).abs()
    assume((to_edge > 1e-5).all())  # torchmetrics rounds to float32, which may cross an edge
    expected = multiclass_calibration_error(logs.exp(), target, num_classes=p.shape[1], n_bins=bins)
    assert float(expected_calibration_error(logs, target, bins)) == pytest.approx(float(expected), abs=1e-6)


@given(cases(), st.integers(1, 40))
def test_calibration_error_is_the_weighted_gap_over_bins(case: Case, bins: int) -> None:
    logs, target = case[0].log_softmax(1), case[1]
    top, hit = logs.exp().amax(1).numpy(), (logs.argmax(1) == target).numpy()
    expected = 0.0
    for lower, upper in zip(np.linspace(0, 1, bins + 1), np.linspace(0, 1, bins + 1)[1:], strict=False):
        inside = (top >= lower) & ((top < upper) | (upper == 1))
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - top[inside].mean())
    assert float(expected_calibration_error(logs, target, bins)) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_extremes() -> None:
    certain, target = torch.tensor([[0.0, -math.inf]] * 4), torch.tensor([0, 0, 1, 1])
    assert float(expected_calibration_error(certain, target)) == 0.5
    assert float(expected_calibration_error(certain, torch.zeros(4, dtype=torch.int64))) == 0
    assert float(expected_calibration_error(certain[:1], torch.tensor([1]))) == 1
    # confidence 1 shares the last bin with .99: the gaps of a hit and a miss there cancel, 2 * 1/2 - 1 - .99 over 2
    mixed = torch.tensor([[1.0, 0.0], [0.99, 0.01]], dtype=torch.float64).log()
    assert float(expected_calibration_error(mixed, torch.tensor([1, 0]))) == pytest.approx(0.495)
    edges = torch.tensor([[0.6, 0.4], [0.65, 0.35]], dtype=torch.float64).log()  # one bin of 5: 0.6..0.8
    assert float(expected_calibration_error(edges, torch.tensor([0, 1]), bins=5)) == pytest.approx(0.125)


@given(cases())
def test_temperature_is_that_of_scipy(case: Case) -> None:
    z, target = case
    found = float(fit_temperature(z, target))
    assume(inside(found))
    best = scipy.optimize.minimize_scalar(
        lambda u: loss(z, target, math.exp(-u)), bounds=(-9.2, 9.2), method="bounded", options={"xatol": 1e-9}
    )
    assert found == pytest.approx(math.exp(-best.x), rel=1e-5)


@given(cases(0.01, 1.0, 100.0))
def test_mean_expected_logit_at_the_temperature_is_the_mean_logit_of_the_labels(case: Case) -> None:
    """The condition for a minimum: sum over samples of E_p[Z] - Z_y is 0."""
    z, target = case
    temperature = float(fit_temperature(z, target))
    assume(inside(temperature))
    p = scipy.special.softmax(z.numpy() / temperature, axis=1)
    expected = (p * z.numpy()).sum(1).mean()
    assert z.numpy()[np.arange(len(z)), target.numpy()].mean() == pytest.approx(
        expected, abs=1e-9 * float(z.abs().max())
    )


@given(cases(), st.floats(0.05, 20))
def test_dividing_the_logits_divides_the_temperature(case: Case, c: float) -> None:
    z, target = case
    expected = float(fit_temperature(z, target)) / c
    assume(inside(c * expected) and inside(expected))
    assert float(fit_temperature(z / c, target)) == pytest.approx(expected, rel=1e-9)


@given(cases())
def test_logits_and_log_probabilities_give_one_temperature(case: Case) -> None:
    z, target = case
    expected = float(fit_temperature(z, target))
    assert float(fit_temperature(z.log_softmax(1), target)) == pytest.approx(expected, rel=1e-9)


@given(cases(), st.permutations(range(20)))
def test_duplicated_and_reordered_samples_give_one_temperature(case: Case, order: list[int]) -> None:
    z, target = case
    again = torch.cat([torch.tensor(order), torch.arange(20, len(z)), torch.arange(len(z))])
    expected = float(fit_temperature(z, target))
    assert float(fit_temperature(z[again], target[again])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    z, target = draw(100, 4, 3.0, 1.0, 0)
    temperature = fit_temperature(z, target)
    expected = calibration_metrics("val", z, target, temperature)
    monkeypatch.setattr(calibration, "_CHUNK", 4 * rows)
    assert float(fit_temperature(z, target)) == pytest.approx(float(temperature), rel=1e-9)
    assert calibration_metrics("val", z, target, temperature) == pytest.approx(expected, rel=1e-12)


@given(cases(1e-3, 1.0, 1e3))
def test_metrics_before_and_after(case: Case) -> None:
    z, target = case
    temperature = fit_temperature(z, target)
    found = calibration_metrics("val", z, target, temperature)
    expected = {
        "val/ece": float(expected_calibration_error(z.log_softmax(1), target)),
        "val/loss_refit": loss(z, target, float(temperature)),
        "val/ece_refit": float(expected_calibration_error((z / temperature).log_softmax(1), target)),
    }
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found["val/loss_refit"] <= loss(z, target) + 1e-12
    assume(inside(float(temperature)))
    assert found["val/loss_refit"] <= math.log(z.shape[1]) + 1e-12  # that of the hottest of all, the uniform one


def test_metrics_of_both_splits_have_names_of_the_records() -> None:
    z, target = draw(50, 5, 1.0, 1.0, 0)
    for split in ("val", "test"):
        found = calibration_metrics(split, z, target, torch.tensor(2.0))
        assert set(found) == {f"{split}/{name}" for name in ("ece", "loss_refit", "ece_refit")} <= set(METRICS)


@pytest.mark.parametrize(("n", "c", "scale"), [(1, 2, 1.0), (1, 10, 1.0), (50, 2, 1e-2), (50, 10, 1e4), (50, 3, 1.0)])
def test_labels_that_are_all_right_end_at_the_coldest_temperature(n: int, c: int, scale: float) -> None:
    z = scale * torch.randn(n, c, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = z.argmax(1)
    temperature = fit_temperature(z, target)
    assert float(temperature) == pytest.approx(1e-4, rel=1e-12)
    found = calibration_metrics("val", z, target, temperature)
    assert found["val/loss_refit"] <= loss(z, target)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_labels_that_are_all_wrong_end_at_the_hottest_temperature(scale: float) -> None:
    z = scale * torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(fit_temperature(z, z.argmin(1))) == pytest.approx(1e4, rel=1e-12)
    assert float(fit_temperature(z[:1], z[:1].argmin(1))) == pytest.approx(1e4, rel=1e-12)


def test_labels_that_know_nothing_of_the_logits_want_a_hot_temperature() -> None:
    generator = torch.Generator().manual_seed(1)
    z, target = torch.randn(2000, 10, generator=generator), torch.randint(10, (2000,), generator=generator)
    assert float(fit_temperature(z, target)) > 10


def test_logits_without_differences_keep_temperature_1() -> None:
    for z in (torch.zeros(5, 3), torch.full((5, 3), 7.5), torch.zeros(5, 1)):
        assert float(fit_temperature(z, torch.zeros(5, dtype=torch.int64))) == 1


def test_a_label_that_ties_for_the_largest_logit_is_as_good_as_right() -> None:
    z = torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    assert float(fit_temperature(z, torch.tensor([1, 0]))) == pytest.approx(1e-4, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_extreme_logits_with_one_mistake_have_a_temperature_in_their_scale(scale: float) -> None:
    z, target = draw(200, 10, 1.0, 3.0, 0)
    expected = float(fit_temperature(z, target)) * scale
    assert float(fit_temperature(scale * z, target)) == pytest.approx(expected, rel=1e-8)


def test_the_search_ends_where_newton_alone_would_creep() -> None:
    """At a root of order 21 a step of Newton's goes a 21st of the way: 100 of them would leave 1 % of the distance."""
    found = calibration._root(lambda x: ((x - 3) ** 21, 21 * (x - 3) ** 20), 1e-4, 1e4)
    assert found == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_samples_of_very_different_scales_have_a_temperature(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scales = 10 ** (6 * torch.rand(40, 1, generator=generator, dtype=torch.float64) - 2)
    z = scales * torch.randn(40, 4, generator=generator, dtype=torch.float64)
    target = z.argmax(1)
    target[0] = z[0].argmin()
    found = float(fit_temperature(z, target))
    best = loss(z, target, found)
    assert all(best <= loss(z, target, factor * found) for factor in (0.99, 1.01))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_counts_as_its_exact_values(dtype: torch.dtype) -> None:
    z, target = draw(200, 10, 3.0, 1.0, 0)
    low = z.to(dtype)
    temperature = fit_temperature(low, target)
    assert temperature.dtype == torch.float64
    assert temperature.shape == ()
    assert float(temperature) == float(fit_temperature(low.double(), target))
    metrics = calibration_metrics("val", low, target, temperature)
    assert metrics == calibration_metrics("val", low.double(), target, temperature)


def test_impossible_classes_are_as_good_as_absent() -> None:
    z, target = draw(50, 4, 2.0, 1.0, 0)
    padded = torch.cat([z, torch.full((50, 2), -math.inf)], dim=1)
    temperature = fit_temperature(padded, target)
    assert float(temperature) == pytest.approx(float(fit_temperature(z, target)), rel=1e-12)
    found = calibration_metrics("val", padded, target, temperature)
    assert found == pytest.approx(calibration_metrics("val", z, target, temperature), rel=1e-12)


def test_inputs_are_left_as_they_are() -> None:
    z, target = draw(50, 4, 2.0, 1.0, 0)
    before = z.clone()
    calibration_metrics("val", z.requires_grad_(), target, fit_temperature(z, target))
    assert torch.equal(z, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_temperature_is_not_fitted_to_what_is_not_a_number(bad: float) -> None:
    z, target = draw(50, 4, 2.0, 1.0, 0)
    z[7, 2] = bad
    with pytest.raises(ValueError, match="must be finite"):
        fit_temperature(z, target)


@pytest.mark.parametrize(("logits", "labels"), [((0, 3), 0), ((4, 3), 5), ((4,), 4), ((4, 0), 4)])
def test_shapes_must_fit(logits: tuple[int, ...], labels: int) -> None:
    z, target = torch.zeros(logits), torch.zeros(labels, dtype=torch.int64)
    for call in (
        lambda: fit_temperature(z, target),
        lambda: expected_calibration_error(z, target),
        lambda: calibration_metrics("val", z, target, torch.tensor(1.0)),
    ):
        with pytest.raises(ValueError, match=r"logits must be \(N, C\)"):
            call()
    with pytest.raises(ValueError, match="bins must be"):
        expected_calibration_error(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), bins=0)
