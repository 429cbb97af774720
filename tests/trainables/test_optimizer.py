"""Steps and clipping against torch's own, and what the temperatures' equivalences say of whole runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.engine import optimizer as optimizer_module
from trainables.engine.loop import LoopExecutor, Objective
from trainables.engine.optimizer import clip_by_norm
from trainables.engine.state import LaneState, Layout
from trainables.losses import tampered_cross_entropy, tempered_cross_entropy
from trainables.recipe import AdamW, Sgd

Loss = Callable[[Tensor, Tensor], Tensor]
LR, STEPS = 0.05, 40


def network() -> nn.Module:
    """Without a bias before the norm: its gradient is rounding noise, which Adam would blow up to whole steps."""
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(5, 9, bias=False), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)).double()


def batches(steps: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, 5, generator=generator, dtype=torch.float64), torch.randint(3, (8,), generator=generator))
        for _ in range(steps)
    ]


def on(loss: Loss, target: Tensor) -> Callable[[Tensor], Objective]:
    return lambda logits: loss(logits, target)


def run(optimizer: Sgd | AdamW, loss: Loss = F.cross_entropy, steps: int = STEPS) -> LaneState:
    module = network()
    state = LaneState([module], torch.device("cpu"))
    executor = LoopExecutor([module], state, optimizer)
    for x, y in batches(steps):
        executor.train_step([x], [on(loss, y)], optimizer.lr)
    return state


def distance(one: LaneState, other: LaneState) -> float:
    return float((one.params - other.params).abs().max())


def tempered(beta: float) -> Loss:
    return lambda z, t: tempered_cross_entropy(z, t, beta=beta)


def tampered(alpha: float) -> Loss:
    return lambda z, t: tampered_cross_entropy(z, t, alpha=alpha)


def assert_same_as_torch(
    reference: Callable[[list[dict[str, object]]], torch.optim.Optimizer], optimizer: Sgd | AdamW
) -> None:
    plain = network()
    groups: list[dict[str, object]] = [
        {"params": [p for p in plain.parameters() if p.ndim >= 2], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in plain.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    torchs = reference(groups)
    clipped = 0
    for x, y in batches(50):
        torchs.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        if optimizer.clip_norm is not None:
            clipped += bool(nn.utils.clip_grad_norm_(plain.parameters(), optimizer.clip_norm) > optimizer.clip_norm)
        torchs.step()
    if optimizer.clip_norm is not None:
        assert 0 < clipped < 50, f"clipping must act in some steps and not in others, acted in {clipped}"
    mine = run(optimizer, steps=50).lane(0)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(mine[name], tensor, rtol=0, atol=1e-12)


@pytest.mark.parametrize("clip_norm", [None, 0.8])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_fifty_steps_give_the_numbers_of_torch_sgd(momentum: float, nesterov: bool, clip_norm: float | None) -> None:
    optimizer = Sgd(lr=LR, momentum=momentum, nesterov=nesterov, weight_decay=0.01, clip_norm=clip_norm)
    assert_same_as_torch(lambda groups: torch.optim.SGD(groups, lr=LR, momentum=momentum, nesterov=nesterov), optimizer)


@pytest.mark.parametrize("clip_norm", [None, 0.8])
@pytest.mark.parametrize(("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.8, 0.95, 1e-3), (0.0, 0.0, 0.1)])
def test_fifty_steps_give_the_numbers_of_torch_adamw(
    beta1: float, beta2: float, eps: float, clip_norm: float | None
) -> None:
    optimizer = AdamW(name="adamw", lr=0.01, beta1=beta1, beta2=beta2, eps=eps, weight_decay=0.05, clip_norm=clip_norm)
    assert_same_as_torch(lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(beta1, beta2), eps=eps), optimizer)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("clip_norm", [1e-3, 1.0, 1e3])
def test_clipping_a_row_gives_the_numbers_of_torch(clip_norm: float, dtype: torch.dtype) -> None:
    module = network().to(dtype)
    F.cross_entropy(module(torch.ones(8, 5, dtype=dtype)), torch.zeros(8, dtype=torch.int64)).backward()
    layout = Layout.of(module)
    row = torch.zeros(layout.size, dtype=dtype)
    for name, view in layout.views(row).items():
        view.copy_(module.get_parameter(name).grad)
    clip_by_norm(row, clip_norm)
    nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
    for name, view in layout.views(row).items():
        torch.testing.assert_close(view, module.get_parameter(name).grad)


def test_clipping_leaves_short_and_zero_gradients_bit_equal() -> None:
    for row in (torch.tensor([0.3, -0.4]), torch.zeros(3)):
        clipped = row.clone()
        clip_by_norm(clipped, 0.6)
        assert torch.equal(clipped, row)


def test_clipping_shows_gradients_that_are_not_finite() -> None:
    row = torch.tensor([1.0, torch.nan])
    clip_by_norm(row, 1.0)
    assert row.isnan().all()


CLIP = 0.4
"""A norm that gradients of tampering exceed in some steps, but not in all."""


@pytest.fixture
def _exact_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch's 1e-6 beside the norm, which is the only thing in clipping that does not scale."""
    monkeypatch.setattr(optimizer_module, "_CLIP_EPS", 0.0)


def tampered_and_tempered(alpha: float, nesterov: bool) -> tuple[LaneState, LaneState]:
    one = Sgd(lr=LR, nesterov=nesterov, weight_decay=0.01, clip_norm=CLIP)
    other = Sgd(lr=LR / alpha, nesterov=nesterov, weight_decay=0.01 * alpha, clip_norm=CLIP * alpha)
    return run(one, tampered(alpha)), run(other, tempered(alpha))


@pytest.mark.usefixtures("_exact_clipping")
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.7])
def test_tampering_is_tempering_with_rescaled_lr_decay_and_clipping(alpha: float, nesterov: bool) -> None:
    """methods.md B.4."""
    one, other = tampered_and_tempered(alpha, nesterov)
    unclipped = run(Sgd(lr=LR, nesterov=nesterov, weight_decay=0.01), tampered(alpha))
    assert distance(one, other) <= 1e-12
    assert distance(one, unclipped) > 1e-3


@pytest.mark.parametrize("alpha", [0.05, 0.7])
def test_clipping_as_torch_does_keeps_tampering_near_tempering(alpha: float) -> None:
    assert distance(*tampered_and_tempered(alpha, nesterov=True)) <= 1e-6 / alpha


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.7])
def test_tampering_is_tempering_under_adamw_with_rescaled_eps(alpha: float) -> None:
    """methods.md B.4: the learning rate and the decoupled decay are the same."""
    settings = {"name": "adamw", "lr": 0.01, "weight_decay": 0.05}
    one = run(AdamW(**settings, eps=1e-2), tampered(alpha))
    other = run(AdamW(**settings, eps=1e-2 * alpha), tempered(alpha))
    unscaled = run(AdamW(**settings, eps=1e-2), tempered(alpha))
    assert distance(one, other) <= 1e-12
    assert distance(one, unscaled) > 1e-4


@pytest.mark.usefixtures("_exact_clipping")
@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
def test_adamw_does_not_see_the_scale_of_the_loss_if_eps_and_clipping_follow_it(beta: float) -> None:
    """methods.md A.5: the step is free of the gradient's scale."""

    def scaled(z: Tensor, t: Tensor) -> Tensor:
        return beta * F.cross_entropy(z, t)

    settings = {"name": "adamw", "lr": 0.01, "weight_decay": 0.05}
    one = run(AdamW(**settings, eps=1e-3, clip_norm=CLIP))
    other = run(AdamW(**settings, eps=1e-3 * beta, clip_norm=CLIP * beta), scaled)
    fixed_eps = run(AdamW(**settings, eps=1e-3, clip_norm=CLIP * beta), scaled)
    assert distance(one, other) <= 1e-12
    assert distance(one, fixed_eps) > 1e-5


@pytest.mark.usefixtures("_exact_clipping")
@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
@pytest.mark.parametrize("power", [1, 2])
def test_sgd_on_a_linear_network_walks_one_path_at_every_temperature_under_the_rule_of_the_square(
    beta: float, power: int
) -> None:
    """methods.md A.6 T1: Z = beta * W x from Z0, with lr / beta^2, decay * beta^2 and clipping at c * beta."""
    data = batches(STEPS)

    def path(beta: float, power: int) -> Tensor:
        torch.manual_seed(4)
        module = nn.Linear(5, 3, bias=False).double()
        with torch.no_grad():
            module.weight.div_(beta)
        state = LaneState([module], torch.device("cpu"))
        lr = LR / beta**power
        optimizer = Sgd(lr=lr, weight_decay=0.01 * beta**power, clip_norm=CLIP * beta)
        executor = LoopExecutor([module], state, optimizer)
        for x, y in data:
            executor.train_step([x], [on(tempered(beta), y)], lr)
        return beta * state.params

    gap = float((path(beta, power) - path(1.0, power)).abs().max())
    assert gap <= 1e-12 if power == 2 else gap > 1e-3
