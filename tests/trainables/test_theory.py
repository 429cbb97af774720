"""Early learning: the flow's equations, their invariances, the probe (methods.md A.1-A.3, A.5, T1-T5 of A.6, E.5)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp

from results.schema import METRICS
from trainables.diagnostics import theory
from trainables.diagnostics.kernel import (
    acceleration_terms,
    empirical_ntk,
    eta_tilde,
    kernel_times,
    kernel_velocity,
    logit_jvp,
    logit_velocity,
    tau_nl,
    tau_z,
    trainable,
)
from trainables.diagnostics.theory import Crossing, LearningProbe
from trainables.engine.loop import LoopExecutor
from trainables.engine.state import LaneState
from trainables.losses import tampered_cross_entropy, tempered_cross_entropy
from trainables.models.logit_norm import logit_norm, undisturbed_logits, with_logit_norm
from trainables.recipe import Sgd

M, K = 8, 4
BETAS = (0.01, 0.1, 1.0, 10.0)
Parameters = dict[str, Tensor]


def network(kind: str = "tanh", seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A plain network from (N, 6) to (N, K)."""
    kinds: dict[str, Callable[[], list[nn.Module]]] = {
        "tanh": lambda: [nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, K)],
        "relu": lambda: [nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, K)],
        "norm": lambda: [nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, K)],
        "linear": lambda: [nn.Linear(6, K)],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(*kinds[kind]()).to(dtype)


def samples(n: int = M, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 6, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(K, (n,), generator=generator)


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(K, dtype=torch.float64)[labels]


def started(norm: float, beta: float, kind: str = "tanh") -> nn.Module:
    make = partial(network, kind)
    return with_logit_norm(make(), mode="subtract", norm=norm, beta=beta, probe=samples()[0], make_twin=make)


def direction(module: nn.Module, beta: float, data: tuple[Tensor, Tensor] | None = None) -> Parameters:
    """theta': minus the gradient of the mean loss, which leaves batch norms alone."""
    inputs, labels = data or samples()
    values = {name: value.clone().requires_grad_() for name, value in trainable(module).items()}
    loss = tempered_cross_entropy(undisturbed_logits(module, inputs, values), labels, beta=beta)
    return {n: -g for n, g in zip(values, torch.autograd.grad(loss, list(values.values())), strict=True)}


def explicit_kernel(module: nn.Module, inputs: Tensor) -> Tensor:
    """Row by row with the plain autograd."""
    logits = undisturbed_logits(module, inputs).flatten()
    parameters = [p for p in module.parameters() if p.requires_grad]
    rows = [torch.autograd.grad(z, parameters, retain_graph=True) for z in logits]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
    return jacobian @ jacobian.T


def footprint(module: nn.Module) -> tuple[list[Tensor], list[Tensor | None]]:
    state = [tensor.clone() for tensor in module.state_dict().values()]
    return [*state, torch.get_rng_state()], [p.grad for p in module.parameters()]


@pytest.mark.parametrize("kind", ["tanh", "relu", "norm", "linear"])
def test_the_kernel_is_that_of_the_rows_gradients(kind: str) -> None:
    module, (inputs, _) = network(kind), samples()
    before = footprint(module)
    kernel = empirical_ntk(module, inputs)
    torch.testing.assert_close(kernel, explicit_kernel(module, inputs), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        empirical_ntk(module, inputs, samples=3), kernel[: 3 * K, : 3 * K], rtol=1e-12, atol=1e-12
    )
    vectors = torch.randn(5, M, K, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([(kernel @ vector.flatten()).view(M, K) for vector in vectors])
    torch.testing.assert_close(kernel_times(module, inputs, vectors), expected, rtol=1e-11, atol=1e-11)
    after = footprint(module)
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert after[1] == [None] * len(after[1])


def test_frozen_parameters_are_not_in_the_kernel() -> None:
    module, (inputs, _) = network(), samples()
    module.get_submodule("0").requires_grad_(False)
    torch.testing.assert_close(empirical_ntk(module, inputs), explicit_kernel(module, inputs), rtol=1e-12, atol=1e-12)


def test_products_with_independent_signs_have_the_kernels_norm_in_the_mean() -> None:
    kernel = empirical_ntk(network(), samples()[0])
    signs = 2.0 * torch.randint(2, (20_000, M, K), generator=torch.Generator().manual_seed(3)) - 1
    products = signs.double().flatten(1) @ kernel
    assert float(products.square().sum(1).mean()) == pytest.approx(float(kernel.square().sum()), rel=0.03)


def flowed(module: nn.Module, beta: float, time: float) -> Parameters:
    """The parameters after so much learning time of gradient flow: one Runge-Kutta step of fourth order."""
    inputs, labels = samples()

    def slope(at: Mapping[str, Tensor]) -> Parameters:
        values = {name: value.detach().clone().requires_grad_() for name, value in at.items()}
        loss = tempered_cross_entropy(undisturbed_logits(module, inputs, values), labels, beta=beta)
        return {n: -g for n, g in zip(values, torch.autograd.grad(loss, list(values.values())), strict=True)}

    def moved(by: Parameters, share: float) -> Parameters:
        return {name: value + share * time * by[name] for name, value in start.items()}

    start = trainable(module)
    a = slope(start)
    b = slope(moved(a, 0.5))
    c = slope(moved(b, 0.5))
    d = slope(moved(c, 1.0))
    return {n: start[n] + time / 6 * (a[n] + 2 * b[n] + 2 * c[n] + d[n]) for n in start}


@pytest.mark.parametrize("norm", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_equations_of_motion_hold_along_the_flow(beta: float, norm: float) -> None:
    """(1), (2), (3) of methods.md A.2 against differences over time."""
    module, (inputs, labels) = started(norm, beta), samples()
    targets = one_hot(labels)
    step = 1e-3 / max(beta, beta**2)
    ahead, behind = flowed(module, beta, step), flowed(module, beta, -step)
    z = [beta * undisturbed_logits(module, inputs, at).detach() for at in (behind, trainable(module), ahead)]
    kernel = empirical_ntk(module, inputs)
    velocity = logit_velocity(kernel, z[1], targets, beta=beta)
    turning = kernel_velocity(
        lambda at: empirical_ntk(module, inputs, parameters=at), trainable(module), direction(module, beta)
    )
    torch.testing.assert_close((z[2] - z[0]) / (2 * step), velocity, rtol=1e-5, atol=1e-6 * float(velocity.norm()))
    found = sum(acceleration_terms(kernel, turning, z[1], targets, beta=beta), torch.zeros(()))
    second = (z[2] - 2 * z[1] + z[0]) / step**2
    assert float((second - found).norm() / found.norm()) < 1e-4
    kernels = [empirical_ntk(module, inputs, parameters=at) for at in (behind, ahead)]
    assert float(((kernels[1] - kernels[0]) / (2 * step) - turning).norm() / turning.norm()) < 1e-5


def test_a_jacobian_times_the_direction_is_the_velocity() -> None:
    module, (inputs, labels) = started(0.5, 2.0), samples()
    moved = 2.0 * logit_jvp(module, inputs, direction(module, 2.0), parameters=trainable(module))
    z = 2.0 * undisturbed_logits(module, inputs).detach()
    expected = logit_velocity(empirical_ntk(module, inputs), z, one_hot(labels), beta=2.0)
    torch.testing.assert_close(moved, expected, rtol=1e-11, atol=1e-13)


class WrittenOutNorm(nn.Module):
    """Batch norm in training mode; torch 2.15 is off by half a per cent in the second derivative of its own."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() * self.weight + self.bias


@pytest.mark.parametrize("kind", ["tanh", "relu", "norm"])
def test_the_step_of_the_difference_hardly_matters(kind: str) -> None:
    module, (inputs, _) = network(kind), samples()
    along = direction(module, 1.0)
    plain = [WrittenOutNorm(m) if isinstance(m, nn.BatchNorm1d) else m for m in module.children()]
    exact = jvp(partial(_kernel, nn.Sequential(*plain), inputs), (trainable(module),), (along,))[1]
    for relative_step in (1e-9, 1e-8, 1e-7, 1e-6):
        found = kernel_velocity(partial(_kernel, module, inputs), trainable(module), along, relative_step)
        assert float((found - exact).norm() / exact.norm()) < 3e-6, relative_step


def test_a_kernel_that_stays_or_a_direction_of_no_length_have_no_velocity() -> None:
    inputs = samples()[0]
    for module, along in (
        (network("linear"), direction(network("linear"), 1.0)),
        (network(), {name: torch.zeros_like(value) for name, value in trainable(network()).items()}),
    ):
        found = kernel_velocity(partial(_kernel, module, inputs), trainable(module), along)
        assert not found.any()
        assert float(tau_nl(empirical_ntk(module, inputs), found)) == math.inf


def _kernel(module: nn.Module, inputs: Tensor, at: Mapping[str, Tensor]) -> Tensor:
    return empirical_ntk(module, inputs, parameters=at)


def predicted(norm: float, beta: float, kind: str = "tanh") -> tuple[float, float, float]:
    """tau_z, tau_nl and the ratio of the terms of (2), in learning time."""
    module, (inputs, labels) = started(norm, beta, kind), samples()
    z = beta * undisturbed_logits(module, inputs).detach()
    kernel, targets = empirical_ntk(module, inputs), one_hot(labels)
    turning = kernel_velocity(partial(_kernel, module, inputs), trainable(module), direction(module, beta))
    nonlinear, linear = acceleration_terms(kernel, turning, z, targets, beta=beta)
    return (
        float(tau_z(z, logit_velocity(kernel, z, targets, beta=beta))),
        float(tau_nl(kernel, turning)),
        float(nonlinear.norm() / linear.norm()),
    )


@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_tau_z_times_eta_tilde_over_the_norm_is_constant_for_small_norms(kind: str) -> None:
    """T3; our norm is that of a sample, methods.md's that of the whole probe, which is larger by sqrt(M)."""
    norms = (1e-3, 0.01, 0.1 / math.sqrt(24))
    found = {n: [eta_tilde(1.0, b) * predicted(n, b, kind)[0] / n for b in BETAS] for n in (*norms, 30.0)}
    for values in found.values():
        assert max(values) / min(values) == pytest.approx(1, abs=1e-9)
    small = [found[n][0] for n in norms]
    assert max(small) / min(small) < 1.01
    assert found[30.0][0] < 0.9 * small[0]  # saturated


@pytest.mark.parametrize("kind", ["tanh", "relu"])
@pytest.mark.parametrize("norm", [0.01, 30.0])
def test_tau_nl_times_beta_and_the_terms_ratio_times_beta_do_not_know_beta(norm: float, kind: str) -> None:
    """T4 and T5."""
    found = [predicted(norm, beta, kind) for beta in BETAS]
    for values in (
        [beta * nl for beta, (_, nl, _) in zip(BETAS, found, strict=True)],  # eta_tilde * tau_nl[steps] / beta
        [beta * ratio for beta, (_, _, ratio) in zip(BETAS, found, strict=True)],
    ):
        assert max(values) / min(values) == pytest.approx(1, abs=1e-5)


def test_one_small_step_takes_the_predicted_share_of_tau_z() -> None:
    module, (inputs, _) = started(1.0, 2.0), samples()
    before, lr = 2.0 * undisturbed_logits(module, inputs).detach(), 1e-6
    along = direction(module, 2.0)
    after = 2.0 * undisturbed_logits(module, inputs, {n: v + lr * along[n] for n, v in trainable(module).items()})
    assert float(before.norm() / ((after - before).norm() / lr)) == pytest.approx(predicted(1.0, 2.0)[0], rel=1e-4)


def test_no_logits_take_no_time_and_no_motion_takes_for_ever() -> None:
    nothing, something = torch.zeros(3), torch.ones(3)
    assert [float(tau_z(a, b)) for a in (nothing, something) for b in (nothing, something)] == [0, 0, math.inf, 1]


def descend(
    module: nn.Module,
    loss: Callable[[Tensor], Tensor],
    *,
    lrs: Mapping[str, float],
    steps: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
    adam_eps: float | None = None,
) -> list[Tensor]:
    """Logits along SGD or Adam, written out; the learning rate of a parameter is that of its longest prefix."""
    values = dict(module.named_parameters())
    first, second = ({n: torch.zeros_like(p) for n, p in values.items()} for _ in range(2))
    seen = []
    for step in range(1, steps + 1):
        logits = module(samples()[0])
        seen.append(logits.detach())
        gradients = torch.autograd.grad(loss(logits), list(values.values()))
        with torch.no_grad():
            for (name, value), gradient in zip(values.items(), gradients, strict=True):
                lr = lrs[max((prefix for prefix in lrs if name.startswith(prefix)), key=len)]
                if adam_eps is not None:
                    first[name].lerp_(gradient, 0.1)
                    second[name].lerp_(gradient**2, 0.001)
                    scale = (second[name] / (1 - 0.999**step)).sqrt() + adam_eps
                    value.sub_(lr * first[name] / (1 - 0.9**step) / scale)
                    continue
                whole = gradient + decay * value
                first[name].mul_(momentum).add_(whole)
                value.sub_(lr * (whole + momentum * first[name] if nesterov else first[name]))
    return seen


def tempered(beta: float) -> Callable[[Tensor], Tensor]:
    return lambda logits: tempered_cross_entropy(logits, samples()[1], beta=beta)


@pytest.mark.parametrize("beta", [0.01, 0.1, 10.0])
def test_a_linear_model_knows_only_eta_tilde(beta: float) -> None:
    """T1: W0 / beta, lr / beta^2, wd * beta^2, Nesterov."""

    def run(beta: float) -> list[Tensor]:
        module = network("linear")
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.div_(beta)
        run = partial(descend, module, tempered(beta), steps=50, momentum=0.9, nesterov=True)
        return [beta * z for z in run(lrs={"": 0.3 / beta**2}, decay=0.05 * beta**2)]

    ours, plain = run(beta), run(1.0)
    assert (plain[-1] - plain[0]).abs().max() > 0.5
    assert max(float((a - b).abs().max()) for a, b in zip(ours, plain, strict=True)) < 2e-14


@pytest.mark.parametrize("kind", ["norm", "relu", "tanh"])
@pytest.mark.parametrize("beta", [0.1, 3.0])
def test_beta_is_a_rescaled_head_with_its_own_learning_rate(kind: str, beta: float) -> None:
    """T2."""
    head = "3" if kind == "norm" else "4"
    ours = descend(network(kind), tempered(beta), lrs={"": 0.05}, steps=30, momentum=0.9)
    other = network(kind)
    with torch.no_grad():
        for parameter in other.get_submodule(head).parameters():
            parameter.mul_(beta)
    plain = descend(other, tempered(1.0), lrs={"": 0.05, head: 0.05 * beta**2}, steps=30, momentum=0.9)
    assert (plain[-1] - plain[0]).abs().max() > 0.05
    assert max(float((beta * a - b).abs().max()) for a, b in zip(ours, plain, strict=True)) < 2e-13


@pytest.mark.parametrize("beta", [0.05, 0.7])
def test_adam_does_not_see_the_gradients_scale_if_eps_has_it(beta: float) -> None:
    """A.5: the tampered gradient is the tempered one over beta, and no rule for the learning rate applies."""
    plain = lambda z: tampered_cross_entropy(z, samples()[1], alpha=beta)  # noqa: E731
    first = descend(network("relu"), tempered(beta), lrs={"": 0.01}, steps=40, adam_eps=1e-3 * beta)
    second = descend(network("relu"), plain, lrs={"": 0.01}, steps=40, adam_eps=1e-3)
    unscaled = descend(network("relu"), tempered(beta), lrs={"": 0.01}, steps=40, adam_eps=1e-3)
    assert max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True)) < 1e-12
    assert (unscaled[-1] - second[-1]).abs().max() > 1e-3


def probe_of(module: nn.Module, beta: float = 1.0, momentum: float = 0.0, nesterov: bool = False) -> LearningProbe:
    dtype = next(module.parameters()).dtype
    return LearningProbe(module, samples(dtype=dtype)[0], beta=beta, momentum=momentum, nesterov=nesterov)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["tanh", "relu", "norm"])
def test_the_probe_predicts_by_the_definitions(kind: str, dtype: torch.dtype) -> None:
    module, beta = network(kind, dtype=dtype), 0.5
    probe = probe_of(module, beta)
    probe.start(direction(module, beta, samples(dtype=dtype)))
    found = probe.metrics()
    wide = network(kind, dtype=dtype).double()  # float32 parameters, exactly
    inputs, labels = samples(dtype=dtype)[0].double(), samples()[1]
    z = beta * undisturbed_logits(wide, inputs).detach()
    kernel = empirical_ntk(wide, inputs)
    turning = kernel_velocity(partial(_kernel, wide, inputs), trainable(wide), direction(wide, beta, (inputs, labels)))
    exact = {
        "probe/logit_norm": float(logit_norm(z)),
        "probe/raw_logit_norm": float(logit_norm(z)) / beta,
        "probe/logit_norm_start": float(logit_norm(z)),
        "theory/tau_z": float(tau_z(z, logit_velocity(kernel, z, one_hot(labels), beta=beta))),
        "theory/tau_nl": float(tau_nl(kernel, turning)),
    }
    assert found == pytest.approx(exact, rel=1e-4 if dtype == torch.float32 else 1e-6)
    assert found.keys() <= METRICS.keys()


def test_large_networks_are_measured_by_random_products(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for limit in (10**9, 0):
        monkeypatch.setattr(theory, "_JACOBIAN_ELEMENTS", limit)
        module = network()
        probe = probe_of(module)
        probe.start(direction(module, 1.0))
        follow(module, probe, steps=400, lr=0.05)
        found.append(probe.metrics())
    exact, estimated = found
    assert exact["theory/tau_z"] == estimated["theory/tau_z"]
    assert exact["theory/tau_nl_measured"] != estimated["theory/tau_nl_measured"]
    for name in ("theory/tau_nl", "theory/tau_nl_measured"):
        assert estimated[name] == pytest.approx(exact[name], rel=0.5)


@pytest.mark.parametrize("kind", ["tanh", "norm"])
def test_the_exact_kernel_is_of_whole_samples_up_to_the_limit(kind: str) -> None:
    module, inputs = network(kind), samples()[0]
    probe = LearningProbe(module, inputs, beta=1.0, momentum=0.0, nesterov=False, ntk_rows_max=3 * K + 1)
    probe.start(direction(module, 1.0))
    whole = empirical_ntk(module, inputs)
    torch.testing.assert_close(probe.state_dict()["kernel"], whole[: 3 * K, : 3 * K], rtol=1e-12, atol=1e-12)


def follow(module: nn.Module, probe: LearningProbe, steps: int, lr: float, beta: float = 1.0) -> None:
    """Full-batch gradient descent under the eyes of the probe."""
    for _ in range(steps):
        along = direction(module, beta)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.add_(along[name], alpha=lr)
        probe.observe(lr)


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])  # above, most is learnt before the kernel has changed by a tenth
def test_measured_timescales_come_out_as_predicted(beta: float) -> None:
    module = started(0.05 * beta, beta)  # so that tau_z is far below tau_nl
    probe = probe_of(module, beta)
    probe.start(direction(module, beta))
    known = probe.metrics()
    follow(module, probe, 60, known["theory/tau_z"] / 20, beta)
    follow(module, probe, 200, known["theory/tau_nl"] / 400, beta)
    known |= probe.metrics()
    assert known["theory/tau_z_measured"] == pytest.approx(known["theory/tau_z"], rel=0.05)
    assert known["theory/tau_nl_measured"] == pytest.approx(known["theory/tau_nl"], rel=0.35)


def test_the_first_changes_of_a_twins_kernels_cancel() -> None:
    found = []
    for norm in (0.001, 0.01, 0.1):
        twin = with_logit_norm(
            network(), mode="twin", norm=norm, beta=1.0, probe=samples()[0], make_twin=partial(network, seed=1)
        )
        probe = probe_of(twin)
        probe.start(direction(twin, 1.0))
        found.append(probe.metrics()["theory/tau_nl"])
    assert found[0] / found[1] == pytest.approx(10, rel=0.1)
    assert found[0] > 100 * predicted(0.001, 1.0)[1]


def test_a_start_of_zero_takes_no_time() -> None:
    module = started(0.0, 1.0)
    probe = probe_of(module)
    probe.start(direction(module, 1.0))
    found = probe.metrics()
    assert [found[n] for n in ("probe/logit_norm", "theory/tau_z", "theory/tau_z_measured")] == [0, 0, 0]
    assert all(math.isfinite(value) for value in found.values())


def test_what_is_infinite_is_left_out() -> None:
    module = network("linear")
    probe = probe_of(module)
    probe.start(direction(module, 1.0))
    follow(module, probe, 20, 0.01)
    assert "theory/tau_nl" not in probe.metrics()
    assert "theory/tau_nl_measured" not in probe.metrics()


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_the_learning_time_is_the_way_under_a_constant_gradient(momentum: float, nesterov: bool) -> None:
    module = network("linear")
    probe = probe_of(module, momentum=momentum, nesterov=nesterov)
    probe.start(direction(module, 1.0))
    point = nn.Parameter(torch.zeros((), dtype=torch.float64))
    point.grad = torch.ones_like(point)
    optimizer = torch.optim.SGD([point], lr=1.0, momentum=momentum, nesterov=nesterov)
    for step in range(30):
        optimizer.param_groups[0]["lr"] = lr = 0.1 * math.cos(step / 20)
        optimizer.step()
        probe.observe(lr)
    assert probe.state_dict()["time"] == pytest.approx(-float(point.detach()), rel=1e-13)


def test_looks_are_taken_at_steps_that_grow_by_the_root_of_two() -> None:
    module = network()
    probe = probe_of(module)
    probe.start(direction(module, 1.0))
    looks = set()
    for _ in range(50):
        probe.observe(1.0)  # though the network stands still
        looks.add(probe.state_dict()["moved"]["last_time"])
    assert sorted(looks) == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45]


def test_looks_end_when_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    module = started(0.0, 1.0)
    probe = probe_of(module)
    probe.start(direction(module, 1.0))
    follow(module, probe, 1, 50.0)
    assert probe.metrics()["theory/tau_nl_measured"] > 0
    monkeypatch.setattr(theory, "undisturbed_logits", None)
    monkeypatch.setattr(theory, "empirical_ntk", None)
    follow(module, probe, 8, 0.1)


def test_a_crossing_is_interpolated_between_looks() -> None:
    crossing = Crossing(2.0)
    for time, distance in ((1.0, 0.5), (3.0, math.nan), (4.0, 1.5), (8.0, 3.5), (9.0, 0.0)):
        crossing.see(time, distance)
    assert crossing.time == 5.0
    first = Crossing(2.0)
    first.see(4.0, 8.0)
    assert first.time == 1.0
    assert Crossing(0.0).time == 0.0


def training(module: nn.Module, watched: bool, dtype: torch.dtype) -> tuple[LaneState, list[Tensor]]:
    inputs, labels = samples(dtype=dtype)
    state = LaneState([module], torch.device("cpu"))
    executor = LoopExecutor([module], state, Sgd(lr=0.05))
    probe = probe_of(module, beta=2.0, momentum=0.9, nesterov=True)
    losses = []
    if watched:
        probe.start(direction(module, 2.0, (inputs, labels)))
    for _ in range(12):
        torch.rand(1)  # somebody uses the global generator
        objective = lambda z: tempered_cross_entropy(z, labels, beta=2.0)  # noqa: E731
        losses += executor.train_step([inputs], [objective], 0.05).losses
        if watched:
            probe.observe(0.05)
            probe.metrics()
    return state, losses


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["relu", "norm", "subtract"])
def test_a_run_with_the_probe_is_bit_equal_to_one_without(kind: str, dtype: torch.dtype) -> None:
    found = []
    for watched in (False, True):
        module = started(0.1, 2.0, "norm").to(dtype) if kind == "subtract" else network(kind, dtype=dtype)
        torch.manual_seed(5)
        state, losses = training(module, watched, dtype)
        gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        found.append([*state.lane(0).values(), state.momentum, *losses, *gradients, torch.get_rng_state()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("kind", ["tanh", "norm"])
@pytest.mark.parametrize("stop", [0, 1, 7, 40])
def test_a_resumed_probe_goes_on_bit_equal(kind: str, stop: int) -> None:
    def run(interrupted: bool) -> list[dict[str, float]]:
        module = network(kind)
        probe = probe_of(module, momentum=0.9)
        probe.start(direction(module, 1.0))
        seen = [probe.metrics()]
        follow(module, probe, stop, 0.02)
        if interrupted:
            file = io.BytesIO()
            torch.save(probe.state_dict(), file)
            file.seek(0)
            probe = probe_of(module, momentum=0.9)
            probe.load_state_dict(torch.load(file, weights_only=True))
        for _ in range(6):
            follow(module, probe, 10, 0.02)
            seen.append(probe.metrics())
        return seen

    whole = run(False)
    assert whole == run(True)
    assert "theory/tau_z_measured" in whole[-1]


def test_a_state_from_before_the_start_can_be_loaded() -> None:
    module = network()
    probe, other = probe_of(module), probe_of(module)
    other.load_state_dict(probe.state_dict())
    assert other.metrics() == probe.metrics()
    assert other.metrics().keys() == {"probe/logit_norm", "probe/raw_logit_norm"}


def test_predictions_are_told_once_and_measurements_from_then_on() -> None:
    module = started(0.01, 1.0)
    probe = probe_of(module)
    probe.start(direction(module, 1.0))
    once = {"probe/logit_norm_start", "theory/tau_z", "theory/tau_nl"}
    assert once <= probe.metrics().keys()
    follow(module, probe, 50, 0.05)
    for _ in range(2):
        names = probe.metrics().keys()
        assert not once & names
        assert "theory/tau_z_measured" in names


def test_whole_numbers_can_be_inputs() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Embedding(20, 2), nn.Flatten(), network(dtype=torch.float32))
    tokens = torch.randint(20, (M, 3), generator=torch.Generator().manual_seed(0))
    probe = LearningProbe(module, tokens, beta=1.0, momentum=0.0, nesterov=False)
    probe.start(direction(module, 1.0, (tokens, samples()[1])))
    assert probe.metrics()["theory/tau_nl"] > 0


def test_observing_before_the_start_is_refused() -> None:
    with pytest.raises(RuntimeError, match="the start must be measured before steps are observed"):
        probe_of(network()).observe(0.1)


@pytest.mark.parametrize(
    ("beta", "momentum", "size", "message"),
    [
        (0.0, 0.9, M, "beta must be > 0, got 0"),
        (1.0, 1.0, M, r"momentum must be in \[0, 1\), got 1"),
        (1.0, 0.9, 0, "must have at least one input, got none"),
    ],
)
def test_settings_out_of_range_are_refused(beta: float, momentum: float, size: int, message: str) -> None:
    inputs = samples()[0][:size]
    with pytest.raises(ValueError, match=message):
        LearningProbe(network(), inputs, beta=beta, momentum=momentum, nesterov=False)
