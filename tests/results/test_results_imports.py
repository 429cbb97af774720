"""What an import of the results may bring, and that the examples in the docstrings hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import results

MODULES = sorted(m.name for m in pkgutil.walk_packages(results.__path__, "results."))


def test_no_module_brings_engine_or_tracker():
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if brought := {'torch', 'ray', 'mlflow', 'pandas'} & set(sys.modules):\n"
        "        sys.exit(f'{name} brings {brought}')"
    )
    done = subprocess.run([sys.executable, "-c", code, *MODULES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_best_configuration_is_shown_without_heavy_imports(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.results.synthetic import finished\n"
        "from results.report import Format, build, render_best\n"
        "render_best(build(finished(Path(sys.argv[1]), trials=6)), Format.TABLE)\n"
        "print(*sorted({'plotly', 'scipy.stats', 'pandas', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
