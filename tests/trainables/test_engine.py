"""Layout, state and loop executor, on small networks with and without buffers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from trainables.engine.loop import Gate, LoopExecutor, Objective
from trainables.engine.state import LaneState, Layout
from trainables.losses import tempered_cross_entropy
from trainables.models import build
from trainables.models.frozen import frozen
from trainables.recipe import AdamW, Sgd

CPU = torch.device("cpu")
Batches = list[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Objective]


def network(seed: int, dtype: torch.dtype = torch.float32, norm: bool = True) -> nn.Module:
    if not norm:
        return build("mlp-9-7", input_shape=(5,), num_classes=3, seed=seed).to(dtype)
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)).to(dtype)


def batches(seed: int, steps: int, dtype: torch.dtype = torch.float32) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 5, generator=generator, dtype=dtype), torch.randint(3, (8,), generator=generator))
        for _ in range(steps)
    ]


def on(loss: Loss, target: Tensor) -> Callable[[Tensor], Objective]:
    return lambda logits: loss(logits, target)


def trained(modules: list[nn.Module], data: list[Batches], loss: Loss, optimizer: Sgd | AdamW) -> LaneState:
    state = LaneState(modules, CPU)
    executor = LoopExecutor(modules, state, optimizer)
    for step in zip(*data, strict=True):
        executor.train_step([x for x, _ in step], [on(loss, y) for _, y in step], optimizer.lr)
    return state


def test_a_layout_aligns_and_masks_biases_and_norms() -> None:
    layout = Layout.of(network(0))
    assert [slot.name for slot in layout.slots] == ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]
    assert all(slot.offset % 16 == 0 for slot in layout.slots)
    assert layout.size % 16 == 0
    decays = {name: bool(view.all()) for name, view in layout.views(layout.decay_mask()).items()}
    assert [name for name, decay in decays.items() if decay] == ["0.weight", "3.weight"]
    assert layout.decay_mask().sum() == 5 * 9 + 9 * 3


def test_parameters_of_several_types_are_refused() -> None:
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match=r"one dtype, got \['torch.float32', 'torch.float64'\]"):
        Layout.of(mixed)


def test_a_lane_loads_strictly_into_a_plain_network_and_back() -> None:
    state = LaneState([network(1), network(2)], CPU)
    plain = network(3)
    plain.load_state_dict(state.lane(1), strict=True)
    assert all(torch.equal(tensor, network(2).state_dict()[name]) for name, tensor in plain.state_dict().items())
    state.load_lane(0, plain.state_dict())
    assert all(torch.equal(tensor, state.lane(1)[name]) for name, tensor in state.lane(0).items())


def test_a_state_of_another_network_is_refused_and_changes_nothing() -> None:
    state = LaneState([network(1), network(2)], CPU)
    before = state.state_dict()
    for other in (LaneState([network(1)], CPU), LaneState([network(1, norm=False)] * 2, CPU)):
        with pytest.raises(ValueError, match="the state must fit the network and the lanes"):
            state.load_state_dict(other.state_dict())
    assert torch.equal(state.params, before["params"])


@pytest.mark.parametrize("optimizer", [Sgd(), AdamW(name="adamw")])
def test_going_on_from_a_state_is_bit_equal_to_never_having_stopped(optimizer: Sgd | AdamW) -> None:
    data = batches(0, 8)
    whole = trained([network(1)], [data], F.cross_entropy, optimizer)
    half = trained([network(1)], [data[:4]], F.cross_entropy, optimizer)
    module = network(2)
    state = LaneState([module], CPU)
    executor = LoopExecutor([module], state, optimizer)
    state.load_state_dict(half.state_dict())
    for x, y in data[4:]:
        executor.train_step([x], [on(F.cross_entropy, y)], optimizer.lr)
    assert state.steps == whole.steps == 8
    assert torch.equal(state.params, whole.params)
    assert torch.equal(state.momentum, whole.momentum)
    assert (state.square is None) == isinstance(optimizer, Sgd)
    assert state.square is None or (whole.square is not None and torch.equal(state.square, whole.square))


@pytest.mark.parametrize(("mine", "other", "found"), [(True, False, "no second"), (False, True, "second moments")])
def test_a_state_of_another_optimiser_is_refused_and_changes_nothing(mine: bool, other: bool, found: str) -> None:
    states = []
    for seed, adaptive in ((1, mine), (2, other)):
        states.append(LaneState([network(seed)], CPU))
        if adaptive:
            states[-1].with_square()
    before = states[0].state_dict()
    with pytest.raises(ValueError, match=f"the state must fit the optimiser, got {found}"):
        states[0].load_state_dict(states[1].state_dict())
    assert torch.equal(states[0].params, before["params"])


def test_a_state_of_sgd_from_before_steps_were_counted_is_accepted() -> None:
    state, other = LaneState([network(1)], CPU), LaneState([network(2)], CPU)
    state.load_state_dict({name: value for name, value in other.state_dict().items() if name != "steps"})
    assert torch.equal(state.params, other.params)


@pytest.mark.parametrize(("norm", "first"), [(True, "3.weight"), (False, None)])
def test_the_last_module_begins_with_its_first_parameter_and_ends_the_row(norm: bool, first: str | None) -> None:
    layout = Layout.of(network(0, norm=norm))
    part = layout.last_module()
    begins = next(slot for slot in layout.slots if slot.offset == part.start)
    assert part.stop == layout.size
    assert begins.name == (first or begins.name)
    assert begins == layout.slots[-2]
    assert begins.shape == (3, {True: 9, False: 7}[norm])


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.1), Sgd(lr=0.1, clip_norm=0.5), AdamW(name="adamw", clip_norm=0.5)])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_lanes_are_bit_equal_to_solo_runs(lanes: int, norm: bool, optimizer: Sgd | AdamW) -> None:
    loss = lambda z, t: tempered_cross_entropy(z, t, beta=0.5)  # noqa: E731
    data = [batches(lane, 10) for lane in range(lanes)]
    together = trained([network(lane, norm=norm) for lane in range(lanes)], data, loss, optimizer)
    for lane in range(lanes):
        alone = trained([network(lane, norm=norm)], [data[lane]], loss, optimizer)
        for name, tensor in alone.lane(0).items():
            assert torch.equal(together.lane(lane)[name], tensor), name
        assert torch.equal(together.momentum[lane], alone.momentum[0])
        if together.square is not None and alone.square is not None:
            assert torch.equal(together.square[lane], alone.square[0])


@pytest.mark.parametrize("optimizer", [Sgd(clip_norm=0.5), AdamW(name="adamw", clip_norm=0.5)])
def test_the_gaps_of_a_row_stay_zero(optimizer: Sgd | AdamW) -> None:
    state = trained([network(0)], [batches(0, 5)], F.cross_entropy, optimizer)
    used = torch.zeros(state.layout.size, dtype=torch.bool)
    for slot in state.layout.slots:
        used[slot.offset : slot.offset + slot.size] = True
    assert not state.params[0][~used].any()
    assert not state.momentum[0][~used].any()
    assert state.square is None or not state.square[0][~used].any()


def test_prediction_uses_evaluation_mode_and_leaves_training_mode_on() -> None:
    module = network(0)
    state = LaneState([module], CPU)
    executor = LoopExecutor([module], state, Sgd())
    before = state.state_dict()["buffers"]
    x = batches(0, 1)[0][0]
    (logits,) = executor.predict(x)
    assert not logits.requires_grad
    assert torch.equal(logits, network(0).eval()(x))
    assert module.training
    assert all(torch.equal(stack, before[name]) for name, stack in state.buffers.items())


def gated(cosine: float, last_layer_only: bool = False) -> Loss:
    """Cross-entropy, and one with the classes turned by one, gated."""
    gate = Gate(cosine=cosine, share=0.7, last_layer_only=last_layer_only)
    return lambda z, t: (F.cross_entropy(z, t), F.cross_entropy(z, (t + 1) % 3), gate)


def by_hand(module: nn.Module, x: Tensor, y: Tensor) -> tuple[list[Tensor], list[Tensor], float, float]:
    """Gradients and values of the two parts of :func:`gated`."""
    parts = [F.cross_entropy(module(x), y), F.cross_entropy(module(x), (y + 1) % 3)]
    first, second = (list(torch.autograd.grad(part, list(module.parameters()))) for part in parts)
    return first, second, parts[0].item(), parts[1].item()


def cosine_of(first: list[Tensor], second: list[Tensor]) -> float:
    one, other = (torch.cat([g.flatten() for g in part]) for part in (first, second))
    return F.cosine_similarity(one, other, dim=0).item()


@pytest.mark.parametrize("last_layer_only", [False, True])
@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_the_second_gradient_gets_its_share_where_the_cosine_reaches_the_gate(
    norm: bool, above: bool, last_layer_only: bool
) -> None:
    start = network(4, torch.float64, norm)
    ((x, y),) = batches(0, 1, torch.float64)
    first, second, *losses = by_hand(copy.deepcopy(start), x, y)
    part = slice(-2, None) if last_layer_only else slice(None)
    cosine = cosine_of(first[part], second[part])
    module = copy.deepcopy(start)
    executor = LoopExecutor([module], LaneState([module], CPU), Sgd(momentum=0, nesterov=False, weight_decay=0))
    threshold = cosine + (1e-9 if above else -1e-9)
    done = executor.train_step([x], [on(gated(threshold, last_layer_only), y)], 0.1)
    gate = 0.0 if above else 1.0
    share = 0.7 * gate
    assert done.gates[0] is not None
    assert done.gates[0].item() == gate
    assert done.losses[0].item() == pytest.approx((1 - share) * losses[0] + share * losses[1], abs=1e-12)
    for before, after, g1, g2 in zip(start.parameters(), module.parameters(), first, second, strict=True):
        torch.testing.assert_close(after, before - 0.1 * ((1 - share) * g1 + share * g2), rtol=0, atol=1e-12)


def test_the_last_layer_may_agree_where_all_layers_do_not() -> None:
    cosines = []
    for seed in range(20):
        ((x, y),) = batches(seed, 1, torch.float64)
        first, second, *_ = by_hand(network(seed, torch.float64), x, y)
        cosines.append((cosine_of(first, second), cosine_of(first[-2:], second[-2:])))
    assert max(abs(whole - last) for whole, last in cosines) > 0.01


def test_an_open_gate_walks_the_path_of_the_sum_and_a_closed_one_that_of_the_first_part() -> None:
    data = [batches(0, 20, torch.float64)]
    ways = {
        -2.0: lambda z, t: 0.3 * F.cross_entropy(z, t) + 0.7 * F.cross_entropy(z, (t + 1) % 3),
        2.0: lambda z, t: F.cross_entropy(z, t),
    }
    for cosine, loss in ways.items():
        through_gate = trained([network(4, torch.float64)], data, gated(cosine), Sgd())
        plain = trained([network(4, torch.float64)], data, loss, Sgd())
        torch.testing.assert_close(through_gate.params, plain.params, rtol=0, atol=1e-12)


def test_a_part_without_a_gradient_leaves_the_gate_open() -> None:
    module = network(0)
    executor = LoopExecutor([module], LaneState([module], CPU), Sgd())
    ((x, y),) = batches(0, 1)
    gate = Gate(cosine=0.5, share=0.5)
    nothing = executor.train_step([x], [lambda z: (0 * F.cross_entropy(z, y), F.cross_entropy(z, y), gate)], 0.1)
    assert nothing.gates[0] is not None
    assert nothing.gates[0].item() == 1


def test_a_second_part_that_is_nan_shows_in_the_loss() -> None:
    module = network(0)
    executor = LoopExecutor([module], LaneState([module], CPU), Sgd())
    ((x, y),) = batches(0, 1)
    done = executor.train_step(
        [x], [lambda z: (F.cross_entropy(z, y), z.sum() * torch.nan, Gate(cosine=0, share=0.5))], 0.1
    )
    assert done.losses[0].isnan()


def test_lanes_with_and_without_a_gate_go_side_by_side() -> None:
    modules = [network(0), network(1)]
    executor = LoopExecutor(modules, LaneState(modules, CPU), Sgd())
    ((x, y),) = batches(0, 1)
    done = executor.train_step([x, x], [on(F.cross_entropy, y), on(gated(-2.0), y)], 0.1)
    assert done.gates[0] is None
    assert done.gates[1] is not None
    assert not any(tensor.requires_grad for tensor in (*done.losses, *done.logits, done.gates[1]))


class NumbersRead(TorchDispatchMode):
    """Counts how often a number is taken from a tensor, which makes the host wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", [Sgd(clip_norm=0.5), AdamW(name="adamw", clip_norm=0.5)])
@pytest.mark.parametrize("loss", [F.cross_entropy, gated(0.0), gated(0.0, last_layer_only=True)])
def test_a_step_reads_no_number_from_the_device(loss: Loss, optimizer: Sgd | AdamW) -> None:
    module = network(0, norm=False)
    executor = LoopExecutor([module], LaneState([module], CPU), optimizer)
    ((x, y),) = batches(0, 1)
    with NumbersRead() as numbers:
        done = executor.train_step([x], [on(loss, y)], 0.1)
        assert numbers.count == 0
        done.losses[0].item()
    assert numbers.count == 1


def test_rows_of_buffers_start_on_a_cache_line_because_frozen_weights_are_buffers():
    modules = [frozen(build("mlp-17", input_shape=(1, 3, 3), num_classes=5, seed=seed)) for seed in range(3)]
    for module in modules:
        module.trained = nn.Linear(2, 2)
    state = LaneState(modules, torch.device("cpu"))
    for lane, module in enumerate(modules):
        for name, view in state.views(lane).items():
            assert view.data_ptr() % 64 == 0
            assert torch.equal(view, module.state_dict()[name])
    copied = LaneState(modules[::-1], torch.device("cpu"))
    copied.load_state_dict(state.state_dict())
    assert all(torch.equal(copied.buffers[name], stack) for name, stack in state.buffers.items())
