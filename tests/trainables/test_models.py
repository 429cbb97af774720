from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from trainables import build, check_model
from trainables.models import FAMILIES, family_of, make

PUBLISHED = {
    # He et al. 2016, table 6, in millions
    "resnet-20": 0.27,
    "resnet-32": 0.46,
    "resnet-44": 0.66,
    "resnet-56": 0.85,
    "resnet-110": 1.7,
    # Zagoruyko & Komodakis 2016, tables 2 and 4
    "wrn-40-1": 0.6,
    "wrn-40-2": 2.2,
    "wrn-40-4": 8.9,
    "wrn-40-8": 35.7,
    "wrn-28-10": 36.5,
    "wrn-28-12": 52.5,
    "wrn-22-8": 17.2,
    "wrn-22-10": 26.8,
    "wrn-16-8": 11.0,
    "wrn-16-10": 17.1,
    # Xie et al. 2017, table 7
    "resnext-29-8x64d": 34.4,
    "resnext-29-16x64d": 68.1,
}


def parameters(name: str, *, classes: int = 10, channels: int = 3) -> int:
    """Counted without drawing them."""
    family, _ = family_of(name)
    texts = family.reads == "texts"
    with torch.device("meta"):
        network = make(
            name,
            input_shape=(256,) if texts else (channels, 32, 32),
            num_classes=classes,
            vocabulary=20_000 if texts else None,
        )
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    "name",
    [
        "mlp-1",
        "mlp-128-128",
        "mlp-7-300-5",
        "wrn-16-4",
        "wrn-28-10-nonorm",
        "resnet-8",
        "resnet-110",
        "resnext-29-64x4d",
        "vgg-8-nonorm",
        "shufflenet-v1",
        "mobilenet-v2-0.5",
        "mobilenet-v2-1.4",
        "gru-128",
        "gru-64-128",
        "gru-128-bidirectional",
        "gru-64-128-bidirectional-maxpool",
        "gru-128-meanpool",
    ],
)
def test_known_models_pass(name: str) -> None:
    check_model(name)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("mpl-128", "Did you mean mlp-128?"),
        ("mlp", "Use for example"),
        ("mlp-0", "Use for example"),
        ("mlp-12x", "Use"),
        ("", "Use"),
        ("mlp-128\n", "Use"),
        ("WRN-28-10", "Did you mean wrn-28-10?"),
        ("resnet20", "Did you mean resnet-20"),
        ("resnet18", "Did you mean torchvision/resnet18"),
        ("seresnet18", "Did you mean timm/seresnet18"),
        ("vgg8", "Did you mean vgg-8?"),
        ("mobilenet-v2", "mobilenet-v2-0.5"),
        ("mobilenet-v2-0", "mobilenet-v2-0.5"),
        ("gru-128-avgpool", "Use for example gru-128."),
        ("gru-128-maxpool-bidirectional", "Use for example gru-128."),
        ("-nonorm", "Use"),
        ("torchvision/", "Use for example torchvision/resnet18."),
        ("timm/", "Use for example timm/seresnet18."),
        ("torchvison/resnet18", "Did you mean torchvision/resnet18?"),
        ("resnet/20", "Did you mean resnet-20?"),
    ],
)
def test_unknown_models_are_refused_with_advice(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match="model must be one of mlp-<width>-<width>") as caught:
        check_model(name)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet-18", r"the depth of resnet-<depth> must be 6n \+ 2, got 18. Use 20."),
        ("resnet-2", r"must be 6n \+ 2, got 2. Use 8."),
        ("wrn-28x-10", "model must be one of"),
        ("wrn-30-10", r"must be 6n \+ 4, got 30. Use 28."),
        ("resnet-1208", "the depth of resnet-<depth> must be at most 1202, got 1208. Use 1202 or less."),
        ("wrn-1204-1", "the depth of wrn-<depth>-<width> must be at most 1202, got 1204. Use 1198 or less."),
        (f"resnet-{5000 * '9'}", "must be at most 1202, got 9999"),
        ("wrn-16-16385", "the widths of wrn-<depth>-<width> must be at most 16,384, got 16385. Use smaller ones."),
        ("mlp-8-1000000-8", "the widths of mlp-<width>-<width>... must be at most 16,384, got 1000000"),
        (f"gru-{5000 * '9'}-8", "must be at most 16,384, got 9999"),
        ("resnext-29-4x99999d", "must be at most 16,384, got 99999"),
        ("wrn-4-1", r"must be 6n \+ 4, got 4. Use 10."),
        ("mlp-8-nonorm", "model mlp-8-nonorm must have norms to leave out, got none. Use mlp-8."),
        ("gru-8-maxpool-nonorm", "Use gru-8-maxpool."),
    ],
)
def test_networks_that_there_are_not_are_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model(name)


@pytest.mark.parametrize(("name", "millions"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(name: str, millions: float) -> None:
    digits = len(str(millions).partition(".")[2])
    assert abs(parameters(name) / 1e6 - millions) < 1.0 * 10**-digits  # some papers round, some cut off


@pytest.mark.parametrize(
    ("name", "count"),
    [(name, count) for family in FAMILIES if not family.is_library for name, count in family.parameters.items()],
)
def test_the_counts_that_users_are_shown_are_true(name: str, count: int) -> None:
    assert parameters(name, classes=family_of(name)[0].classes) == count


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 1), (16, 4), (28, 8)])
def test_wide_resnets_have_the_parameters_of_their_formula(depth: int, width: int) -> None:
    blocks = (depth - 4) // 6
    total, before = 9 * 3 * 16, 16
    for channels in (16 * width, 32 * width, 64 * width):
        total += 9 * channels * (before + channels) + 2 * (before + channels)  # convolutions and norms of the first
        total += before * channels if before != channels else 0
        total += (blocks - 1) * (18 * channels**2 + 4 * channels)
        before = channels
    assert parameters(f"wrn-{depth}-{width}") == total + 2 * before + 10 * before + 10


def test_mlp_has_the_layers_of_its_name() -> None:
    module = build("mlp-16-12", input_shape=(1, 8, 8), num_classes=10, seed=0)
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert shapes == [(16, 64), (16,), (12, 16), (12,), (10, 12), (10,)]
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize("name", ["mlp-8", "resnet-8", "wrn-10-1-nonorm", "shufflenet-v1", "mobilenet-v2-0.25"])
def test_parameters_depend_on_the_seed_and_on_nothing_else(name: str) -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        network = build(name, input_shape=(3, 16, 16), num_classes=2, seed=seed)
        return [weight for weight in network.state_dict().values() if weight.ndim > 1]

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = weights(5)
    assert torch.equal(torch.get_rng_state(), before)
    other = weights(6)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_parameters_are_torchs_default_initialisation() -> None:
    torch.manual_seed(5)
    layer = torch.nn.Linear(4, 8)
    assert torch.equal(build("mlp-8", input_shape=(4,), num_classes=2, seed=5).state_dict()["1.weight"], layer.weight)


@pytest.mark.parametrize(
    ("name", "input_shape", "vocabulary", "message"),
    [
        ("resnet-20", (256,), 1000, "model resnet-20 cannot read texts. Use for example gru-128."),
        ("mlp-8", (256,), 1000, "model mlp-8 cannot read texts"),
        ("gru-8", (3, 32, 32), None, "model gru-8 reads texts, got samples of 3x32x32 numbers. Use for example res"),
        ("wrn-16-1", (64,), None, "reads images of channels x height x width, got samples of 64 numbers"),
        ("vgg-8", (1, 7, 9), None, "model vgg-8 needs images of at least 8x8 pixels, got 7x9"),
    ],
)
def test_samples_that_a_network_cannot_read_are_refused(
    name: str, input_shape: tuple[int, ...], vocabulary: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, input_shape=input_shape, num_classes=2, seed=0, vocabulary=vocabulary)


def test_checking_a_name_of_ours_loads_no_torch() -> None:
    names = [name for family in FAMILIES if not family.is_library for name in family.parameters]
    code = f"import sys; from trainables.models import check_model; [check_model(n) for n in {names}]; "
    code += "check_model('wrn-16-4-nonorm'); print(*({'torch', 'torchvision', 'timm'} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""
