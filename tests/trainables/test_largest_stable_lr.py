"""The law lr ~ 1/beta of arXiv 2010.07344 on real training (methods.md T6, A.8)."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "largest_stable_lr.py"


def benchmark() -> ModuleType:
    """The script, which lies in no package."""
    spec = importlib.util.spec_from_file_location(BENCHMARK.stem, BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_largest_stable_lr_falls_as_beta_and_then_as_its_square() -> None:
    """With ReLU: a bounded activation saturates where it should blow up, and hides the first law."""
    script = benchmark()
    data = script.digits(256)
    lrs = {beta: script.largest_stable_lr(beta, "relu", data) for beta in script.BETAS}
    assert script.slope(lrs, 0, 0.1) == pytest.approx(-1, abs=0.15)
    assert script.slope(lrs, 10, math.inf) == pytest.approx(-2, abs=0.15)
