from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.functional import hessian
from torch.func import grad, vmap

from trainables import Recipe
from trainables.loss_settings import RecipeWarning
from trainables.losses.distilled import asymmetric_distillation
from trainables.losses.of_recipe import loss_function, predicted_log_probabilities
from trainables.losses.smoothing import Reduction
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

ALPHAS = (0.0, 1e-6, 0.05, 0.25, 1.0)
SMOOTHING = st.sampled_from([0.0, 0.1, 0.9])
REDUCTION: st.SearchStrategy[Reduction] = st.sampled_from(["mean", "sum"])
SCALES = (1e-3, 1.0, 30.0)
Case = tuple[Tensor, Tensor]
few = settings(max_examples=30)


def case(n: int, c: int, scale: float, seed: int, soft: bool, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(n, c, generator=generator, dtype=torch.float64)).to(dtype)
    if soft:
        return logits, torch.randn(n, c, generator=generator, dtype=torch.float64).softmax(-1)
    return logits, torch.randint(c, (n,), generator=generator)


def cases(scales: tuple[float, ...] = SCALES, soft: bool | None = None) -> st.SearchStrategy[Case]:
    kinds = st.booleans() if soft is None else st.just(soft)
    return st.builds(
        case, st.integers(1, 16), st.integers(2, 50), st.sampled_from(scales), st.integers(0, 10**6), kinds
    )


def teacher_of(logits: Tensor) -> Tensor:
    """A teacher's logits for the samples whose student says ``logits``."""
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return (3 * noise + 1).to(logits.dtype)


def distribution(target: Tensor, classes: int, eps: float = 0.0) -> Tensor:
    """The smoothed target written out, float64."""
    q = target if target.is_floating_point() else torch.eye(classes, dtype=torch.float64)[target]
    return (1 - eps) * q + eps / classes


def gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    leaf = logits.detach().clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


# ---- the two losses without a teacher, against their formulas


@given(cases((*SCALES, 1e4)), st.sampled_from([1e-3, 0.1, 1.0, 10.0, 1e3]), SMOOTHING, REDUCTION)
def test_tempered_value_and_gradient_follow_the_formula(
    sample: Case, beta: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    q, p = distribution(target, z.shape[1], eps), (beta * z).softmax(-1)
    share = len(z) if reduction == "mean" else 1
    loss = partial(tempered_cross_entropy, target=target, beta=beta, label_smoothing=eps, reduction=reduction)
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


@few
@given(st.integers(2, 8), st.sampled_from([0.1, 1.0, 10.0]), st.integers(0, 10**6), st.booleans())
def test_hessian_of_tempered_is_label_free_semidefinite_and_at_most_half_of_beta_squared(
    c: int, beta: float, seed: int, soft: bool
) -> None:
    z, target = case(1, c, 1.0, seed, soft)
    found = hessian(lambda x: tempered_cross_entropy(x[None], target, beta=beta), z[0])
    p = (beta * z[0]).softmax(-1)
    torch.testing.assert_close(found, beta**2 * (p.diag() - p[:, None] * p), rtol=0, atol=1e-12 * max(1, beta**2))
    eigenvalues = torch.linalg.eigvalsh(found)
    assert eigenvalues.min() >= -1e-12 * max(1, beta**2)
    assert eigenvalues.max() <= beta**2 / 2 + 1e-12 * max(1, beta**2)
    assert (found @ torch.ones(c, dtype=torch.float64)).abs().max() < 1e-12 * max(1, beta**2)


@given(cases((*SCALES, 1e4)), st.sampled_from(ALPHAS), SMOOTHING, REDUCTION)
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


@few
@given(cases(), SMOOTHING)
def test_tampered_with_alpha_zero_has_the_gradient_of_uniform_probabilities(sample: Case, eps: float) -> None:
    z, target = sample
    expected = (1 / z.shape[1] - distribution(target, z.shape[1], eps)) / len(z)
    for alpha in (0.0, torch.tensor(0.0)):
        found = gradient(lambda x, a=alpha: tampered_cross_entropy(x, target, alpha=a, label_smoothing=eps), z)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_tampered_with_alpha_zero_takes_even_huge_logits_as_equal() -> None:
    z, target = torch.tensor([[1e28, -1e28, 0.0, 5.0]]), torch.tensor([1])
    found = gradient(lambda x: tampered_cross_entropy(x, target, alpha=0.0), z)
    torch.testing.assert_close(found, torch.tensor([[0.25, -0.75, 0.25, 0.25]]))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.25, 1.0])
def test_tampered_gradient_is_the_numerical_slope_of_the_surrogate_of_the_source(
    alpha: float, eps: float, soft: bool
) -> None:
    z, target = case(3, 5, 1.0, 0, soft)
    q = distribution(target, 5, eps)

    def surrogate(x: Tensor) -> Tensor:
        if alpha == 0:
            return (x.mean(-1) - (q * x).sum(-1)).mean()
        return -(q * (alpha * x).log_softmax(-1)).sum(-1).mean() / alpha

    steps = 1e-5 * torch.eye(z.numel(), dtype=z.dtype).view(-1, *z.shape)
    slope = torch.stack([(surrogate(z + step) - surrogate(z - step)) / 2e-5 for step in steps]).view_as(z)
    found = gradient(lambda x: tampered_cross_entropy(x, target, alpha=alpha, label_smoothing=eps), z)
    torch.testing.assert_close(found, slope, rtol=0, atol=1e-9)


@given(cases(), st.sampled_from(ALPHAS), SMOOTHING, st.sampled_from(["mean", "sum", "none"]))
def test_tampered_value_is_exactly_the_plain_cross_entropy(
    sample: Case, alpha: float, eps: float, reduction: Reduction
) -> None:
    z, target = sample
    found = tampered_cross_entropy(z, target, alpha=alpha, label_smoothing=eps, reduction=reduction)
    plain = tempered_cross_entropy(z, target, beta=1.0, label_smoothing=eps, reduction=reduction)
    assert torch.equal(found, plain)


@few
@given(cases(), st.sampled_from(ALPHAS[1:]))
def test_tampering_keeps_the_order_of_the_classes_and_never_moves_more_than_all_mass(
    sample: Case, alpha: float
) -> None:
    z, target = sample
    change = gradient(lambda x: tampered_cross_entropy(x, target, alpha=alpha, reduction="sum"), z)
    tampered = change + distribution(target, z.shape[1])
    assert (tampered.gather(-1, z.argsort(-1)).diff(dim=-1) >= -1e-14).all()
    torch.testing.assert_close(tampered.sum(-1), torch.ones(len(z), dtype=z.dtype), rtol=0, atol=1e-13)
    assert change.abs().sum(-1).max() <= 2 + 1e-13


@few
@given(cases())
def test_entropy_of_tampered_probabilities_falls_as_alpha_grows(sample: Case) -> None:
    z, _ = sample
    target = torch.zeros(len(z), dtype=torch.int64)

    def entropy(alpha: float) -> Tensor:
        change = gradient(lambda x: tampered_cross_entropy(x, target, alpha=alpha, reduction="sum"), z)
        return torch.special.entr((change + distribution(target, z.shape[1])).clamp_min(0)).sum(-1)

    entropies = torch.stack([entropy(alpha) for alpha in ALPHAS])
    assert (entropies.diff(dim=0) <= 1e-12).all()


@given(cases(), SMOOTHING, st.sampled_from(["mean", "sum", "none"]))
def test_without_temperature_both_are_torch_cross_entropy(sample: Case, eps: float, reduction: Reduction) -> None:
    z, target = sample
    torchs = partial(F.cross_entropy, target=target, reduction=reduction, label_smoothing=eps)
    tempered = partial(tempered_cross_entropy, target=target, beta=1.0, label_smoothing=eps, reduction=reduction)
    tampered = partial(tampered_cross_entropy, target=target, alpha=1.0, label_smoothing=eps, reduction=reduction)
    for ours in (tempered, tampered):
        torch.testing.assert_close(ours(z), torchs(z), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            gradient(lambda x, ours=ours: ours(x).sum(), z), gradient(lambda x: torchs(x).sum(), z), rtol=0, atol=1e-13
        )


@few
@given(cases(soft=False))
def test_tempered_with_beta_one_and_class_indices_is_bit_equal_to_torch(sample: Case) -> None:
    z, target = sample
    assert torch.equal(tempered_cross_entropy(z, target, beta=1.0), F.cross_entropy(z, target))
    found = gradient(lambda x: tempered_cross_entropy(x, target, beta=1.0), z)
    assert torch.equal(found, gradient(lambda x: F.cross_entropy(x, target), z))


@few
@given(cases(soft=False), st.sampled_from([0.1, 0.3]))
def test_smoothing_over_wrong_classes_only_is_torchs_with_a_larger_share(sample: Case, eps: float) -> None:
    z, target = sample
    c = z.shape[1]
    is_true = torch.eye(c, dtype=torch.float64)[target]
    q = (1 - eps) * is_true + eps / (c - 1) * (1 - is_true)
    expected = -(q * z.log_softmax(-1)).sum(-1).mean()
    found = tempered_cross_entropy(z, target, beta=1.0, label_smoothing=eps * c / (c - 1))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


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


def trained(
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    clip: float = math.inf,
) -> Tensor:
    """Parameters of a small network, float64, after 40 steps whose gradient norm is at most ``clip``."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    parameters = list(network.parameters())
    steps = optimizer(parameters)
    for seed in range(40):
        x, _ = case(16, 6, 1.0, seed, soft=False)
        target = (x[:, :4] + 0.5 * x[:, 2:]).argmax(-1)
        steps.zero_grad()
        loss(network(x), target).backward()
        slopes = [p.grad for p in parameters if p.grad is not None]
        norm = torch.cat([slope.flatten() for slope in slopes]).norm()
        for slope in slopes:
            slope *= (clip / norm).clamp(max=1)
        steps.step()
    return torch.cat([p.detach().flatten() for p in parameters])


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.7])
def test_tampering_walks_the_path_of_tempering_under_adam_with_rescaled_eps(alpha: float) -> None:
    adam = partial(torch.optim.AdamW, lr=0.02, weight_decay=0.1)
    tampered = trained(partial(tampered_cross_entropy, alpha=alpha), partial(adam, eps=1e-3))
    tempered = trained(partial(tempered_cross_entropy, beta=alpha), partial(adam, eps=1e-3 * alpha))
    other = trained(partial(tempered_cross_entropy, beta=alpha), partial(adam, eps=1e-3))
    assert (tampered - tempered).abs().max() <= 1e-12
    assert (tampered - other).abs().max() > 1e-4


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.7])
@pytest.mark.parametrize("nesterov", [False, True])
def test_tampering_walks_the_path_of_tempering_with_clipping_rescaled_by_alpha(alpha: float, nesterov: bool) -> None:
    sgd = partial(torch.optim.SGD, momentum=0.9, nesterov=nesterov)
    tampered = trained(partial(tampered_cross_entropy, alpha=alpha), partial(sgd, lr=0.1, weight_decay=0.01), clip=0.3)
    tempered = trained(
        partial(tempered_cross_entropy, beta=alpha),
        partial(sgd, lr=0.1 / alpha, weight_decay=0.01 * alpha),
        clip=0.3 * alpha,
    )
    free = trained(partial(tampered_cross_entropy, alpha=alpha), partial(sgd, lr=0.1, weight_decay=0.01))
    assert (tampered - tempered).abs().max() <= 1e-12
    assert (tampered - free).abs().max() > 1e-3


@given(cases())
def test_beta_near_zero_gives_the_log_of_the_number_of_classes(sample: Case) -> None:
    z, target = sample
    assert float(tempered_cross_entropy(z, target, beta=1e-13)) == pytest.approx(math.log(z.shape[1]), abs=1e-10)


def test_large_beta_gives_the_hinge() -> None:
    z, target = case(8, 5, 1.0, 3, soft=False)
    hinge = (z.max(-1).values - z.gather(-1, target[:, None])[:, 0]).mean()
    assert float(tempered_cross_entropy(z, target, beta=1e6)) / 1e6 == pytest.approx(float(hinge), abs=2e-6)


# ---- what holds for all three losses; a loss is a function of logits, target and a teacher's logits

Loss = Callable[..., Tensor]


def tempered(z: Tensor, target: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    return tempered_cross_entropy(z, target, beta=0.3, label_smoothing=0.1, reduction=reduction)


def tampered(z: Tensor, target: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    return tampered_cross_entropy(z, target, alpha=0.3, label_smoothing=0.1, reduction=reduction)


def distilled(z: Tensor, target: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    return asymmetric_distillation(
        z, teacher, target, tau1=4.0, tau2=2.5, weight=0.6, student_temperature=1.5, reduction=reduction
    )


LOSSES: tuple[Loss, ...] = (tempered, tampered, distilled)
all_losses = pytest.mark.parametrize("loss", LOSSES)


@all_losses
@given(sample=cases(), shift=st.floats(-100, 100))
def test_shifting_all_logits_changes_nothing(loss: Loss, sample: Case, shift: float) -> None:
    z, target = sample
    f = teacher_of(z)
    torch.testing.assert_close(loss(z + shift, target, f), loss(z, target, f), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradient(lambda x: loss(x, target, f), z + shift), gradient(lambda x: loss(x, target, f), z), rtol=0, atol=1e-12
    )


@all_losses
@given(sample=cases())
def test_gradient_rows_sum_to_zero(loss: Loss, sample: Case) -> None:
    z, target = sample
    assert gradient(lambda x: loss(x, target, teacher_of(z)), z).sum(-1).abs().max() < 1e-13


@all_losses
@few
@given(sample=cases(), seed=st.integers(0, 10**6))
def test_renaming_the_classes_permutes_the_gradient(loss: Loss, sample: Case, seed: int) -> None:
    z, target = sample
    f = teacher_of(z)
    order = torch.randperm(z.shape[1], generator=torch.Generator().manual_seed(seed))
    renamed = target[:, order] if target.is_floating_point() else order.argsort()[target]
    torch.testing.assert_close(loss(z[:, order], renamed, f[:, order]), loss(z, target, f), rtol=1e-12, atol=1e-12)
    found = gradient(lambda x: loss(x, renamed, f[:, order]), z[:, order])
    torch.testing.assert_close(found, gradient(lambda x: loss(x, target, f), z)[:, order], rtol=0, atol=1e-13)


@all_losses
@few
@given(sample=cases(), seed=st.integers(0, 10**6))
def test_reordering_the_batch_reorders_the_gradient(loss: Loss, sample: Case, seed: int) -> None:
    z, target = sample
    f = teacher_of(z)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(z[order], target[order], f[order]), loss(z, target, f), rtol=1e-12, atol=1e-12)
    found = gradient(lambda x: loss(x, target[order], f[order]), z[order])
    torch.testing.assert_close(found, gradient(lambda x: loss(x, target, f), z)[order], rtol=0, atol=1e-14)


@all_losses
@few
@given(sample=cases())
def test_a_batch_given_twice_has_the_same_mean_loss_and_half_the_gradient_each(loss: Loss, sample: Case) -> None:
    z, target = sample
    f = teacher_of(z)
    two, targets, teachers = torch.cat([z, z]), torch.cat([target, target]), torch.cat([f, f])
    torch.testing.assert_close(loss(two, targets, teachers), loss(z, target, f), rtol=1e-12, atol=1e-12)
    found = gradient(lambda x: loss(x, targets, teachers), two)
    once = gradient(lambda x: loss(x, target, f), z)
    torch.testing.assert_close(found, torch.cat([once, once]) / 2, rtol=0, atol=1e-14)


@all_losses
@few
@given(sample=cases(), parts=st.integers(1, 5))
def test_accumulating_parts_of_a_batch_by_their_share_gives_the_whole(loss: Loss, sample: Case, parts: int) -> None:
    z, target = sample
    f = teacher_of(z)
    whole = gradient(lambda x: loss(x, target, f), z)
    leaf = z.clone().requires_grad_()
    total = 0.0
    for rows in torch.arange(len(z)).chunk(parts):
        part = loss(leaf[rows], target[rows], f[rows]) * len(rows) / len(z)
        part.backward()
        total += float(part.detach())
    assert total == pytest.approx(float(loss(z, target, f)), rel=1e-12, abs=1e-12)
    torch.testing.assert_close(leaf.grad, whole, rtol=0, atol=1e-14)


@all_losses
@few
@given(rows=st.integers(1, 8), shards=st.integers(2, 4), seed=st.integers(0, 10**6), soft=st.booleans())
def test_the_mean_of_equal_shards_is_the_mean_of_all(loss: Loss, rows: int, shards: int, seed: int, soft: bool) -> None:
    z, target = case(rows * shards, 6, 2.0, seed, soft)
    f = teacher_of(z)
    each = [slice(k * rows, (k + 1) * rows) for k in range(shards)]
    values = torch.stack([loss(z[s], target[s], f[s]) for s in each])
    torch.testing.assert_close(values.mean(), loss(z, target, f), rtol=1e-12, atol=1e-12)
    slopes = [gradient(lambda x, s=s: loss(x, target[s], f[s]), z[s]) for s in each]
    whole = gradient(lambda x: loss(x, target, f), z)
    torch.testing.assert_close(torch.cat(slopes) / shards, whole, rtol=0, atol=1e-14)


@all_losses
@few
@given(sample=cases())
def test_mean_and_sum_reduce_the_losses_of_the_samples(loss: Loss, sample: Case) -> None:
    z, target = sample
    f = teacher_of(z)
    each = loss(z, target, f, "none")
    assert each.shape == (len(z),)
    torch.testing.assert_close(loss(z, target, f, "mean"), each.mean(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss(z, target, f, "sum"), each.sum(), rtol=1e-12, atol=1e-12)


@all_losses
@pytest.mark.parametrize("soft", [False, True])
def test_a_gradient_scaler_does_not_change_the_gradient(loss: Loss, soft: bool) -> None:
    z, target = case(9, 5, 3.0, 2, soft, dtype=torch.float32)
    plain = gradient(lambda x: loss(x, target, teacher_of(z)), z)
    for scale in (1.0, 2.0**10, 2.0**16):
        leaf = z.clone().requires_grad_()
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        scaler.scale(loss(leaf, target, teacher_of(z))).backward()
        scaler.unscale_(torch.optim.SGD([leaf]))
        assert leaf.grad is not None
        assert torch.equal(leaf.grad, plain)  # powers of two


@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float16, 6e4), (torch.bfloat16, 6e4), (torch.float32, 1e4), (torch.float32, 1e30)]
)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_extreme_logits_stay_finite(dtype: torch.dtype, size: float, soft: bool, eps: float) -> None:
    z = torch.tensor([[size, -size, 0.0], [-size, size, size]], dtype=dtype)
    target = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.25, 0.25]]) if soft else torch.tensor([1, 0])
    distil = partial(asymmetric_distillation, target=target, tau1=4.0, tau2=0.5, weight=0.5, student_temperature=0.5)
    losses: list[Callable[[Tensor], Tensor]] = [
        *(partial(tempered_cross_entropy, target=target, beta=b, label_smoothing=eps) for b in (1e-3, 1.0, 10.0)),
        *(partial(tampered_cross_entropy, target=target, alpha=a, label_smoothing=eps) for a in ALPHAS),
        *(partial(distil, teacher_logits=f, center_logits=c) for f in (z, -z, z.flip(-1)) for c in (False, True)),
    ]
    for loss in losses:
        assert torch.isfinite(loss(z))
        assert torch.isfinite(gradient(loss, z)).all()


@all_losses
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_logits_are_computed_in_float32(loss: Loss, soft: bool, dtype: torch.dtype) -> None:
    z, target = case(6, 5, 3.0, 1, soft, dtype=dtype)
    f = teacher_of(z)
    value, slope = loss(z, target, f), gradient(lambda x: loss(x, target, f), z)
    wide, teacher = (z, f) if dtype == torch.float64 else (z.float(), f.float())
    assert value.dtype == wide.dtype
    assert slope.dtype == dtype
    assert torch.equal(value, loss(wide, target, teacher))
    assert torch.equal(slope, gradient(lambda x: loss(x, target, teacher), wide).to(dtype))


@all_losses
def test_a_logit_that_is_not_a_number_makes_the_loss_not_a_number(loss: Loss) -> None:
    z = torch.zeros(2, 3)
    z[1, 2] = math.nan
    for target in (torch.tensor([0, 1]), torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])):
        assert loss(z, target, torch.zeros(2, 3)).isnan()


# ---- masked classes: a logit of -inf

MASKABLE: dict[str, Loss] = {
    "tempered": lambda z, t, f, **k: tempered_cross_entropy(z, t, beta=0.3, **k),
    "tampered": lambda z, t, f, **k: tampered_cross_entropy(z, t, alpha=0.3, **k),
    "tampered, uniform": lambda z, t, f, **k: tampered_cross_entropy(z, t, alpha=0.0, **k),
    "tampered, lane": lambda z, t, f, **k: tampered_cross_entropy(z, t, alpha=torch.tensor(0.0), **k),
    "distilled": lambda z, t, f, **k: asymmetric_distillation(z, f, t, tau1=4.0, tau2=2.5, weight=0.6, **k),
    "centred": lambda z, t, f, **k: asymmetric_distillation(
        z, f, t, tau1=4.0, tau2=2.5, weight=0.6, center_logits=True, **k
    ),
}


@pytest.mark.parametrize("name", MASKABLE)
@few
@given(
    n=st.integers(1, 8), c=st.integers(2, 9), masked=st.integers(1, 5), seed=st.integers(0, 10**6), soft=st.booleans()
)
def test_a_masked_class_counts_as_if_it_was_not_there(
    name: str, n: int, c: int, masked: int, seed: int, soft: bool
) -> None:
    z, target = case(n, c, 2.0, seed, soft)
    f, loss = teacher_of(z), MASKABLE[name]
    impossible = torch.full((n, masked), -math.inf, dtype=z.dtype)
    wide, teacher = torch.cat([z, impossible], -1), torch.cat([f, impossible], -1)
    q = torch.cat([target, torch.zeros(n, masked, dtype=z.dtype)], -1) if soft else target
    torch.testing.assert_close(loss(wide, q, teacher), loss(z, target, f), rtol=1e-12, atol=1e-12)
    found = gradient(lambda x: loss(x, q, teacher), wide)
    torch.testing.assert_close(found[:, :c], gradient(lambda x: loss(x, target, f), z), rtol=0, atol=1e-14)
    assert not found[:, c:].any()


@pytest.mark.parametrize("name", MASKABLE)
@pytest.mark.parametrize("soft", [False, True])
def test_classes_masked_differently_in_each_lane_equal_a_loop(name: str, soft: bool) -> None:
    z, _ = case(3 * 4, 5, 2.0, 0, soft)
    z = z.view(3, 4, 5)
    f = teacher_of(z)
    for lane in range(3):
        z[lane, :, 2 + lane] = f[lane, :, 2 + lane] = -math.inf
    target = torch.tensor([0, 1, 1, 0]).expand(3, 4)
    target = torch.eye(5, dtype=z.dtype)[target] if soft else target
    fused = vmap(grad(MASKABLE[name]))(z, target, f)
    for lane in range(3):
        alone = gradient(lambda x, k=lane: MASKABLE[name](x, target[k], f[k]), z[lane])
        torch.testing.assert_close(fused[lane], alone, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", MASKABLE)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_mass_on_a_masked_class_makes_the_loss_infinite_and_keeps_the_gradient_finite(
    name: str, reduction: Reduction
) -> None:
    z, f = torch.tensor([[1.0, 0.5, -math.inf]]), torch.tensor([[1.0, 2.0, 3.0]])
    for target in (torch.tensor([2]), torch.tensor([[0.5, 0.2, 0.3]])):
        assert MASKABLE[name](z, target, f, reduction=reduction) == math.inf
        assert gradient(lambda x, t=target: MASKABLE[name](x, t, f, reduction=reduction), z).isfinite().all()


@pytest.mark.parametrize(
    "loss", [partial(tempered_cross_entropy, beta=0.3), partial(tampered_cross_entropy, alpha=0.3)]
)
def test_smoothing_over_masked_classes_makes_the_loss_infinite(loss: Callable[..., Tensor]) -> None:
    z, target = torch.tensor([[1.0, 0.5, -math.inf, -math.inf]]), torch.tensor([0])
    assert loss(z, target, label_smoothing=0.1) == math.inf
    assert gradient(lambda x: loss(x, target, label_smoothing=0.1), z).isfinite().all()


# ---- one hyperparameter a lane


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


# ---- what is refused, and what is warned of


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got"):
        tempered_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), beta=beta)


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
def test_alpha_out_of_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be >= 0 and finite, got"):
        tampered_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), alpha=alpha)


@pytest.mark.parametrize("alpha", [1.5, 3.0])
def test_alpha_above_one_warns_and_follows_the_formula(alpha: float) -> None:
    z, target = case(6, 5, 2.0, 0, soft=False)
    with pytest.warns(RecipeWarning, match=r"alpha should be in \[0, 1\], got") as warned:
        found = gradient(lambda x: tampered_cross_entropy(x, target, alpha=alpha), z)
    assert warned[0].filename == __file__
    torch.testing.assert_close(found, ((alpha * z).softmax(-1) - distribution(target, 5)) / 6, rtol=0, atol=1e-14)


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
        loss_function(tempered, 0.0)(z, target, None),
        tempered_cross_entropy(z, target, beta=0.3, label_smoothing=0.1),
    )
    slope = gradient(lambda x: loss_function(tampered, 0.0)(x, target, None), z)
    expected = gradient(lambda x: tampered_cross_entropy(x, target, alpha=0.3, label_smoothing=0.1), z)
    assert torch.equal(slope, expected)
    torch.testing.assert_close(predicted_log_probabilities(z, tempered).exp(), (0.3 * z).softmax(-1))
    torch.testing.assert_close(predicted_log_probabilities(z, tampered).exp(), z.softmax(-1))
    assert predicted_log_probabilities(z.half(), tempered).dtype == torch.float32
