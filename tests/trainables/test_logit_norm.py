"""Networks that start at a wished norm of beta * logits (methods.md A.4, test T7)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from trainables.engine.loop import LoopExecutor
from trainables.engine.state import LaneState
from trainables.losses import tempered_cross_entropy
from trainables.models.logit_norm import LogitNormMode, SubtractedStart, Twin, logit_norm, with_logit_norm
from trainables.recipe import Sgd

MODES: tuple[LogitNormMode, ...] = get_args(LogitNormMode)
CPU = torch.device("cpu")
Kind = str


def network(seed: int, kind: Kind = "relu", dtype: torch.dtype = torch.float64) -> nn.Module:
    """A plain network from (N, 5) to (N, 3)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: dict[Kind, Callable[[], list[nn.Module]]] = {
            "relu": lambda: [nn.Linear(5, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)],
            "tanh": lambda: [nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3)],
            "norm": lambda: [nn.Linear(5, 17), nn.BatchNorm1d(17), nn.ReLU(), nn.Linear(17, 3)],
            "linear": lambda: [nn.Linear(5, 3)],
        }
        return nn.Sequential(*layers[kind]()).to(dtype)


def probe(n: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def started(mode: LogitNormMode, norm: float, beta: float = 1.0, kind: Kind = "relu", seed: int = 0) -> nn.Module:
    return with_logit_norm(
        network(seed, kind), mode=mode, norm=norm, beta=beta, probe=probe(), make_twin=partial(network, seed + 1, kind)
    )


def norm_of(module: nn.Module, beta: float = 1.0, inputs: Tensor | None = None) -> float:
    """Measured on a copy, whose batch norms may count."""
    with torch.no_grad():
        return beta * float(logit_norm(copy.deepcopy(module)(probe() if inputs is None else inputs)))


def test_the_norm_is_that_of_a_sample_and_does_not_grow_with_the_probe() -> None:
    z = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert float(logit_norm(z)) == pytest.approx(math.sqrt((25 + 1) / 2))
    assert float(logit_norm(z.repeat(9, 1))) == pytest.approx(float(logit_norm(z)))


@pytest.mark.parametrize("kind", ["relu", "tanh", "norm", "linear"])
@pytest.mark.parametrize("beta", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_meets_the_norm(mode: LogitNormMode, beta: float, kind: Kind) -> None:
    for share in (0.0, 1e-4, 0.03, 0.7):
        wished = share * norm_of(network(0, kind), beta)
        assert norm_of(started(mode, wished, beta, kind), beta) == pytest.approx(wished, rel=2e-6, abs=0)


@pytest.mark.parametrize("norm", [0.0, 0.02, 5.0, 100.0])
@pytest.mark.parametrize("mode", ["subtract", "head_scale"])
def test_norms_above_the_own_one_are_met_where_that_is_possible(mode: LogitNormMode, norm: float) -> None:
    assert norm_of(started(mode, norm, beta=0.3), beta=0.3) == pytest.approx(norm, rel=1e-12, abs=0)


@pytest.mark.parametrize("mode", ["twin", "twin_head"])
def test_norms_above_independent_halves_are_refused(mode: LogitNormMode) -> None:
    with pytest.raises(
        ValueError, match=r"logit_norm must be at most .* independent halves at beta 2, got 50.*subtract"
    ):
        started(mode, 50.0, beta=2.0)


@pytest.mark.parametrize("mode", MODES)
def test_single_precision_meets_the_norm_too(mode: LogitNormMode) -> None:
    x = probe(dtype=torch.float32)
    for wished in (0.0, 1e-3, 0.1):
        module = with_logit_norm(
            network(0, dtype=torch.float32),
            mode=mode,
            norm=wished,
            beta=2.0,
            probe=x,
            make_twin=partial(network, 1, dtype=torch.float32),
        )
        assert norm_of(module, 2.0, x) == pytest.approx(wished, rel=1e-4, abs=0)


def jacobian(module: nn.Module, inputs: Tensor, strip: str = "") -> dict[str, Tensor]:
    values = {name: p.detach() for name, p in module.named_parameters()}
    found: dict[str, Tensor] = jacrev(
        lambda v: functional_call(module, {**{n: b.clone() for n, b in module.named_buffers()}, **v}, (inputs,))
    )(values)
    return {name.removeprefix(strip): block for name, block in found.items()}


@pytest.mark.parametrize("kind", ["relu", "tanh", "norm"])
@pytest.mark.parametrize("share", [0.0, 0.1, 3.0])
def test_subtracting_the_start_leaves_its_jacobian_bit_equal(kind: Kind, share: float) -> None:
    """T7, on the probe and elsewhere."""
    wished = share * norm_of(network(0, kind))
    for inputs in (probe(), probe(4) + 1):
        plain, ours = (
            jacobian(network(0, kind), inputs),
            jacobian(started("subtract", wished, 1.0, kind), inputs, "network."),
        )
        assert plain.keys() == ours.keys()
        assert all(torch.equal(plain[name], ours[name]) for name in plain)


def test_subtracting_keeps_the_share_of_the_logits_everywhere() -> None:
    x, plain = probe(11) * 2, network(0)
    share = 0.25 / norm_of(plain)
    with torch.no_grad():
        torch.testing.assert_close(started("subtract", 0.25)(x), share * plain(x), rtol=1e-13, atol=1e-16)


def angle_of(twin: nn.Module, fresh: nn.Module) -> float:
    """The correlation rho that a twin was given, read from its weights."""
    assert isinstance(twin, Twin)
    first, second = twin.first.get_parameter("0.weight"), twin.second.get_parameter("0.weight")
    drawn = fresh.get_parameter("0.weight")
    design = torch.stack([first.flatten(), drawn.flatten()], dim=1)
    rho, rest = torch.linalg.lstsq(design, second.flatten()[:, None]).solution[:, 0].tolist()
    assert rho**2 + rest**2 == pytest.approx(1, abs=1e-12)
    return float(rho)


def test_a_twins_norm_falls_with_its_correlation_about_as_its_root() -> None:
    shares = (0.02, 0.1, 0.3, 0.6)
    plain = norm_of(network(0, "tanh"))
    rhos = [angle_of(started("twin", share * plain, kind="tanh"), network(1, "tanh")) for share in shares]
    assert rhos == sorted(rhos, reverse=True)
    assert angle_of(started("twin", 0.0, kind="tanh"), network(1, "tanh")) == pytest.approx(1, abs=1e-15)
    slopes = [share / math.sqrt(1 - rho**2) for share, rho in zip(shares, rhos, strict=True)]
    assert max(slopes[:3]) < 1.15 * min(slopes[:3])  # ||Z0|| ~ sqrt(1 - rho^2) near rho = 1
    assert all(0.5 < slope < 2 for slope in slopes)


def test_a_twin_mixes_only_what_was_drawn() -> None:
    twin = started("twin", 0.05, kind="norm")
    assert torch.equal(twin.get_parameter("second.1.weight"), torch.ones(17, dtype=torch.float64))
    assert not torch.equal(twin.get_parameter("second.0.weight"), twin.get_parameter("first.0.weight"))
    spread = twin.get_parameter("second.0.weight").std() / twin.get_parameter("first.0.weight").std()
    assert float(spread.detach()) == pytest.approx(1, abs=0.15)


def test_the_modes_change_the_kernel_as_documented() -> None:
    def parts(module: nn.Module) -> tuple[float, float]:
        """||J||^2 of the hidden layers and of the head."""
        hidden = head = 0.0
        for name, block in jacobian(module, probe()).items():
            if name.startswith("4") or ".4." in name:
                head += float(block.square().sum())
            else:
                hidden += float(block.square().sum())
        return hidden, head

    plain, norm = parts(network(0)), norm_of(network(0))
    for mode, hidden, head in (
        ("subtract", 1.0, 1.0),
        ("twin", 1.0, 1.0),
        ("twin_head", None, 1.0),
        ("head_scale", 0.01**2, 1.0),
    ):
        found = parts(started(mode, 0.01 * norm))  # type: ignore[arg-type]
        assert found[1] / plain[1] == pytest.approx(head, rel=0.2), mode
        if hidden is not None:
            assert found[0] / plain[0] == pytest.approx(hidden, rel=0.2), mode
    weak, strong = (parts(started("twin_head", share * norm))[0] for share in (0.01, 0.1))
    assert strong / weak == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("kind", ["relu", "norm"])
@pytest.mark.parametrize("mode", MODES)
def test_measuring_leaves_no_trace(mode: LogitNormMode, kind: Kind) -> None:
    before, x = torch.get_rng_state(), probe()
    module = started(mode, 0.1 * norm_of(network(0, kind)), kind=kind)
    again = started(mode, 0.1 * norm_of(network(0, kind)), kind=kind)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, probe())
    assert module.training
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in module.state_dict().items())
    for name, buffer in module.named_buffers():
        if "running" in name or "tracked" in name:
            assert torch.equal(buffer, network(0, kind).state_dict()[name[name.index("1.") :]])


@pytest.mark.parametrize("mode", MODES)
def test_the_norm_is_measured_in_the_mode_of_the_network(mode: LogitNormMode) -> None:
    evaluated = network(0, "norm").eval()
    module = with_logit_norm(
        evaluated, mode=mode, norm=0.1, beta=1.0, probe=probe(), make_twin=lambda: network(1, "norm").eval()
    ).eval()
    assert norm_of(module) == pytest.approx(0.1, rel=2e-6)
    assert norm_of(module.train()) != pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("kind", ["relu", "norm"])
@pytest.mark.parametrize("mode", MODES)
def test_a_saved_network_is_whole(mode: LogitNormMode, kind: Kind) -> None:
    module = started(mode, 0.1, kind=kind)
    other = started(mode, 0.05, kind=kind, seed=5)
    other.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(other.eval()(probe()), module.eval()(probe()))


@pytest.mark.parametrize("kind", ["relu", "norm"])
@pytest.mark.parametrize("mode", MODES)
def test_training_in_the_executor_never_changes_what_is_frozen(mode: LogitNormMode, kind: Kind) -> None:
    modules = [started(mode, norm, beta=2.0, kind=kind, seed=3 * lane) for lane, norm in enumerate((0.0, 0.01, 0.2))]
    before = [copy.deepcopy(module.state_dict()) for module in modules]
    plain = [copy.deepcopy(module) for module in modules]
    state = LaneState(modules, CPU)
    executor = LoopExecutor(modules, state, Sgd(lr=0.05, weight_decay=0.1))
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    losses = [
        executor.train_step([probe()] * 3, [lambda z: tempered_cross_entropy(z, labels, beta=2.0)] * 3, 0.05).losses
        for _ in range(20)
    ]
    for lane, module in enumerate(modules):
        assert losses[-1][lane] < losses[0][lane]
        trained = {name for name, _ in module.named_parameters()}
        counted = {name for name in before[lane] if "running" in name or "tracked" in name}
        for name, value in state.lane(lane).items():
            fixed = name not in trained | counted
            assert fixed == ((name.startswith("start.") and name not in counted) or name == "share")
            if fixed or value.ndim == 2:  # a bias in front of a batch norm has no gradient
                assert torch.equal(value, before[lane][name]) == fixed, name
        plain[lane].load_state_dict(state.lane(lane), strict=True)
        torch.testing.assert_close(plain[lane].eval()(probe()), executor.predict(probe())[lane], rtol=1e-12, atol=1e-13)


def test_a_start_of_zero_stays_exact_inside_the_executor() -> None:
    modules = [started("subtract", 0.0, seed=seed) for seed in range(3)]
    executor = LoopExecutor(modules, LaneState(modules, CPU), Sgd())
    assert all(logits.abs().max() <= 1e-15 for logits in executor.predict(probe()))


def test_the_frozen_start_is_in_evaluation_the_function_that_it_is_in_training() -> None:
    """Its batch norms count along: were they left behind, a network that does not move would drift apart."""
    module = started("subtract", 0.0, kind="norm")
    x = probe(64) * 3 + 2
    with torch.no_grad():
        for _ in range(200):
            assert module(x).abs().max() <= 1e-14
        assert module.eval()(x).abs().max() <= 1e-14
    assert not torch.equal(module.get_buffer("start.1.running_mean"), torch.zeros(17, dtype=torch.float64))


def test_the_frozen_start_gets_no_gradient_and_no_parameter() -> None:
    module = started("subtract", 0.1)
    assert isinstance(module, SubtractedStart)
    assert [name for name, _ in module.named_parameters()] == [f"network.{n}" for n, _ in network(0).named_parameters()]
    module(probe()).sum().backward()
    assert all(not buffer.requires_grad and buffer.grad is None for buffer in module.buffers())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "value"), [("logit_norm", -1.0), ("logit_norm", math.nan), ("beta", 0.0), ("beta", math.inf)]
)
def test_values_out_of_range_are_refused(mode: LogitNormMode, name: str, value: float) -> None:
    norm, beta = (value, 1.0) if name == "logit_norm" else (0.1, value)
    with pytest.raises(ValueError, match=rf"{name} must be finite and"):
        started(mode, norm, beta)


@pytest.mark.parametrize("mode", ["subtract", "head_scale"])
def test_zero_logits_cannot_be_brought_to_a_norm(mode: LogitNormMode) -> None:
    silent = network(0)
    nn.init.zeros_(silent.get_parameter("4.weight"))
    nn.init.zeros_(silent.get_parameter("4.bias"))
    build = partial(with_logit_norm, silent, mode=mode, beta=1.0, probe=probe(), make_twin=partial(network, 1))
    with pytest.raises(ValueError, match=r"needs logits that are not all 0 at the start, got 0\.1"):
        build(norm=0.1)
    assert norm_of(build(norm=0.0)) == 0


@pytest.mark.parametrize("mode", ["twin_head", "head_scale"])
@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (lambda: [nn.Conv1d(5, 3, 1), nn.Flatten()], "none in Sequential"),
        (lambda: [nn.Flatten(), nn.Linear(5, 3), nn.Tanh()], "'1', which is not so"),
    ],
)
def test_a_network_without_a_linear_head_is_refused(
    mode: LogitNormMode, layers: Callable[[], list[nn.Module]], found: str
) -> None:
    def make() -> nn.Module:
        return nn.Sequential(*layers())

    with pytest.raises(ValueError, match=f"need a last nn.Linear whose output the logits are, got {found}"):
        with_logit_norm(make(), mode=mode, norm=0.1, beta=1.0, probe=torch.randn(7, 5, 1), make_twin=make)


def test_a_lone_linear_layer_can_be_its_own_head() -> None:
    head = nn.Linear(5, 3, dtype=torch.float64)
    twin = with_logit_norm(
        head,
        mode="twin_head",
        norm=0.1,
        beta=1.0,
        probe=probe(),
        make_twin=lambda: nn.Linear(5, 3, dtype=torch.float64),
    )
    assert norm_of(twin) == pytest.approx(0.1, rel=2e-6)


def test_a_twin_of_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="the twin must have the architecture of the network"):
        with_logit_norm(
            network(0), mode="twin", norm=0.1, beta=1.0, probe=probe(), make_twin=lambda: network(1, "tanh")
        )


def test_a_network_that_draws_lots_is_refused() -> None:
    random = nn.Sequential(nn.Linear(5, 64), nn.Dropout(0.5), nn.Linear(64, 3)).double()
    with pytest.raises(ValueError, match=r"logit_norm must be reached to .* without random layers"):
        with_logit_norm(random, mode="subtract", norm=0.001, beta=1.0, probe=probe(), make_twin=lambda: random)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logit_norm_mode must be one of .*head_scale.*, got 'shrink'"):
        started("shrink", 0.1)  # type: ignore[arg-type]
