"""The gated recurrent unit of our own against nn.GRU, and the text classifiers on it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from trainables.diagnostics.kernel import empirical_ntk, kernel_times
from trainables.engine.state import Layout
from trainables.models import build
from trainables.models.frozen import frozen
from trainables.models.logit_norm import LogitNormMode, logit_norm, undisturbed_logits, with_logit_norm
from trainables.models.text import Gru

LENGTHS = torch.tensor([9, 1, 4, 6])
NAMES = ("gru-8", "gru-6-8-meanpool", "gru-8-maxpool", "gru-6-8-bidirectional", "gru-8-bidirectional-maxpool")


def network(name: str, seed: int = 0) -> nn.Module:
    return build(name, input_shape=(9,), num_classes=3, seed=seed, vocabulary=30).double()


def texts(lengths: Tensor = LENGTHS, longest: int = 9, seed: int = 0) -> Tensor:
    tokens = torch.randint(1, 30, (len(lengths), longest), generator=torch.Generator().manual_seed(seed))
    return tokens.masked_fill(torch.arange(longest) >= lengths[:, None], 0)


def reference(module: nn.Module, name: str, tokens: Tensor) -> Tensor:
    """Logits of the same parameters through nn.GRU and packed sequences."""
    w = module.state_dict()
    bidirectional = "bidirectional" in name
    recurrent = nn.GRU(w["embedding.weight"].shape[1], 8, bidirectional=bidirectional, dtype=torch.float64)
    recurrent.load_state_dict({key.removeprefix("gru."): value for key, value in w.items() if key.startswith("gru.")})
    lengths = (tokens != 0).sum(1)
    packed = pack_padded_sequence(w["embedding.weight"][tokens.t()], lengths, enforce_sorted=False)
    outputs, last = recurrent(packed)
    features = last.transpose(0, 1).flatten(1)
    if "pool" in name:
        by_text = [out[:n] for out, n in zip(pad_packed_sequence(outputs)[0].unbind(1), lengths, strict=True)]
        features = torch.stack([out.mean(0) if "mean" in name else out.amax(0) for out in by_text])
    return features @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_are_those_of_a_packed_gru(bidirectional: bool) -> None:
    torch.manual_seed(0)
    mine = Gru(5, 7, bidirectional=bidirectional).double()
    theirs = nn.GRU(5, 7, bidirectional=bidirectional).double()
    theirs.load_state_dict(mine.state_dict())
    inputs = torch.randn(9, 4, 5, dtype=torch.float64)
    mine_in, theirs_in = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    padding = torch.arange(9)[:, None] >= LENGTHS
    weights = torch.randn(9, 4, 14 if bidirectional else 7, dtype=torch.float64)

    states = torch.cat([torch.stack(direction) for direction in mine(mine_in, padding)], -1)
    packed, _ = theirs(pack_padded_sequence(theirs_in, LENGTHS, enforce_sorted=False))
    outputs, _ = pad_packed_sequence(packed)
    real = ~padding[..., None]
    torch.testing.assert_close(states * real, outputs, rtol=0, atol=1e-12)
    (states * real * weights).sum().backward()
    (outputs * weights).sum().backward()
    torch.testing.assert_close(mine_in.grad, theirs_in.grad, rtol=0, atol=1e-12)
    found = dict(mine.named_parameters())
    assert list(found) == [name for name, _ in theirs.named_parameters()]
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_classifiers_compute_what_torchs_parts_compute(name: str) -> None:
    module = network(name)
    torch.testing.assert_close(module(texts()), reference(module, name, texts()), rtol=0, atol=1e-12)


def test_parameters_start_in_the_range_of_torchs_gru() -> None:
    parameters = torch.cat([p.detach().flatten() for p in Gru(100, 64).parameters()])
    assert float(parameters.abs().max()) == pytest.approx(1 / 8, rel=1e-3)
    assert float(parameters.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name: str) -> None:
    module = network(name)
    logits = module(texts())
    more = torch.cat([texts(), torch.zeros(4, 5, dtype=torch.int64)], 1)
    assert torch.allclose(module(more), logits, rtol=0, atol=1e-15)
    assert torch.allclose(module(texts()[1:2, :1]), logits[1], rtol=0, atol=1e-15)
    logits.sum().backward()
    vectors = module.get_parameter("embedding.weight")
    assert vectors.grad is not None
    assert not vectors[0].any()
    assert not vectors.grad[0].any()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("name", NAMES)
def test_empty_texts_have_finite_logits_and_gradients(name: str, dtype: torch.dtype) -> None:
    module = network(name)
    logits = module(texts(torch.tensor([0, 3])).to(dtype))
    logits.square().sum().backward()
    assert torch.equal(logits[0], module.get_parameter("head.bias"))
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


def loss_of(module: nn.Module, parameters: dict[str, Tensor], tokens: Tensor) -> Tensor:
    return functional_call(module, parameters, (tokens,)).square().sum()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_lanes_stacked_by_vmap_have_the_gradients_of_each(name: str, shared: bool) -> None:
    lanes = [network(name, seed) for seed in range(3)]
    stacked, _ = stack_module_state(lanes)  # type: ignore[arg-type]
    tokens = texts() if shared else torch.stack([texts(seed=seed) for seed in range(3)])
    slopes = vmap(grad(lambda p, t: loss_of(lanes[0], p, t)), in_dims=(0, None if shared else 0))(stacked, tokens)
    for lane, module in enumerate(lanes):
        module(tokens if shared else tokens[lane]).square().sum().backward()
        for entry, parameter in module.named_parameters():
            torch.testing.assert_close(slopes[entry][lane], parameter.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("stacked", [False, True])
def test_compiled_gradients_are_the_eager_ones(stacked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    lanes = [network("gru-6-8-meanpool", seed) for seed in range(3)]
    parameters, _ = stack_module_state(lanes)  # type: ignore[arg-type]
    slopes = grad(lambda p, t: loss_of(lanes[0], p, t))
    if stacked:
        slopes = vmap(slopes, in_dims=(0, None))
    else:
        parameters = {name: value[0] for name, value in parameters.items()}
    tokens = texts(torch.tensor([3, 1, 0, 2]), longest=3)
    found = torch.compile(slopes, fullgraph=True)(parameters, tokens)
    for entry, expected in slopes(parameters, tokens).items():
        torch.testing.assert_close(found[entry], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_autocast_computes_in_its_own_type_and_close(name: str) -> None:
    module = network(name).float()
    exact = module(texts())
    with torch.autocast("cpu", torch.bfloat16):
        logits = module(texts())
    assert logits.dtype == torch.bfloat16
    assert torch.allclose(logits.float(), exact, atol=0.05)
    logits.float().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_all_tools_for_networks_take_them(name: str) -> None:
    module = network(name)
    assert [slot.name for slot in Layout.of(module).slots][-2:] == ["head.weight", "head.bias"]
    logits = undisturbed_logits(module, texts())
    still = frozen(copy.deepcopy(module))
    assert not list(still.parameters())
    assert torch.equal(still(texts()), logits)
    modes: tuple[LogitNormMode, ...] = ("subtract", "twin", "twin_head", "head_scale")
    for mode in modes:
        wished = 0.1 * float(logit_norm(logits))
        started = with_logit_norm(
            network(name), mode=mode, norm=wished, beta=1.0, probe=texts(), make_twin=lambda: network(name, 1)
        )
        assert float(logit_norm(undisturbed_logits(started, texts()))) == pytest.approx(wished, rel=1e-3)


def test_tangent_kernels_can_be_measured() -> None:
    module = network("gru-6-8-bidirectional")
    kernel = empirical_ntk(module, texts())
    vectors = torch.randn(2, 4, 3, dtype=torch.float64)
    torch.testing.assert_close(kernel_times(module, texts(), vectors).flatten(1), vectors.flatten(1) @ kernel)
