"""Layout, state, optimiser and loop executor, on small networks with and without buffers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.engine.loop import LoopExecutor
from trainables.engine.state import LaneState, Layout
from trainables.losses import tampered_cross_entropy, tempered_cross_entropy
from trainables.models import build
from trainables.recipe import Sgd

CPU = torch.device("cpu")
Batches = list[tuple[Tensor, Tensor]]


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


def trained(
    modules: list[nn.Module],
    data: list[Batches],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Sgd,
) -> LaneState:
    state = LaneState(modules, CPU)
    executor = LoopExecutor(modules, state, loss, optimizer)
    for step in zip(*data, strict=True):
        executor.train_step([x for x, _ in step], [y for _, y in step], optimizer.lr)
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


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_lanes_are_bit_equal_to_solo_runs(lanes: int, norm: bool) -> None:
    loss = lambda z, t: tempered_cross_entropy(z, t, beta=0.5)  # noqa: E731
    optimizer = Sgd(lr=0.1)
    data = [batches(lane, 10) for lane in range(lanes)]
    together = trained([network(lane, norm=norm) for lane in range(lanes)], data, loss, optimizer)
    for lane in range(lanes):
        alone = trained([network(lane, norm=norm)], [data[lane]], loss, optimizer)
        for name, tensor in alone.lane(0).items():
            assert torch.equal(together.lane(lane)[name], tensor), name
        assert torch.equal(together.momentum[lane], alone.momentum[0])


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_fifty_steps_give_the_numbers_of_torch_sgd(momentum: float, nesterov: bool) -> None:
    data = batches(0, 50, torch.float64)
    plain = network(4, torch.float64)
    groups = [
        {"params": [p for p in plain.parameters() if p.ndim >= 2], "weight_decay": 0.01},
        {"params": [p for p in plain.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.SGD(groups, lr=0.05, momentum=momentum, nesterov=nesterov)
    for x, y in data:
        reference.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        reference.step()
    optimizer = Sgd(lr=0.05, momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    state = trained([network(4, torch.float64)], [data], F.cross_entropy, optimizer)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(state.lane(0)[name], tensor, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.25, 0.7])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_tampering_walks_the_path_of_tempering_with_rescaled_lr_and_decay(alpha: float, eps: float) -> None:
    data = [batches(0, 40, torch.float64)]
    lr, decay = 0.05, 0.01
    tampered = trained(
        [network(4, torch.float64)],
        data,
        lambda z, t: tampered_cross_entropy(z, t, alpha=alpha, label_smoothing=eps),
        Sgd(lr=lr, weight_decay=decay),
    )
    tempered = trained(
        [network(4, torch.float64)],
        data,
        lambda z, t: tempered_cross_entropy(z, t, beta=alpha, label_smoothing=eps),
        Sgd(lr=lr / alpha, weight_decay=decay * alpha),
    )
    start = LaneState([network(4, torch.float64)], CPU)
    assert (tampered.params - start.params).abs().max() > 0.01
    assert (tampered.params - tempered.params).abs().max() <= 1e-12


def test_the_gaps_of_a_row_stay_zero() -> None:
    state = trained([network(0)], [batches(0, 5)], F.cross_entropy, Sgd())
    used = torch.zeros(state.layout.size, dtype=torch.bool)
    for slot in state.layout.slots:
        used[slot.offset : slot.offset + slot.size] = True
    assert not state.params[0][~used].any()
    assert not state.momentum[0][~used].any()


def test_prediction_uses_evaluation_mode_and_leaves_training_mode_on() -> None:
    module = network(0)
    state = LaneState([module], CPU)
    executor = LoopExecutor([module], state, F.cross_entropy, Sgd())
    before = state.state_dict()["buffers"]
    x = batches(0, 1)[0][0]
    (logits,) = executor.predict(x)
    assert not logits.requires_grad
    assert torch.equal(logits, network(0).eval()(x))
    assert module.training
    assert all(torch.equal(stack, before[name]) for name, stack in state.buffers.items())
