"""The image networks of our own: what they compute, how they start, and that every tool for networks takes them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.engine.state import Layout
from trainables.models import build
from trainables.models.frozen import frozen
from trainables.models.logit_norm import logit_norm, undisturbed_logits, with_logit_norm
from trainables.models.norm_free import norms

NAMES = ("wrn-10-2", "resnet-8", "resnext-29-2x4d", "vgg-8", "shufflenet-v1", "mobilenet-v2-0.5")
FREE = tuple(f"{name}-nonorm" for name in NAMES)


def network(name: str, shape: tuple[int, ...] = (3, 16, 16), seed: int = 0) -> nn.Module:
    return build(name, input_shape=shape, num_classes=5, seed=seed)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 17, 24), (3, 64, 64)])
@pytest.mark.parametrize("name", NAMES)
def test_images_of_many_shapes_give_finite_logits_and_gradients(name: str, shape: tuple[int, ...]) -> None:
    module = network(name, shape)
    logits = module(images(2, *shape))
    F.cross_entropy(logits, torch.tensor([0, 3])).backward()
    assert logits.shape == (2, 5)
    assert module.training
    assert torch.isfinite(logits).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


@pytest.mark.parametrize("training", [True, False])
def test_resnet_computes_the_formula_of_its_paper(training: bool) -> None:
    module = network("resnet-14").double().train(training)
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
    w = {name: value.clone() for name, value in module.state_dict().items()}
    inputs = images(4, 3, 16, 16).double()

    def normed(x: Tensor, name: str) -> Tensor:
        mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]

    x = normed(F.conv2d(inputs, w["conv.weight"], padding=1), "norm").clamp(min=0)
    for block, (channels, stride) in enumerate([(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)]):
        name = f"blocks.{block}"
        y = normed(F.conv2d(x, w[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.norm1").clamp(min=0)
        y = normed(F.conv2d(y, w[f"{name}.conv2.weight"], padding=1), f"{name}.norm2")
        shortcut = torch.zeros_like(y)
        shortcut[:, : x.shape[1]] = x[:, :, ::stride, ::stride]
        assert y.shape[1] == channels
        x = (y + shortcut).clamp(min=0)
    expected = x.mean(3).mean(2) @ w["head.linear.weight"].T + w["head.linear.bias"]
    assert torch.allclose(module(inputs), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width", [1, 2])
def test_wide_resnet_computes_the_formula_of_its_paper(width: int) -> None:
    module = network(f"wrn-16-{width}-nonorm").double()  # where its norms are is the concern of the next test
    w = module.state_dict()
    inputs = images(4, 3, 16, 16).double()
    x = F.conv2d(inputs, w["conv.weight"], padding=1)
    for block, stride in enumerate([1, 1, 2, 1, 2, 1]):
        name = f"blocks.{block}"
        y = x.relu()
        shortcut = F.conv2d(y, w[f"{name}.shortcut.weight"], stride=stride) if f"{name}.shortcut.weight" in w else x
        y = F.conv2d(y, w[f"{name}.conv1.weight"], stride=stride, padding=1).relu()
        x = shortcut + F.conv2d(y, w[f"{name}.conv2.weight"], padding=1)
    expected = x.relu().mean((2, 3)) @ w["head.linear.weight"].T + w["head.linear.bias"]
    assert torch.allclose(module(inputs), expected, rtol=1e-10, atol=1e-12)
    assert sum("shortcut" in name for name in w) == (2 if width == 1 else 3)


def test_norms_of_a_wide_resnet_stand_before_its_convolutions() -> None:
    features = [module.num_features for _, module in norms(network("wrn-10-2")) if isinstance(module, nn.BatchNorm2d)]
    assert features == [16, 32, 32, 64, 64, 128, 128]


@pytest.mark.parametrize("name", NAMES + FREE)
def test_convolutions_start_as_he_et_al_have_it(name: str) -> None:
    for module in network(name).modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None or not module.bias.any()
            # each output unit reaches so many units of the next layer
            expected = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels / module.groups))
            assert float(module.weight.detach().std()) == pytest.approx(
                expected, rel=4 / math.sqrt(module.weight.numel())
            )
        elif isinstance(module, nn.Linear):
            assert not module.bias.any()


@pytest.mark.parametrize("name", FREE)
def test_norm_free_networks_have_no_norm_and_still_a_signal(name: str) -> None:
    module, normed = network(name), network(name.removesuffix("-nonorm"))
    assert not list(norms(module))
    assert not list(module.buffers())
    assert all("norm" not in entry for entry, _ in module.named_parameters())
    kept = dict(normed.named_parameters())
    assert all(torch.equal(kept[entry], value) for entry, value in module.named_parameters())
    spread = float(module(images(32, 3, 16, 16)).detach().std(0).mean())
    assert 1e-4 < spread < 1e3


@pytest.mark.parametrize("name", NAMES + FREE)
def test_all_tools_for_networks_take_them(name: str) -> None:
    inputs = images(6, 3, 16, 16)
    module = network(name)
    layout = Layout.of(module)
    assert [slot.name for slot in layout.slots][-2:] == ["head.linear.weight", "head.linear.bias"]
    logits = undisturbed_logits(module, inputs)
    assert torch.equal(undisturbed_logits(frozen(copy.deepcopy(module)), inputs), logits)
    scaled = with_logit_norm(
        module, mode="twin_head", norm=0.01, beta=1.0, probe=inputs, make_twin=lambda: network(name, seed=1)
    )
    assert float(logit_norm(undisturbed_logits(scaled, inputs).detach())) == pytest.approx(0.01, rel=1e-3)


def test_grouped_convolutions_of_shufflenet_mix_their_groups() -> None:
    block = network("shufflenet-v1-nonorm").get_submodule("blocks.1")
    with torch.no_grad():
        for weight in block.parameters():
            weight.abs_()  # no ReLU hides a path, and no two paths cancel
    inputs = images(1, 240, 1, 1).abs()
    derivative = torch.autograd.functional.jacobian(lambda x: block(x).flatten(), inputs).flatten(1)
    assert (derivative > 0).all()
