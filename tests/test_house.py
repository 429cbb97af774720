"""The rules of the house: who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("results", "search", "spaces", "trainables")
ALLOWED = {"search": set(PACKAGES), "spaces": set(), "trainables": set(), "results": set()}


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    for path in modules(package):
        foreign = imported_packages(path) & set(PACKAGES) - {package} - ALLOWED[package]
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_only_the_trials_know_ray_among_the_trainables():
    knowing = [str(p.relative_to(ROOT)) for p in modules("trainables") if "ray" in imported_packages(p)]
    assert knowing == ["trainables/distributed.py", "trainables/trial.py"]


def test_only_the_shells_know_ray_in_search():
    knowing = [str(p.relative_to(ROOT / "search")) for p in modules("search") if "ray" in imported_packages(p)]
    assert knowing == [
        "doctor/admission.py",
        "doctor/nodes.py",
        "failures.py",
        "nodes.py",
        "placement.py",
        "ray_session.py",
        "searcher.py",
        "tune.py",
    ]


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import spaces", {"torch", "ray", "optuna", "pyarrow", "mlflow"}),
        ("import trainables, trainables.models, trainables.data", {"torch", "ray", "mlflow", "sklearn"}),
        ("import results, results.schema, results.store, results.query, results.report", {"torch", "ray", "mlflow"}),
        ("import search.stopping, search.history, search.conductor, search.study_file", {"torch", "ray", "mlflow"}),
        ("import search.cli", {"torch", "ray", "mlflow", "optuna", "pyarrow", "duckdb", "plotly", "scipy", "numpy"}),
    ],
)
def test_import_does_not_load(statement, forbidden):
    code = f"import sys; {statement}; print(' '.join(sorted({forbidden!r} & sys.modules.keys())))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert loaded.stdout.strip() == ""


def test_no_folder_beside_the_users_choice():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    folders = {name.partition("/")[0] for name in tracked if "/" in name}
    assert folders <= {*PACKAGES, "tests", ".ci"}
