"""Statements of methods.md C.2 and C.3 about teachers; numbers are compared with formulas written anew in numpy."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from results.schema import METRICS
from trainables.diagnostics import TeacherStatistics, mean_teacher_statistics, teacher, teacher_statistics
from trainables.loss_settings import RecipeWarning
from trainables.losses import asymmetric_probabilities

TAUS = st.floats(0.1, 20)
SEEDS = st.integers(0, 10**6)
NAMES = [field.name for field in fields(TeacherStatistics)]


def draw(n: int, c: int, scale: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, c, generator=generator, dtype=torch.float64)
    return logits, torch.randint(c, (n,), generator=generator)


def teachers(least_classes: int = 2) -> st.SearchStrategy[tuple[Tensor, Tensor]]:
    scales = st.sampled_from([1e-3, 1.0, 5.0, 30.0])
    return st.builds(draw, st.integers(1, 8), st.integers(least_classes, 30), scales, SEEDS)


def of_one(logits: list[float], y: int, tau1: float, tau2: float) -> dict[str, float]:
    """Statistics of one sample as (target logit first) sums of exponentials."""
    tempered = [f / (tau1 if c == y else tau2) for c, f in enumerate(logits)]
    masses = np.exp(np.array(tempered) - max(tempered))
    p = masses / masses.sum()
    wrong = [c for c in range(len(logits)) if c != y]
    alone = np.exp((np.array(logits)[wrong] - max(logits[c] for c in wrong)) / tau2)
    return {
        "target_logit": logits[y],
        "wrong_logit_std": float(np.std([logits[c] for c in wrong])),
        "target_probability": float(p[y]),
        "derived_average": float(np.mean(p[wrong])),
        "derived_variance": float(np.var(p[wrong])),
        "derived_std": float(np.std(p[wrong])),
        "inherent_variance": float(np.var(alone / alone.sum())),
        "flipped": float(int(np.argmax(p)) != int(np.argmax(logits))),
    }


def with_target_max(f: Tensor, y: Tensor, margin: float = 0.0) -> Tensor:
    return f.scatter(1, y[:, None], f.amax(1, keepdim=True) + margin)


def with_wrong(f: Tensor, y: Tensor, wrong_scale: float) -> Tensor:
    """The wrong logits scaled, the target logit kept."""
    return (wrong_scale * f).scatter(1, y[:, None], f.gather(1, y[:, None]))


@given(teachers(), TAUS, st.floats(0.2, 1))
def test_statistics_are_those_of_their_definitions(sample: tuple[Tensor, Tensor], tau1: float, share: float) -> None:
    f, y = sample
    found = teacher_statistics(f, y, tau1=tau1, tau2=share * tau1)
    expected = [of_one(row, label, tau1, share * tau1) for row, label in zip(f.tolist(), y.tolist(), strict=True)]
    for name in NAMES:
        values = torch.tensor([one[name] for one in expected], dtype=torch.float64)
        torch.testing.assert_close(getattr(found, name).double(), values, rtol=1e-9, atol=1e-14, msg=name)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_means_do_not_depend_on_the_chunks_and_carry_the_names_of_the_records(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    f, y = draw(50, 6, 5.0, 0)
    monkeypatch.setattr(teacher, "_CHUNK", 6 * rows)
    found = mean_teacher_statistics(f, y, tau1=4.0, tau2=2.0, center=True)
    whole = teacher_statistics(f, y, tau1=4.0, tau2=2.0, center=True)
    expected = {f"teacher/{name}": float(getattr(whole, name).double().mean()) for name in NAMES}
    expected["teacher/flip_rate"] = expected.pop("teacher/flipped")
    assert found == pytest.approx(expected, rel=1e-12)
    assert set(found) == {name for name in METRICS if name.startswith("teacher/")}


@given(teachers(3), TAUS, st.floats(0.2, 1))
def test_derived_variance_is_the_inherent_one_times_squared_wrong_mass(
    sample: tuple[Tensor, Tensor], tau1: float, share: float
) -> None:
    f, y = sample
    s = teacher_statistics(f, y, tau1=tau1, tau2=share * tau1)
    by_average = (f.shape[1] - 1) ** 2 * s.derived_average**2 * s.inherent_variance
    torch.testing.assert_close(s.derived_variance, by_average, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(
        s.derived_variance, (1 - s.target_probability) ** 2 * s.inherent_variance, rtol=1e-9, atol=1e-15
    )


@given(teachers(), TAUS, st.floats(0.2, 1))
def test_wrong_probabilities_are_wrong_mass_times_softmax_of_wrong_logits(
    sample: tuple[Tensor, Tensor], tau1: float, share: float
) -> None:
    f, y = sample
    p = asymmetric_probabilities(f, y, tau1=tau1, tau2=share * tau1)
    for row, logits, label in zip(p, f, y.tolist(), strict=True):
        others = [c for c in range(f.shape[1]) if c != label]
        alone = np.exp((logits[others].numpy() - logits[others].max().item()) / (share * tau1))
        expected = (1 - row[label].item()) * alone / alone.sum()
        np.testing.assert_allclose(row[others].numpy(), expected, rtol=1e-9, atol=1e-15)


@given(teachers(2), TAUS)
def test_two_classes_have_no_variance_among_wrong_classes(sample: tuple[Tensor, Tensor], tau: float) -> None:
    f, y = sample[0][:, :2], sample[1] % 2
    s = teacher_statistics(f, y, tau1=tau, tau2=tau)
    for values in (s.derived_variance, s.derived_std, s.inherent_variance, s.wrong_logit_std):
        assert torch.equal(values, torch.zeros(len(f), dtype=torch.float64))


@given(teachers(3), TAUS)
def test_inherent_variance_lies_between_0_and_that_of_one_hot(sample: tuple[Tensor, Tensor], tau: float) -> None:
    f, y = sample
    highest = (f.shape[1] - 2) / (f.shape[1] - 1) ** 2
    found = teacher_statistics(f, y, tau1=tau, tau2=tau).inherent_variance
    assert ((found >= 0) & (found <= highest + 1e-15)).all()
    one_hot = torch.zeros(1, f.shape[1]).index_fill(1, torch.tensor([1]), 1e4)
    found = teacher_statistics(one_hot, torch.tensor([0]), tau1=1.0, tau2=1.0).inherent_variance
    assert float(found) == pytest.approx(highest, rel=1e-12)


@given(teachers(), TAUS, st.floats(1, 5))
def test_lemma_1_variance_of_all_probabilities_falls_with_temperature(
    sample: tuple[Tensor, Tensor], tau: float, factor: float
) -> None:
    f, y = sample
    lower = asymmetric_probabilities(f, y, tau1=tau, tau2=tau).var(1, correction=0)
    higher = asymmetric_probabilities(f, y, tau1=factor * tau, tau2=factor * tau).var(1, correction=0)
    assert (higher <= lower + 1e-14).all()


@given(teachers(), TAUS, st.floats(1, 5))
def test_proposition_3_temperature_lowers_target_probability_and_raises_derived_average(
    sample: tuple[Tensor, Tensor], tau: float, factor: float
) -> None:
    f, y = with_target_max(*sample), sample[1]
    lower = teacher_statistics(f, y, tau1=tau, tau2=tau)
    higher = teacher_statistics(f, y, tau1=factor * tau, tau2=factor * tau)
    assert (higher.target_probability <= lower.target_probability + 1e-14).all()
    assert (higher.derived_average >= lower.derived_average - 1e-14).all()


@given(teachers(3), TAUS, TAUS, st.floats(1, 5))
def test_inherent_variance_falls_with_tau2_and_does_not_know_tau1(
    sample: tuple[Tensor, Tensor], tau1: float, tau2: float, factor: float
) -> None:
    f, y = sample
    tau1 = max(tau1, factor * tau2)
    lower = teacher_statistics(f, y, tau1=tau1, tau2=tau2).inherent_variance
    higher = teacher_statistics(f, y, tau1=tau1, tau2=factor * tau2).inherent_variance
    assert (higher <= lower + 1e-14).all()
    assert torch.equal(lower, teacher_statistics(f, y, tau1=3 * tau1, tau2=tau2).inherent_variance)


@given(teachers(3), TAUS, st.floats(0.2, 1), st.floats(0, 20))
def test_remark_5_larger_target_logit_raises_its_probability_and_lowers_derived_variance(
    sample: tuple[Tensor, Tensor], tau1: float, share: float, more: float
) -> None:
    f, y = sample
    sure = f.scatter_add(1, y[:, None], torch.full((len(y), 1), more, dtype=f.dtype))
    before, after = (teacher_statistics(g, y, tau1=tau1, tau2=share * tau1) for g in (f, sure))
    assert (after.target_probability >= before.target_probability - 1e-14).all()
    assert (after.derived_variance <= before.derived_variance * (1 + 1e-12)).all()
    torch.testing.assert_close(after.inherent_variance, before.inherent_variance, rtol=0, atol=0)


@given(teachers(3), TAUS, st.floats(0, 1))
def test_remark_6_scaled_down_wrong_logits_vary_less_after_softmax(
    sample: tuple[Tensor, Tensor], tau: float, scale: float
) -> None:
    f, y = sample
    before, after = (teacher_statistics(g, y, tau1=tau, tau2=tau) for g in (f, with_wrong(f, y, scale)))
    assert (after.wrong_logit_std <= before.wrong_logit_std).all()
    assert (after.inherent_variance <= before.inherent_variance + 1e-14).all()


def test_remark_6_fails_for_wrong_logits_that_are_not_scaled() -> None:
    """Smaller variance of g, larger variance of softmax(g): the paper's remark holds for g' = s g only."""
    f, y = torch.tensor([[9.0, 0.0, 0.0, 0.0, -10.0], [9.0, 3.0, 0.0, 0.0, 0.0]]), torch.tensor([0, 0])
    s = teacher_statistics(f, y, tau1=1.0, tau2=1.0)
    assert s.wrong_logit_std[1] < s.wrong_logit_std[0]
    assert s.inherent_variance[1] > s.inherent_variance[0]


@given(teachers(3), TAUS, st.floats(0.2, 1), st.floats(0, 1))
def test_corollary_7_2_at_equal_target_probability_scaled_wrong_logits_have_less_derived_variance(
    sample: tuple[Tensor, Tensor], tau1: float, share: float, scale: float
) -> None:
    f, y = sample
    tau2 = share * tau1
    scaled = with_wrong(f, y, scale)
    mass = [(g / tau2).scatter(1, y[:, None], -math.inf).logsumexp(1, keepdim=True) for g in (f, scaled)]
    scaled = scaled.scatter_add(1, y[:, None], tau1 * (mass[1] - mass[0]))  # the target keeps its share
    before, after = (teacher_statistics(g, y, tau1=tau1, tau2=tau2) for g in (f, scaled))
    torch.testing.assert_close(after.target_probability, before.target_probability, rtol=1e-9, atol=1e-12)
    assert (after.derived_variance <= before.derived_variance + 1e-12).all()


def turning_points(f: Tensor, y: Tensor) -> Tensor:
    """How often the derived variance (N,) of plain temperature scaling turns, over temperatures of .02 to 300."""
    taus = np.geomspace(0.02, 300, 300)
    curves = torch.stack([teacher_statistics(f, y, tau1=t, tau2=t).derived_variance for t in taus], dim=1)
    turns = []
    for changes in (curves / curves.amax(1, keepdim=True)).diff():
        signs = changes[changes.abs() > 1e-11].sign()
        assert signs[-1] == -1
        turns.append(int((signs.diff() != 0).sum()))
    return torch.tensor(turns)


def test_derived_variance_turns_at_most_once_in_temperature_as_far_as_drawn_with_a_margin() -> None:
    """Empirical, nowhere proven: right teachers of 6 classes, a tenth or more of a logit's spread ahead."""
    f, y = draw(500, 6, 3.0, 0)
    assert (turning_points(with_target_max(f, y, margin=0.3), y) <= 1).all()


def test_derived_variance_may_turn_three_times_where_the_margin_is_small() -> None:
    f = torch.tensor([[2.7, 2.6, 2.1, -1.7, -2.9, -4.8]])
    assert turning_points(f, torch.tensor([0])).tolist() == [3]


@given(teachers(), TAUS)
def test_plain_temperature_scaling_never_flips(sample: tuple[Tensor, Tensor], tau: float) -> None:
    f, y = sample
    assert mean_teacher_statistics(f, y, tau1=tau, tau2=tau)["teacher/flip_rate"] == 0
    assert not teacher_statistics(f.round(), y, tau1=tau, tau2=tau).flipped.any()  # ties among them


@given(teachers(), TAUS, st.floats(0.1, 1))
def test_a_right_teacher_flips_where_its_target_logit_falls_behind(
    sample: tuple[Tensor, Tensor], tau1: float, share: float
) -> None:
    f, y = with_target_max(*sample, margin=0.1), sample[1]
    best_wrong = f.scatter(1, y[:, None], -math.inf).amax(1)
    lead = f.gather(1, y[:, None])[:, 0] / tau1 - best_wrong / (share * tau1)
    found = teacher_statistics(f, y, tau1=tau1, tau2=share * tau1).flipped
    clear = lead.abs() > 1e-9
    assert torch.equal(found[clear], (lead < 0)[clear])


def test_flips_of_known_teachers() -> None:
    f = torch.tensor([[5.0, 4.0, 0.0], [9.0, 4.0, 0.0], [4.0, 5.0, 0.0], [-4.0, -3.0, -9.0]])
    found = teacher_statistics(f, torch.zeros(4, dtype=torch.int64), tau1=4.0, tau2=2.0).flipped
    # 5/4 < 4/2: loses the label; 9/4 > 4/2: keeps it; wrong and stays wrong; -4/4 > -3/2: wrong, becomes right
    assert found.tolist() == [True, False, False, True]


@given(teachers(), TAUS, st.floats(1.01, 3))
def test_tau1_lowers_target_probability_only_of_positive_target_logits(
    sample: tuple[Tensor, Tensor], tau: float, factor: float
) -> None:
    f, y = sample
    before = teacher_statistics(f, y, tau1=tau, tau2=tau)
    after = teacher_statistics(f, y, tau1=factor * tau, tau2=tau)
    change = after.target_probability - before.target_probability
    assert (change * before.target_logit.sign() <= 1e-14).all()


@given(teachers(), st.floats(-20, 20))
def test_center_makes_statistics_forget_a_shift_and_keeps_the_raw_target_logit(
    sample: tuple[Tensor, Tensor], shift: float
) -> None:
    f, y = sample
    plain, moved = (teacher_statistics(g, y, tau1=4.0, tau2=2.0, center=True) for g in (f, f + shift))
    torch.testing.assert_close(moved.target_probability, plain.target_probability, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(moved.derived_std, plain.derived_std, rtol=1e-9, atol=1e-12)
    assert torch.equal(moved.target_logit, (f + shift).gather(1, y[:, None])[:, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_counts_as_its_exact_values_and_extremes_stay_finite(dtype: torch.dtype) -> None:
    f, y = draw(20, 5, 1.0, 3)
    for scale in (1.0, 1.5e4):
        low = (scale * f).to(dtype)
        found, exact = (mean_teacher_statistics(g, y, tau1=4.0, tau2=2.0) for g in (low, low.double()))
        assert found == exact
        assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("logits", "target", "tau2", "problem"),
    [
        (torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64), 1.0, "C >= 2"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64), 1.0, "label a sample"),
        (torch.zeros(3, 4), torch.zeros(3), 1.0, "class indices"),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 1.0, "hold samples"),
        (torch.full((3, 4), torch.nan), torch.zeros(3, dtype=torch.int64), 1.0, "finite"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64), 0.0, "tau2 must be > 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(logits: Tensor, target: Tensor, tau2: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mean_teacher_statistics(logits, target, tau1=1.0, tau2=tau2)


def test_a_steeper_target_is_advised_against() -> None:
    f, y = draw(4, 3, 1.0, 0)
    with pytest.warns(RecipeWarning, match="tau1 should be >= tau2"):
        teacher_statistics(f, y, tau1=1.0, tau2=2.0)


def test_no_gradient_comes_from_the_statistics() -> None:
    f, y = draw(4, 3, 1.0, 0)
    found = teacher_statistics(f.requires_grad_(), y, tau1=2.0, tau2=1.0)
    assert not any(getattr(found, name).requires_grad for name in NAMES)
