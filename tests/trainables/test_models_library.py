"""Networks of torchvision and timm by name, and any of them without norms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.models import FAMILIES, build, check_model, make
from trainables.models.library import names
from trainables.models.norm_free import norms, without_norms
from trainables.models.resnext import _Bottleneck

TORCHVISION, TIMM = FAMILIES[-2:]


def meta(name: str, classes: int = 1000) -> nn.Module:
    """The network without numbers, for 3x224x224."""
    with torch.device("meta"):
        return make(name, input_shape=(3, 224, 224), num_classes=classes)


@pytest.mark.parametrize("name", TORCHVISION.parameters)
def test_counts_of_torchvision_are_those_of_its_documentation(name: str) -> None:
    from torchvision.models import get_model_weights

    short = name.removeprefix("torchvision/")
    documented = next(iter(get_model_weights(short))).meta["num_params"]
    assert sum(p.numel() for p in meta(name).parameters()) == documented == TORCHVISION.parameters[name]


@pytest.mark.parametrize(("name", "published"), [("timm/seresnet18", 11.8), ("timm/seresnet50", 28.1)])
def test_counts_of_timm_are_the_published_ones(name: str, published: float) -> None:
    found = sum(p.numel() for p in meta(name).parameters())
    assert found == TIMM.parameters[name]
    assert round(found / 1e6, 1) == published


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("torchvision/resnt18", "Did you mean torchvision/resnet18?"),
        ("torchvision/maskrcnn_resnet50_fpn", "torchvision must know the network"),
        ("timm/se_resnet18", "Did you mean timm/seresnet18?"),
        ("timm/seresnet50.ra2_in1k", "Did you mean timm/seresnet50?"),
        ("timm/hf-hub:someone/something", "timm must know the network"),
        ("torchvision/alexnet-nonorm", "must have norms to leave out, AlexNet has none"),
        ("timm/resnetv2_50d_frn-nonorm", "Use a network with batch norm"),
    ],
)
def test_networks_that_a_library_lacks_are_refused(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match="must") as caught:
        check_model(name)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "torchvision/resnet18",
            (1, 32, 32),
            "torchvision/resnet18 needs images with 3 channels, got 1. Use a network",
        ),
        ("torchvision/alexnet", (3, 32, 32), r"must take images of 3x32x32, but fails: .*too small. Use images of"),
        ("timm/vit_tiny_patch16_224", (3, 64, 64), r"must take images of 3x64x64, but fails: .*224"),
        ("torchvision/resnet18", (64,), "reads images of channels x height x width"),
    ],
)
def test_images_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, input_shape=shape, num_classes=2, seed=0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("torchvision/resnet18", (3, 32, 32)),
        ("timm/seresnet18-nonorm", (1, 32, 32)),
    ],
)
def test_libraries_networks_are_bit_equal_for_a_seed_and_ready_to_train(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (build(name, input_shape=shape, num_classes=7, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = [(first.state_dict()[key], again.state_dict()[key], other.state_dict()[key]) for key in first.state_dict()]
    assert all(torch.equal(one, two) for one, two, _ in pairs)
    assert not all(torch.equal(one, three) for one, _, three in pairs)
    assert first.training
    logits = first(torch.randn(2, *shape))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(p.grad is not None and p.dtype == torch.float32 for p in first.parameters())


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/seresnet18"])
def test_each_block_of_a_resnet_starts_as_the_identity(name: str) -> None:
    module = build(name, input_shape=(3, 32, 32), num_classes=2, seed=0)
    last = [norm for entry, norm in norms(module) if entry.endswith("bn2")]
    assert len(last) == 8
    assert not any(norm.get_parameter("weight").any() for norm in last)


@pytest.mark.parametrize(
    "name",
    ["torchvision/resnet18", "torchvision/mobilenet_v2", "timm/seresnet18", "timm/resnetv2_50", "timm/resnest14d"],
)
def test_norm_free_networks_keep_everything_else(name: str) -> None:
    normed, free = meta(name), meta(f"{name}-nonorm")
    of_norms = {id(p) for _, norm in norms(normed) for p in norm.parameters()}
    assert of_norms
    assert not list(norms(free))
    assert [p.shape for p in normed.parameters() if id(p) not in of_norms] == [p.shape for p in free.parameters()]


def test_a_norm_with_an_activation_becomes_the_activation() -> None:
    from timm.layers import BatchNormAct2d

    network = without_norms(nn.Sequential(BatchNormAct2d(3), nn.InstanceNorm2d(3, affine=True), nn.GroupNorm(1, 3)))
    inputs = torch.randn(2, 3, 4, 4)
    kept = inputs.clone()
    assert torch.equal(network(inputs), kept.relu())
    assert torch.equal(inputs, kept)  # the activation was in place, on the norm's output
    assert not list(network.parameters())


def test_resnext_blocks_compute_what_torchvisions_do() -> None:
    from torchvision.models.resnet import Bottleneck

    torch.manual_seed(0)
    mine = _Bottleneck(64, 128 * 4 * 4 // 64, 512, stride=2, groups=4).double()
    downsample = nn.Sequential(nn.Conv2d(64, 512, 1, 2, bias=False), nn.BatchNorm2d(512))
    theirs = Bottleneck(64, 128, stride=2, downsample=downsample, groups=4, base_width=4).double()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
    inputs = torch.randn(3, 64, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(mine(inputs), theirs(inputs))


@pytest.mark.parametrize("name", ["timm/seresnet18", "timm/swin_tiny_patch4_window7_224"])
def test_a_saved_network_is_whole(name: str) -> None:
    module = meta(name)
    assert {entry for entry, _ in module.named_buffers()} <= module.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [f"torchvision/{name}" for name in ("googlenet", "inception_v3", "densenet121", "swin_t")]
)
def test_all_kinds_of_torchvision_give_plain_logits(name: str) -> None:
    module = build(name, input_shape=(3, 224, 224), num_classes=3, seed=0)
    logits = module(torch.randn(2, 3, 224, 224))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 3)


def test_a_network_that_cannot_be_made_without_numbers_passes() -> None:
    check_model("torchvision/regnet_x_400mf-nonorm")


@pytest.mark.slow
def test_all_classifiers_of_torchvision_but_the_oldest_have_norms_to_leave_out() -> None:
    without = {"alexnet", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg13", "vgg16", "vgg19"}
    for name in names("torchvision"):
        check_model(f"torchvision/{name}")
        if name in without:
            with pytest.raises(ValueError, match="must have norms to leave out"):
                check_model(f"torchvision/{name}-nonorm")
        else:
            check_model(f"torchvision/{name}-nonorm")
