"""What gets loaded when: torch costs seconds, and the command line must not pay for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trainables


def modules_after(code: str) -> set[str]:
    code += "\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import trainables, trainables.recipe, trainables.data, trainables.models, trainables.session",
        "from trainables import check_model, prepare; check_model('mlp-8'); prepare('digits')",
    ],
)
def test_names_and_packing_need_neither_torch_nor_ray_nor_sklearn(code: str) -> None:
    assert modules_after(code).isdisjoint({"torch", "ray", "mlflow", "sklearn", "scipy"})


def test_a_whole_training_run_loads_neither_compiler_nor_sklearn_nor_ray() -> None:
    loaded = modules_after(
        "from trainables import TrialConfig, TrialSession\n"
        "session = TrialSession(TrialConfig(trial='t', recipe={'epochs': 2}, seeds=(0,), test=True))\n"
        "assert session.advance()['finished']"
    )
    assert "torch" in loaded
    assert loaded.isdisjoint({"torch._dynamo", "sklearn", "scipy", "ray", "sympy"})


def test_public_names_are_sorted() -> None:
    assert trainables.__all__ == sorted(trainables.__all__)
    assert all(hasattr(trainables, name) for name in trainables.__all__)
