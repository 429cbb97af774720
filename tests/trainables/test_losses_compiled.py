from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from tests.trainables.test_losses import case, distribution, gradient, teacher_of
from trainables.losses.distilled import asymmetric_distillation
from trainables.losses.legacy_hook import legacy_hook_cross_entropy
from trainables.losses.tampered import tampered_cross_entropy
from trainables.losses.tempered import tempered_cross_entropy

N, C = 6, 5
ONES = torch.tensor([0.1, 0.4, 0.9])
"""beta, alpha or lambda of each lane."""
TWOS = torch.tensor([0.0, 0.1, 0.2])
"""Label smoothing of each lane; its temperatures are 4 and 2 plus that."""
Lane = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


def tempered(z: Tensor, target: Tensor, teacher: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return tempered_cross_entropy(z, target, beta=one, label_smoothing=two)


def tampered(z: Tensor, target: Tensor, teacher: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return tampered_cross_entropy(z, target, alpha=one, label_smoothing=two)


def distilled(z: Tensor, target: Tensor, teacher: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return asymmetric_distillation(z, teacher, target, tau1=4 + two, tau2=2 + two, weight=one, student_temperature=1.5)


def legacy(z: Tensor, target: Tensor, teacher: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return legacy_hook_cross_entropy(z, target, alpha=one, label_smoothing=two)


def slope_by_hand(lane: Lane, z: Tensor, target: Tensor, teacher: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """The gradient of one lane from its formula, float64."""
    plain = distribution(target, C)
    smoothed = (1 - two) * plain + two / C
    if lane is tempered:
        return one * ((one * z).softmax(-1) - smoothed) / N
    if lane is tampered:
        return ((one * z).softmax(-1) - smoothed) / N
    if lane is distilled:
        p = (teacher / (2 + two + 2 * plain)).softmax(-1)
        return ((1 - one) * (z.softmax(-1) - plain) + one * 1.5 * ((z / 1.5).softmax(-1) - p)) / N
    pred = ((z.softmax(-1) - smoothed) / N / N + smoothed) ** one
    return (pred / pred.sum(-1, keepdim=True) - smoothed) * N


def lanes(soft: bool) -> tuple[Tensor, ...]:
    samples = [case(N, C, 1.0, seed, soft, dtype=torch.float32) for seed in range(3)]
    logits, targets = torch.stack([z for z, _ in samples]), torch.stack([target for _, target in samples])
    return logits, targets, teacher_of(logits), ONES, TWOS


HOOKED = pytest.param(
    legacy, marks=pytest.mark.skipif(TORCH < (2, 15), reason="torch 2.11 refuses to compile a hook inside vmap, loudly")
)
LANES = [tempered, tampered, distilled, HOOKED]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    torch._dynamo.reset()


def assert_compiled_lanes_have_the_gradients_of_the_formula(lane: Lane, soft: bool, backend: str) -> None:
    arguments = lanes(soft)
    slopes = vmap(grad(lane))
    found = torch.compile(slopes, backend=backend, fullgraph=True)(*arguments)
    torch.testing.assert_close(found, slopes(*arguments), rtol=0, atol=1e-6)
    for k, row in enumerate(found):
        z, target, teacher, one, two = (argument[k] for argument in arguments)
        eager = gradient(lambda x, t=target, f=teacher, a=one, b=two: lane(x, t, f, a, b), z)
        by_hand = slope_by_hand(lane, z.double(), target, teacher.double(), one.double(), two.double())
        torch.testing.assert_close(row, eager, rtol=0, atol=1e-6)
        torch.testing.assert_close(row.double(), by_hand, rtol=1e-4 if lane is legacy else 0, atol=1e-6)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("lane", LANES)
def test_compiled_lanes_keep_their_gradients(lane: Lane, soft: bool) -> None:
    assert_compiled_lanes_have_the_gradients_of_the_formula(lane, soft, "aot_eager")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("lane", LANES)
def test_lanes_compiled_by_inductor_keep_their_gradients(
    lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert_compiled_lanes_have_the_gradients_of_the_formula(lane, True, "inductor")


def test_unusual_numbers_do_not_keep_a_loss_from_being_compiled() -> None:
    z, target = case(N, C, 1.0, 0, soft=False)

    def loss(x: Tensor) -> Tensor:
        tampered = tampered_cross_entropy(x, target, alpha=2.0)
        return tampered + asymmetric_distillation(x, x, target, tau1=2.0, tau2=4.0, weight=0.5)

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(compiled(z), loss(z))
