from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from tests.trainables.test_losses import case, cases, distribution, gradient, teacher_of
from trainables.loss_settings import DistilledLoss, RecipeWarning
from trainables.losses.distilled import (
    asymmetric_distillation,
    asymmetric_probabilities,
    distillation_term,
    without_class_discriminability,
)
from trainables.losses.of_recipe import predicted_log_probabilities
from trainables.losses.smoothing import Reduction

Case = tuple[Tensor, Tensor]
TAUS = st.sampled_from([(4.0, 2.0), (2.5, 1.5), (1.0, 0.3), (3.0, 3.0)])
few = settings(max_examples=40)
ats = partial(asymmetric_distillation, tau1=4.0, tau2=2.5)


def written_out(f: Tensor, target: Tensor, tau1: float, tau2: float) -> Tensor:
    """The teacher's probabilities from exp and a sum, float64."""
    tau = tau2 + distribution(target, f.shape[1]) * (tau1 - tau2)
    powers = torch.exp(f / tau - (f / tau).max(-1, keepdim=True).values)
    return powers / powers.sum(-1, keepdim=True)


def true_class(values: Tensor, target: Tensor) -> Tensor:
    return values.gather(-1, target[:, None])[:, 0]


# ---- the teacher's probabilities


@few
@given(cases((1e-3, 1.0, 30.0, 1e4)), TAUS)
def test_probabilities_follow_the_formula_and_sum_to_one(sample: Case, taus: tuple[float, float]) -> None:
    f, target = sample
    found = asymmetric_probabilities(f, target, tau1=taus[0], tau2=taus[1])
    torch.testing.assert_close(found, written_out(f, target, *taus), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(f), dtype=f.dtype), rtol=0, atol=1e-13)


@few
@given(cases(soft=False), TAUS)
def test_one_hot_rows_have_the_probabilities_of_their_class_indices(sample: Case, taus: tuple[float, float]) -> None:
    f, target = sample
    hard = asymmetric_probabilities(f, target, tau1=taus[0], tau2=taus[1])
    soft = asymmetric_probabilities(f, distribution(target, f.shape[1]), tau1=taus[0], tau2=taus[1])
    torch.testing.assert_close(soft, hard, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@few
@given(sample=cases(), tau=st.sampled_from([0.1, 0.3, 1.0, 3.7, 4.0]))
def test_equal_temperatures_are_plain_temperature_scaling_bit_for_bit(
    dtype: torch.dtype, sample: Case, tau: float
) -> None:
    f, target = sample[0].to(dtype), sample[1]
    expected = (f / tau).softmax(-1)
    for temperature in (tau, torch.tensor(tau, dtype=dtype)):
        assert torch.equal(asymmetric_probabilities(f, target, tau1=temperature, tau2=temperature), expected)


@few
@given(cases(soft=False))
def test_huge_temperatures_give_the_uniform_distribution(sample: Case) -> None:
    f, target = sample
    found = asymmetric_probabilities(f, target, tau1=1e14, tau2=1e13)
    torch.testing.assert_close(found, torch.full_like(f, 1 / f.shape[1]), rtol=0, atol=1e-10)


@few
@given(cases((1.0, 30.0), soft=False))
def test_tiny_temperatures_give_the_largest_class(sample: Case) -> None:
    f, target = sample
    best = f.topk(2).values
    assume(bool((best[:, 0] - best[:, 1] > 1e-6).all()))
    found = asymmetric_probabilities(f, target, tau1=1e-9, tau2=1e-9)
    assert torch.equal(found, distribution(f.argmax(-1), f.shape[1]))


@few
@given(cases((1.0, 30.0), soft=False), TAUS, st.sampled_from([-20.0, 0.5, 3.0]))
def test_shifting_the_teacher_adds_a_bias_to_the_true_class(
    sample: Case, taus: tuple[float, float], shift: float
) -> None:
    f, target = sample
    tau1, tau2 = taus
    is_true = distribution(target, f.shape[1])
    bias = shift * (1 / tau1 - 1 / tau2) * is_true
    expected = (f / (tau2 + is_true * (tau1 - tau2)) + bias).softmax(-1)
    found = asymmetric_probabilities(f + shift, target, tau1=tau1, tau2=tau2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_shifting_the_teacher_matters_unless_the_temperatures_are_equal_or_the_logits_centred() -> None:
    f, target = case(6, 5, 2.0, 0, soft=False)
    changes = {
        (tau2, center): float(
            (
                asymmetric_probabilities(f + 3, target, tau1=4.0, tau2=tau2, center=center)
                - asymmetric_probabilities(f, target, tau1=4.0, tau2=tau2, center=center)
            )
            .abs()
            .max()
        )
        for tau2 in (2.0, 4.0)
        for center in (False, True)
    }
    assert changes[2.0, False] > 0.05
    assert max(changes[4.0, False], changes[2.0, True], changes[4.0, True]) < 1e-14


def test_centred_logits_are_those_minus_their_mean() -> None:
    f, target = case(6, 5, 2.0, 0, soft=False)
    found = asymmetric_probabilities(f, target, tau1=4.0, tau2=2.0, center=True)
    expected = asymmetric_probabilities(f - f.mean(-1, keepdim=True), target, tau1=4.0, tau2=2.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_the_loss_centres_the_teacher_if_asked() -> None:
    z, target = case(6, 5, 2.0, 0, soft=False)
    f = teacher_of(z)
    centred = f - f.mean(-1, keepdim=True)
    asked = ats(z, f, target, weight=0.5, center_logits=True)
    torch.testing.assert_close(asked, ats(z, centred, target, weight=0.5), rtol=1e-13, atol=1e-13)
    assert (asked - ats(z, f, target, weight=0.5)).abs() > 1e-3


@few
@given(cases(soft=False), TAUS)
def test_wrong_classes_keep_their_order(sample: Case, taus: tuple[float, float]) -> None:
    f, target = sample
    p = asymmetric_probabilities(f, target, tau1=taus[0], tau2=taus[1])
    wrong = distribution(target, f.shape[1]) == 0
    rest = f[wrong].view(len(f), -1), p[wrong].view(len(f), -1)
    assert (rest[1].gather(-1, rest[0].argsort(-1)).diff(dim=-1) >= -1e-15).all()


@few
@given(cases((1.0, 30.0), soft=False), TAUS)
def test_the_teacher_still_says_the_label_exactly_if_its_tempered_logit_is_the_largest(
    sample: Case, taus: tuple[float, float]
) -> None:
    f, target = sample
    wrong = f.masked_fill(distribution(target, f.shape[1]) == 1, -math.inf).max(-1).values
    margin = true_class(f, target) / taus[0] - wrong / taus[1]
    assume(bool((margin.abs() > 1e-9).all()))
    p = asymmetric_probabilities(f, target, tau1=taus[0], tau2=taus[1])
    assert torch.equal(true_class(p, target) >= p.max(-1).values, margin > 0)


def test_the_largest_class_can_change_only_with_two_temperatures() -> None:
    f, target = torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([0])
    assert asymmetric_probabilities(f, target, tau1=4.0, tau2=2.0).argmax() == 1
    assert asymmetric_probabilities(f, target, tau1=4.0, tau2=4.0).argmax() == 0


@few
@given(cases((1.0, 3.0), soft=False), st.sampled_from([(4.0, 2.0), (2.0, 2.0), (1.5, 0.7)]))
def test_slopes_of_the_true_class_in_the_temperatures_follow_their_formulas(
    sample: Case, taus: tuple[float, float]
) -> None:
    f, target = sample
    tau1, tau2 = (torch.full((len(f), 1), tau, dtype=f.dtype, requires_grad=True) for tau in taus)
    f_y = true_class(f, target)
    p_y = true_class(asymmetric_probabilities(f, target, tau1=tau1, tau2=tau2), target)
    slope1, slope2 = torch.autograd.grad(p_y.sum(), (tau1, tau2))
    wrong = f.masked_fill(distribution(target, f.shape[1]) == 1, -math.inf)
    mean_g = ((wrong / taus[1]).softmax(-1) * wrong.nan_to_num(neginf=0.0)).sum(-1)
    spread = (p_y * (1 - p_y)).detach()
    torch.testing.assert_close(slope1[:, 0], -f_y * spread / taus[0] ** 2, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(slope2[:, 0], mean_g * spread / taus[1] ** 2, rtol=1e-10, atol=1e-13)


@few
@given(cases((1.0, 3.0), soft=False))
def test_raising_tau1_lowers_the_true_class_exactly_if_its_logit_is_positive(sample: Case) -> None:
    f, target = sample
    f_y = true_class(f, target)
    assume(bool((f_y.abs() > 1e-3).all()))
    low, high = (true_class(asymmetric_probabilities(f, target, tau1=tau, tau2=2.0), target) for tau in (3.0, 4.0))
    assert torch.equal(high < low, f_y > 0)


@few
@given(cases((1.0, 3.0), soft=True))
def test_raising_both_temperatures_lowers_a_true_class_that_is_the_largest(sample: Case) -> None:
    f, _ = sample
    target = f.argmax(-1)
    p_y = torch.stack(
        [true_class(asymmetric_probabilities(f, target, tau1=t, tau2=t), target) for t in (0.5, 1.0, 2.0, 4.0, 8.0)]
    )
    assert (p_y.diff(dim=0) <= 1e-15).all()


@few
@given(cases((1.0, 3.0), soft=False), TAUS)
def test_a_larger_logit_of_the_true_class_makes_it_more_probable(sample: Case, taus: tuple[float, float]) -> None:
    f, target = sample
    larger = f + 0.1 * distribution(target, f.shape[1])
    before, after = (
        true_class(asymmetric_probabilities(logits, target, tau1=taus[0], tau2=taus[1]), target)
        for logits in (f, larger)
    )
    assert (after > before).all()


# ---- the ablation without class discriminability


@few
@given(cases(soft=False))
def test_without_class_discriminability_wrong_classes_share_the_rest_evenly(sample: Case) -> None:
    f, target = sample
    p = f.softmax(-1)
    found = without_class_discriminability(p, target)
    p_y = true_class(p, target)[:, None]
    is_true = distribution(target, f.shape[1])
    expected = is_true * p_y + (1 - is_true) * (1 - p_y) / (f.shape[1] - 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(f), dtype=f.dtype), rtol=0, atol=1e-13)


@few
@given(cases(soft=False), TAUS)
def test_the_loss_is_guidance_plus_smooth_regularisation_plus_class_discriminability(
    sample: Case, taus: tuple[float, float]
) -> None:
    z, target = sample
    f, c = teacher_of(z), z.shape[1]
    p, log_s = written_out(f, target, *taus), z.log_softmax(-1)
    wrong = distribution(target, c) == 0
    e = (1 - true_class(p, target)) / (c - 1)
    guidance = -true_class(p, target) * true_class(log_s, target)
    smooth = -e * log_s[wrong].view(len(z), -1).sum(-1)
    similar = -((p[wrong].view(len(z), -1) - e[:, None]) * log_s[wrong].view(len(z), -1)).sum(-1)
    term = partial(distillation_term, z, f, target, tau1=taus[0], tau2=taus[1], reduction="none")
    torch.testing.assert_close(term(), guidance + smooth + similar, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(term(class_discriminability=False), guidance + smooth, rtol=1e-11, atol=1e-11)


def test_a_sure_teacher_keeps_its_small_wrong_probabilities_in_float32() -> None:
    p = torch.tensor([[1.0, 3e-12, 1e-12]])
    found = without_class_discriminability(p, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 2e-12, 2e-12]]), rtol=1e-6, atol=0)


def test_the_ablation_refuses_probabilities_as_target() -> None:
    z, q = case(3, 4, 1.0, 0, soft=True)
    with pytest.raises(ValueError, match="class_discriminability=False must have class indices as target, got prob"):
        distillation_term(z, z, q, tau1=4.0, tau2=2.0, class_discriminability=False)


# ---- the loss


@few
@given(
    cases(),
    TAUS,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.sampled_from(["mean", "sum", "none"]),
)
def test_value_and_gradient_follow_the_formula(
    sample: Case, taus: tuple[float, float], weight: float, s: float, reduction: Reduction
) -> None:
    z, target = sample
    f = teacher_of(z)
    q, p = distribution(target, z.shape[1]), written_out(f, target, *taus)
    plain = -(q * z.log_softmax(-1)).sum(-1)
    each = (1 - weight) * plain + weight * s**2 * -(p * (z / s).log_softmax(-1)).sum(-1)
    slope = (1 - weight) * (z.softmax(-1) - q) + weight * s * ((z / s).softmax(-1) - p)
    loss = partial(
        asymmetric_distillation,
        teacher_logits=f,
        target=target,
        tau1=taus[0],
        tau2=taus[1],
        weight=weight,
        student_temperature=s,
        reduction=reduction,
    )
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    torch.testing.assert_close(loss(z), expected, rtol=1e-11, atol=1e-11)
    share = len(z) if reduction == "mean" else 1
    torch.testing.assert_close(gradient(lambda x: loss(x).sum(), z), slope / share, rtol=0, atol=1e-13)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("weight", "center"), [(0.0, False), (0.4, False), (1.0, True)])
def test_the_loss_passes_gradcheck_in_logits_and_hyperparameters(soft: bool, weight: float, center: bool) -> None:
    z, target = case(4, 5, 1.0, 0, soft)
    hyper = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.0, 2.5, weight, 1.5)]

    def loss(x: Tensor, tau1: Tensor, tau2: Tensor, share: Tensor, s: Tensor) -> Tensor:
        return asymmetric_distillation(
            x,
            teacher_of(z),
            target,
            tau1=tau1,
            tau2=tau2,
            weight=share,
            student_temperature=s,
            center_logits=center,
        )

    assert torch.autograd.gradcheck(loss, (z.requires_grad_(), *hyper))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@few
@given(sample=cases())
def test_weight_zero_is_bit_equal_to_plain_cross_entropy(reduction: Reduction, sample: Case) -> None:
    z, target = sample
    if target.is_floating_point():
        target = target.argmax(-1)
    loss = partial(ats, teacher_logits=torch.full_like(z, math.nan), target=target, weight=0.0, reduction=reduction)
    plain = partial(F.cross_entropy, target=target, reduction=reduction)
    assert torch.equal(loss(z), plain(z))
    assert torch.equal(gradient(lambda x: loss(x).sum(), z), gradient(lambda x: plain(x).sum(), z))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@few
@given(sample=cases())
def test_weight_one_is_bit_equal_to_the_distillation_term(reduction: Reduction, sample: Case) -> None:
    z, target = sample
    f = teacher_of(z)
    loss = partial(ats, teacher_logits=f, target=target, weight=1.0, reduction=reduction)
    term = partial(distillation_term, teacher_logits=f, target=target, tau1=4.0, tau2=2.5, reduction=reduction)
    assert torch.equal(loss(z), term(z))
    assert torch.equal(gradient(lambda x: loss(x).sum(), z), gradient(lambda x: term(x).sum(), z))


@few
@given(cases(), st.sampled_from([0.5, 2.0, 4.0]))
def test_equal_temperatures_are_plain_distillation(sample: Case, tau: float) -> None:
    z, target = sample
    f = teacher_of(z)
    term = partial(
        distillation_term, teacher_logits=f, target=target, tau1=tau, tau2=tau, student_temperature=tau, reduction="sum"
    )
    divergence = F.kl_div((z / tau).log_softmax(-1), (f / tau).softmax(-1), reduction="sum")
    entropy = torch.special.entr((f / tau).softmax(-1)).sum()
    torch.testing.assert_close(term(z), tau**2 * (divergence + entropy), rtol=1e-11, atol=1e-11)


@few
@given(cases(), TAUS, st.sampled_from([0.5, 1.0, 4.0]))
def test_cross_entropy_form_exceeds_the_divergence_by_the_teachers_entropy_and_has_its_gradient(
    sample: Case, taus: tuple[float, float], s: float
) -> None:
    z, target = sample
    f = teacher_of(z)
    p = written_out(f, target, *taus)
    term = partial(
        distillation_term,
        teacher_logits=f,
        target=target,
        tau1=taus[0],
        tau2=taus[1],
        student_temperature=s,
        reduction="sum",
    )

    def divergence(x: Tensor) -> Tensor:
        return s**2 * F.kl_div((x / s).log_softmax(-1), p, reduction="sum")

    torch.testing.assert_close(
        term(z) - divergence(z), s**2 * torch.special.entr(p).sum(), rtol=1e-10, atol=1e-10 * max(1, float(term(z)))
    )
    torch.testing.assert_close(gradient(term, z), gradient(divergence, z), rtol=0, atol=1e-12)


def test_at_high_temperature_the_gradient_is_the_difference_of_centred_logits() -> None:
    z, target = case(8, 10, 2.0, 0, soft=False)
    f = teacher_of(z)
    expected = (z - z.mean(-1, keepdim=True) - f + f.mean(-1, keepdim=True)) / 10
    for tau, error in ((100.0, 3e-2), (1e4, 3e-4)):
        term = partial(distillation_term, tau1=tau, tau2=tau, student_temperature=tau, reduction="sum")
        found = gradient(lambda x, term=term: term(x, f, target), z)
        assert (found - expected).norm() < error * expected.norm()


def test_no_gradient_flows_into_the_teacher() -> None:
    z, target = case(6, 5, 2.0, 0, soft=False)
    z.requires_grad_()
    f = teacher_of(z.detach()).requires_grad_()
    before = f.detach().clone()
    for loss in (ats(z, f, target, weight=0.5), ats(z, f, target, weight=1.0, class_discriminability=False)):
        loss.backward()
    assert f.grad is None
    assert z.grad is not None
    assert torch.equal(f, before)


def test_the_students_temperature_does_not_change_what_it_predicts() -> None:
    z, _ = case(6, 5, 2.0, 0, soft=False)
    for temperature in (1.0, 8.0, "same"):
        loss = DistilledLoss(name="distilled", teacher="large", student_temperature=temperature)
        assert torch.equal(predicted_log_probabilities(z, loss), z.log_softmax(-1))


@pytest.mark.parametrize("student", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("teacher", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_students_type_decides_the_type_of_the_loss(student: torch.dtype, teacher: torch.dtype) -> None:
    z, target = case(6, 5, 2.0, 0, soft=False, dtype=student)
    f = teacher_of(z).to(teacher)
    found = ats(z, f, target, weight=0.5)
    assert found.dtype == (torch.float64 if student == torch.float64 else torch.float32)
    wide = ats(z.double(), f.double(), target, weight=0.5)
    torch.testing.assert_close(found.double(), wide, rtol=1e-6, atol=1e-6)


# ---- one hyperparameter a lane


@pytest.mark.parametrize("shared_teacher", [False, True])
@pytest.mark.parametrize(
    ("soft", "options"),
    [
        (False, {}),
        (True, {}),
        (False, {"center_logits": True}),
        (True, {"center_logits": True}),
        (False, {"class_discriminability": False}),
    ],
)
def test_vmap_of_grad_with_hyperparameters_of_each_lane_equals_a_loop(
    shared_teacher: bool, soft: bool, options: dict[str, bool]
) -> None:
    lanes = [case(6, 5, 2.0, seed, soft) for seed in range(4)]
    logits = torch.stack([z for z, _ in lanes])
    targets = lanes[0][1] if shared_teacher else torch.stack([t for _, t in lanes])
    teachers = teacher_of(logits[0]) if shared_teacher else teacher_of(logits)
    values = torch.tensor(
        [[4.0, 3.0, 2.0, 1.0], [2.0, 2.5, 2.0, 0.5], [0.0, 0.3, 0.7, 1.0], [1.0, 2.0, 4.0, 0.5]], dtype=torch.float64
    )

    def loss(z: Tensor, f: Tensor, target: Tensor, tau1: Tensor, tau2: Tensor, weight: Tensor, s: Tensor) -> Tensor:
        return asymmetric_distillation(
            z, f, target, tau1=tau1, tau2=tau2, weight=weight, student_temperature=s, **options
        )

    shared = None if shared_teacher else 0
    fused = vmap(grad(loss), in_dims=(0, shared, shared, 0, 0, 0, 0))(logits, teachers, targets, *values)
    for lane, row in enumerate(fused):
        f, target = (teachers, targets) if shared_teacher else (teachers[lane], targets[lane])
        tau1, tau2, weight, s = (float(value) for value in values[:, lane])
        alone = gradient(
            lambda x, f=f, t=target, a=tau1, b=tau2, w=weight, s=s: asymmetric_distillation(
                x, f, t, tau1=a, tau2=b, weight=w, student_temperature=s, **options
            ),
            logits[lane],
        )
        torch.testing.assert_close(row, alone, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", ["tau1", "tau2", "weight", "student_temperature"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_hyperparameters_in_double_precision_do_not_widen_the_lanes(name: str, reduction: Reduction) -> None:
    z, f, target = torch.zeros(3, 6, 5), torch.zeros(6, 5), torch.zeros(6, dtype=torch.int64)
    numbers = {"tau1": 4.0, "tau2": 2.0, "weight": 0.5, "student_temperature": 1.0}
    values = torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)

    def loss(x: Tensor, value: Tensor) -> Tensor:
        return asymmetric_distillation(x, f, target, **(numbers | {name: value}), reduction=reduction)

    assert vmap(loss)(z, values).dtype == torch.float32
    assert loss(z[0], values[0]).dtype == torch.float32


# ---- what is refused, and what is warned of


@pytest.mark.parametrize("name", ["tau1", "tau2", "student_temperature"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(name: str, value: float) -> None:
    settings = {"tau1": 4.0, "tau2": 2.0, "student_temperature": 1.0} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be > 0 and finite, got {value}"):
        asymmetric_distillation(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), weight=0.5, **settings)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=rf"weight must be in \[0, 1\], got {weight}"):
        ats(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), weight=weight)


@pytest.mark.parametrize(
    "function", [asymmetric_probabilities, lambda f, t, **taus: asymmetric_distillation(f, f, t, weight=0.5, **taus)]
)
def test_tau1_below_tau2_warns(function: Callable[..., Tensor]) -> None:
    with pytest.warns(RecipeWarning, match="tau1 should be >= tau2, got 2 < 4"):
        function(torch.zeros(1, 2), torch.tensor([0]), tau1=2.0, tau2=4.0)


@pytest.mark.parametrize("tau2", [2.0, 4.0])
@pytest.mark.filterwarnings("error")
def test_tau1_at_or_above_tau2_does_not_warn(tau2: float) -> None:
    asymmetric_probabilities(torch.zeros(1, 2), torch.tensor([0]), tau1=4.0, tau2=tau2)


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"teacher_logits must have the shape of student_logits, got \(2, 4\) for"):
        ats(torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 1]), weight=0.5)


@pytest.mark.parametrize("target", [torch.tensor([0]), torch.tensor([[0], [1]]), torch.ones(1, 3) / 3])
def test_a_target_of_another_shape_is_refused(target: Tensor) -> None:
    with pytest.raises(ValueError, match=r"target must be of shape \(2(, 3|,)\), got"):
        asymmetric_probabilities(torch.zeros(2, 3), target, tau1=4.0, tau2=2.0)
