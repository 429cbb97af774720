from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from search.errors import UsageError
from search.models_cli import describe, describe_one, models
from trainables.models import FAMILIES


@pytest.mark.parametrize("width", [60, 100, 200])
def test_every_family_is_listed_with_its_sizes_and_source_in_the_terminals_width(width: int) -> None:
    text = describe(width)
    assert all(len(line) <= width for line in text.splitlines())
    words = " ".join(text.split())
    for family in FAMILIES:
        assert family.form in words
        assert family.source in words
        assert all(name in words for name in family.parameters)
    assert "resnet-20 0.27M" in words
    assert "torchvision/resnet50 25.6M" in words


def test_the_list_loads_no_torch() -> None:
    code = (
        "import sys; from search.models_cli import models; models(); print(*({'torch', 'timm'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == ""
    assert "wrn-<depth>-<width>" in shown.stdout


def test_the_command_line_knows_the_option_names_without_heavy_imports() -> None:
    code = "import sys; import search.models_cli; print(*({'torch', 'numpy', 'rich.console'} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet-20", ["images of 3x32x32", "269,722", "19 BatchNorm2d", "He et al. 2016"]),
        ("wrn-16-1-nonorm", ["174,138", "none"]),
        ("gru-128", ["texts of 256 tokens, 20000 token ids", "2,659,330"]),
    ],
)
def test_one_network_is_shown_with_what_it_is_made_of(name: str, expected: list[str]) -> None:
    text = describe_one(name, input_shape=None, num_classes=None, vocabulary=20_000)
    assert all(part in text for part in expected)


def test_shape_and_classes_count(capsys: pytest.CaptureFixture[str]) -> None:
    models("mlp-8", input_shape="1x8x8", classes=3)
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["parameters"] == str(64 * 8 + 8 + 8 * 3 + 3)
    assert shown["reads"] == "anything of 1x8x8"


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("resnet-21", None, "Use 20"),
        ("resnet-20", "3x32x", "--input-shape must be numbers joined by x, got '3x32x'"),
        ("vgg-8", "3x4x4", "at least 8x8 pixels"),
        ("resnet20", None, "Did you mean resnet-20"),
        ("mlp-1000000-1000000", None, "the widths of mlp-<width>-<width>... must be at most 16,384, got 1000000"),
        ("resnet-600002", None, "the depth of resnet-<depth> must be at most 1202, got 600002. Use 1202 or less"),
        ("mlp-8", "99999999x9999", "--input-shape must hold at most 4,194,304 numbers, got 99999999x9999"),
        ("resnet-8", "3x" + 5000 * "9", "--input-shape must hold at most 4,194,304 numbers"),
        ("torchvision/", None, "Use for example torchvision/resnet18"),
    ],
)
def test_mistakes_are_usage_errors(name: str, shape: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        models(name, input_shape=shape)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "shape", "vocabulary", "parameters"),
    [
        ("mlp-16384-16384", (2**22,), 20_000, 2**22 * 2**14 + 2**14 + 2**28 + 2**14 + 10 * 2**14 + 10),
        ("gru-128", None, 2**31 - 1, 2_659_330 + (2**31 - 1 - 20_000) * 128),
        ("resnet-1202", None, 20_000, 19_421_274),  # He et al. 2016, table 6: 19.4 M
    ],
)
def test_a_network_too_large_for_any_memory_is_counted_all_the_same(
    name: str, shape: tuple[int, ...] | None, vocabulary: int, parameters: int
) -> None:
    text = describe_one(name, input_shape=shape, num_classes=None, vocabulary=vocabulary)
    assert f"{parameters:,}" in text


@pytest.mark.parametrize(("option", "most"), [("--vocabulary", "2147483647"), ("--classes", "100000")])
def test_numbers_that_no_data_set_has_are_usage_errors(option: str, most: str) -> None:
    app = typer.Typer()
    app.command()(models)
    shown = CliRunner().invoke(app, ["gru-128", f"{option}=999999999999"])
    assert shown.exit_code == 2
    assert most in shown.output


def test_a_network_of_a_library_that_gets_no_memory_is_a_usage_error() -> None:
    with pytest.raises(UsageError) as caught:
        models("torchvision/squeezenet1_0", classes=10**14)
    assert "model torchvision/squeezenet1_0 must be possible on this machine, but fails" in str(caught.value)
    assert "allocate" in str(caught.value)
