"""Half precision, memory layout, compilation, running means and random layers."""

from __future__ import annotations

import copy
import os
import subprocess
import tempfile
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.utils import counters

from trainables import Recipe
from trainables.engine import Training, compiling
from trainables.engine.averaging import RunningMean
from trainables.engine.loop import LoopExecutor
from trainables.engine.precision import LossScale
from trainables.engine.state import LaneState
from trainables.recipe import AdamW, Compute, Sgd

CPU = torch.device("cpu")


def convnet(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, 3, 8, 8, generator=generator), torch.randint(0, 4, (16,), generator=generator)


def steps(executor: LoopExecutor, count: int = 5, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy) -> Tensor:
    losses = []
    for step in range(count):
        samples, labels = batch(step)
        done = executor.train_step([samples], [lambda logits, labels=labels: loss(logits, labels)], 0.1)
        losses.append(done.losses[0])
    return torch.stack(losses)


def executor_of(compute: Compute, optimizer: Sgd | AdamW | None = None) -> tuple[LoopExecutor, LaneState]:
    module = convnet()
    state = LaneState([module], CPU)
    return LoopExecutor([module], state, optimizer or Sgd(), compute=compute), state


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_near_fp32_and_keeps_parameters_and_logits_in_fp32(precision: Any) -> None:
    full, _ = executor_of(Compute())
    half, state = executor_of(Compute(precision=precision))
    expected, found = steps(full), steps(half)
    assert not torch.equal(expected, found)
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    assert state.params.dtype == torch.float32
    assert half.predict(batch()[0])[0].dtype == torch.float32


@pytest.mark.parametrize("optimizer", [Sgd(), AdamW(name="adamw")])
def test_a_step_whose_gradients_overflow_changes_nothing_and_halves_the_scale(optimizer: Sgd | AdamW) -> None:
    executor, state = executor_of(Compute(precision="fp16"), optimizer)
    steps(executor, 2)
    before = copy.deepcopy(state.state_dict())
    scale = executor.state_dict()
    assert scale is not None
    steps(executor, 1, lambda logits, labels: F.cross_entropy(logits, labels) * 1e38)
    after, halved = state.state_dict(), executor.state_dict()
    assert halved is not None
    assert torch.equal(halved["scale"], scale["scale"] / 2)
    for name in ("params", "momentum", "square"):
        if name in before:
            assert torch.equal(before[name], after[name])  # type: ignore[call-overload]
    steps(executor, 1)
    assert not torch.equal(before["params"], state.params)  # type: ignore[call-overload]


def test_the_scale_grows_as_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.engine.precision._GROWTH_STEPS", 3)
    ours = LossScale(1, CPU)
    theirs = torch.amp.GradScaler("cpu", growth_interval=3)
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for bad in (False, False, False, True, False, True, False, False, False, False):
        factor = torch.inf if bad else 1.0
        theirs.scale((weight * factor).sum()).backward()
        grads = torch.full((2,), factor) * ours.of(0)
        finite = ours.unscaled(0, grads)
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        assert bool(finite) is not bad
        assert float(ours.of(0)) == theirs.get_scale()


def test_the_scale_does_not_show_in_the_gradients() -> None:
    for precision in ("fp32", "fp16"):
        executor, state = executor_of(Compute(precision=precision), Sgd(momentum=0, nesterov=False, weight_decay=0))
        before = state.params.clone()
        steps(executor, 1)
        moved = state.params - before
        if precision == "fp32":
            expected = moved
    torch.testing.assert_close(moved, expected, rtol=0.02, atol=2e-4)


def test_layout_changes_nothing_but_the_speed() -> None:
    first, _ = executor_of(Compute(channels_last=False))
    second, _ = executor_of(Compute(channels_last=True))
    torch.testing.assert_close(steps(first), steps(second), rtol=1e-5, atol=1e-6)


def test_the_running_mean_follows_its_formula_and_is_swapped_in_and_out() -> None:
    module = convnet()
    state = LaneState([module], CPU)
    executor, mean = LoopExecutor([module], state, Sgd()), RunningMean(state, 0.3)
    expected = state.params.clone()
    for step in range(1, 6):
        steps(executor, 1)
        mean.update()
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * state.params
    last = state.params.clone()
    plain = executor.predict(batch()[0])[0]
    with mean.in_place():
        torch.testing.assert_close(state.params, expected)
        assert not torch.equal(executor.predict(batch()[0])[0], plain)
    assert torch.equal(state.params, last)
    assert torch.equal(executor.predict(batch()[0])[0], plain)
    mean.settle()
    torch.testing.assert_close(state.params, expected)


def test_random_layers_draw_from_the_lanes_seed_and_step_alone() -> None:
    def losses(seeds: list[int], lane: int) -> list[float]:
        modules = [convnet(dropout=0.5) for _ in seeds]
        executor = LoopExecutor(modules, LaneState(modules, CPU), Sgd(), seeds=seeds)
        found = []
        for step in range(3):
            samples, labels = batch(step)
            objective = [lambda logits, labels=labels: F.cross_entropy(logits, labels)] * len(seeds)
            found.append(float(executor.train_step([samples] * len(seeds), objective, 0.1).losses[lane]))
        return found

    alone = losses([7], 0)
    torch.manual_seed(123)
    assert losses([3, 7], 1) == alone
    assert losses([8], 0) != alone


def training(**values: Any) -> Training:
    return Training(Recipe.model_validate({"model": "mlp-16", "batch_size": 64, "epochs": 4} | values), [0, 5])


def metrics(run: Training) -> list[dict[str, float]]:
    return [report.metrics for report in run.train_epoch()]


@pytest.mark.parametrize(
    "values",
    [
        {"compute": {"precision": "bf16"}},
        {"compute": {"precision": "fp16"}},
        {"ema_decay": 0.9},
        {"augment": {"pad": 1, "cutout": 3, "mixup": 0.3}, "train_samples": 500},
    ],
)
def test_a_continued_run_gives_the_numbers_of_an_uninterrupted_one(values: dict[str, Any]) -> None:
    whole = training(**values)
    expected = [metrics(whole) for _ in range(4)]
    first = training(**values)
    assert [metrics(first) for _ in range(2)] == expected[:2]
    second = training(**values)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [metrics(second) for _ in range(2)] == expected[2:]
    for lane in range(2):
        kept, again = whole.lane_state_dict(lane), second.lane_state_dict(lane)
        assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_network_with_a_running_mean_is_kept_as_it_was_measured() -> None:
    run = training(ema_decay=0.99)
    for _ in range(4):
        last = metrics(run)
    with torch.no_grad():
        logits = torch.cat([run.network(0).eval()(samples) for samples, _ in run.data.chunks("val")])
    assert last[0]["val/loss"] == pytest.approx(float(F.cross_entropy(logits, run.data.targets("val"))), rel=1e-5)


def test_the_global_random_state_is_left_alone() -> None:
    run = training()
    before = torch.get_rng_state()
    run.train_epoch()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_skipped_steps_do_not_count_for_adamw(precision: Any) -> None:
    """Against torch's own optimiser and scaler: three steps overflow, then three are good."""
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    theirs.load_state_dict(ours.state_dict())
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    settings = AdamW(name="adamw", weight_decay=0.01)
    executor = LoopExecutor([ours], LaneState([ours], CPU), settings, compute=Compute(precision=precision))
    inputs = torch.eye(3)
    for factor in (1e38, 1e38, 1e38, 1.0, 2.0, 0.5) if precision == "fp16" else (1.0, 2.0, 0.5):

        def loss(logits: Tensor, factor: float = factor) -> Tensor:
            return (logits * torch.arange(1.0, 7).view(3, 2)).sum() * (factor / 1024)

        executor.train_step([inputs], [loss], 0.1)
        scaler.scale(loss(theirs(inputs))).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_compiled_runs_give_nearly_the_numbers_of_plain_ones_in_every_trial_of_a_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for width in range(8, 11):  # more networks than the compiler keeps graphs for
        values = {"model": f"mlp-{width}-{width}", "epochs": 1}
        counters["stats"].clear()
        with torch._dynamo.config.patch(recompile_limit=2):  # of 8, which take more networks
            plain, compiled = training(**values), training(compute={"compile": True}, **values)
            for expected, found in zip(metrics(plain), metrics(compiled), strict=True):
                assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert counters["stats"]["unique_graphs"] > 0, f"network {width} was not compiled"
    assert any(tmp_path.rglob("*"))


def test_the_compilers_cache_is_private_and_what_killed_processes_left_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    left, used = tmp_path / f"thermotune-compiled-{dead.pid}-x", tmp_path / f"thermotune-compiled-{os.getppid()}-x"
    for folder in (left, used):
        folder.mkdir()
    compiling._take_private_cache()
    assert not left.exists()
    assert used.exists()
    mine = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert mine.parent == tmp_path
    assert mine.name.startswith(f"thermotune-compiled-{os.getpid()}-")


def test_a_network_that_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails(*_: object) -> Tensor:
        raise TorchDynamoException("no compiler here\nat length")

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch, "compile", lambda module: fails)
    module = convnet()
    (network,) = compiling.compiled([module])
    samples, _ = batch()
    with pytest.warns(RuntimeWarning, match="not compiled, because that failed: no compiler here"):
        assert torch.equal(network(samples), module(samples))
    assert torch.equal(network(samples), module(samples))


@pytest.mark.gpu
def test_training_on_the_gpu_waits_for_it_once_an_epoch() -> None:
    recipe = Recipe.model_validate(
        {
            **{"model": "resnet-8", "batch_size": 32, "epochs": 2, "augment": {"pad": 1, "flip": True, "cutout": 2}},
            **{"compute": {"precision": "bf16"}, "ema_decay": 0.9},
        }
    )
    run = Training(recipe, [0], device="cuda")
    run.train_epoch()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run._train()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) <= 5, "of losses, hits, and the order of the samples, whatever the number of steps (34)"


def test_a_run_holds_the_samples_of_one_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(augment={"pad": 1})
    alive: list[int] = []
    step = LoopExecutor.train_step
    seen: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def counting(self: LoopExecutor, inputs: list[Tensor], *rest: Any) -> Any:
        seen.update(inputs)
        alive.append(len(seen))
        return step(self, inputs, *rest)

    monkeypatch.setattr(LoopExecutor, "train_step", counting)
    run.train_epoch()
    assert len(alive) > 10
    assert max(alive) <= 4, "two lanes, and the batches before them"
