from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from results.schema import METRICS
from trainables import diagnostics
from trainables.diagnostics import logit_statistics


@given(
    st.integers(1, 30), st.integers(1, 50), st.sampled_from([1e-3, 1.0, 1e4]), st.floats(-5, 5), st.integers(0, 10**6)
)
def test_statistics_are_those_of_their_definitions(n: int, c: int, scale: float, offset: float, seed: int) -> None:
    z = scale * (np.random.default_rng(seed).standard_normal((n, c)) + offset)
    expected = {
        "val/logit_norm": np.sqrt((z**2).sum(1)).mean(),
        "val/logit_mean": np.abs(z.mean(1)).mean(),
        "val/logit_max": np.abs(z.max(1)).mean(),
        "val/logit_variance": ((z**2).mean(1) - z.mean(1) ** 2).mean(),
    }
    found = logit_statistics(torch.from_numpy(z))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9 * scale**2)
    assert set(found) == {name for name in METRICS if name.startswith("val/logit_")}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_neither_overflows_nor_rounds(dtype: torch.dtype) -> None:
    z = (6e4 * torch.rand(20, 100, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = logit_statistics(z)
    assert found == pytest.approx(logit_statistics(z.double()), rel=1e-5)
    assert all(math.isfinite(value) for value in found.values())


def test_statistics_need_samples_of_logits() -> None:
    for shape in ((0, 3), (3, 0), (3,), (2, 3, 4)):
        with pytest.raises(ValueError, match="logits must be"):
            logit_statistics(torch.zeros(shape))


def test_public_names_are_sorted_and_there() -> None:
    assert diagnostics.__all__ == sorted(diagnostics.__all__)
    assert all(hasattr(diagnostics, name) for name in diagnostics.__all__)


def test_diagnostics_load_nothing_heavy_beyond_torch() -> None:
    code = (
        "import torch; from trainables.diagnostics import *\n"
        "z = torch.randn(20, 3); y = torch.randint(3, (20,))\n"
        "calibration_metrics('val', z, y, fit_temperature(z, y)); mean_teacher_statistics(z, y, tau1=4, tau2=2)\n"
        "logit_statistics(z); stationary_threshold(z, 0.5)\n"
        "import sys; print(*{'scipy', 'sklearn', 'torchmetrics', 'torch._dynamo', 'sympy', 'ray'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == ""
