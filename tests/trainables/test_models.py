from __future__ import annotations

import pytest
import torch

from trainables import build, check_model


@pytest.mark.parametrize("name", ["mlp-1", "mlp-128-128", "mlp-7-300-5"])
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
    ],
)
def test_unknown_models_are_refused_with_advice(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match="model must be one of mlp-<width>-<width>") as caught:
        check_model(name)
    assert advice in str(caught.value)


def test_mlp_has_the_layers_of_its_name() -> None:
    module = build("mlp-16-12", input_shape=(1, 8, 8), num_classes=10, seed=0)
    shapes = [tuple(parameter.shape) for parameter in module.parameters()]
    assert shapes == [(16, 64), (16,), (12, 16), (12,), (10, 12), (10,)]
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_parameters_depend_on_the_seed_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = build("mlp-8", input_shape=(4,), num_classes=2, seed=5).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build("mlp-8", input_shape=(4,), num_classes=2, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    other = build("mlp-8", input_shape=(4,), num_classes=2, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_parameters_are_torchs_default_initialisation() -> None:
    torch.manual_seed(5)
    layer = torch.nn.Linear(4, 8)
    assert torch.equal(build("mlp-8", input_shape=(4,), num_classes=2, seed=5).state_dict()["1.weight"], layer.weight)
