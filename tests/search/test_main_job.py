"""The main job as a user runs it: submit, look, sync, with a real Ray, a real MLflow store and a real browser."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from results.query import StudyView
from results.schema import EpochRow, TrialRow
from tests.browser import chromium, shown
from tests.search.commands import environment, rows_of, thermotune
from trainables.data import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ONE = "resources.max_concurrent=1"
TWO = "resources.max_concurrent=2"
SMALL = ("--set", "search.trials=4", "--set", "recipe.epochs=9", "--set", "seeds.confirm=2", "--set", TWO)


LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
import mlflow, mlflow.pytorch, numpy, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(sys.argv[2])
pixels = torch.from_numpy(numpy.load(sys.argv[3])).float()
try:
    model.eval()
except NotImplementedError:
    pass
else:
    raise AssertionError("eval() works: what we say of it is out of date")
served = mlflow.pyfunc.load_model(sys.argv[2]).predict(pixels.numpy())
assert numpy.array_equal(served, model(pixels).numpy())
assert not {"trainables", "search", "results"} & set(sys.modules)
numpy.save(sys.argv[4], model(pixels).numpy())
"""


@pytest.fixture(scope="module")
def submitted(tmp_path_factory):
    root = tmp_path_factory.mktemp("home") / "thermotune-runs"
    return root, thermotune(root, "submit", "digits-beta", *SMALL)


def mlflow_runs(store):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    experiment = client.get_experiment_by_name("thermotune")
    return client, client.search_runs([experiment.experiment_id], max_results=1000)


def test_submit_ends_with_the_report_its_page_and_the_next_commands(submitted):
    root, run = submitted
    assert run.returncode == 0, run.stderr
    for text in (
        "digits-beta  COMPLETED",
        "Best configuration",
        "Candidates on fresh seeds",
        "train digits-beta t0",
        "ui digits-beta",
    ):
        assert text in run.stdout
    assert f"{root}/digits-beta/report.html" in run.stderr
    assert "MLflow is up to date" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (root / "digits-beta" / "lock").exists()
    assert not (root / "digits-beta" / "tune").exists()


def test_test_split_is_measured_by_confirm_in_its_last_epoch_only(submitted):
    rows = [r for r in rows_of(submitted[0] / "digits-beta") if isinstance(r, EpochRow)]
    measured = {(r.stage, r.epoch) for r in rows if any(name.startswith("test/") for name in r.metrics)}
    assert measured == {("confirm", 9)}


def test_mlflow_holds_a_run_a_trial_below_one_parent(submitted):
    root, _ = submitted
    client, runs = mlflow_runs(root / "mlflow.db")
    trials = {r.trial: r for r in rows_of(root / "digits-beta") if isinstance(r, TrialRow)}
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == len(trials) == len(runs) - 1
    assert {run.data.tags["thermotune.state"] for run in children} == {row.state for row in trials.values()}
    child = next(run for run in children if run.data.tags["thermotune.state"] == "COMPLETED")
    points = client.get_metric_history(child.info.run_id, "val/accuracy")
    assert sorted(point.step for point in points) == list(range(1, 10))
    assert "was up to date" in thermotune(root, "sync", "digits-beta").stderr
    assert len(mlflow_runs(root / "mlflow.db")[1]) == len(runs)


def test_page_draws_its_figures_in_a_browser_without_the_net(submitted):
    page = submitted[0] / "digits-beta" / "report.html"
    with chromium() as browser, shown(browser, page.as_uri()) as found:
        found.wait_until_drawn()
        sizes = found.sizes_of_figures()
        assert len(sizes) >= 3
        assert all(width > 600 and height > 150 for width, height in sizes.values())
        assert found.complaints == []


def test_a_registered_network_is_loaded_elsewhere_and_predicts_what_was_recorded(submitted, tmp_path):
    root, _ = submitted
    made = thermotune(root, "register", "digits-beta")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "models:/digits-beta/1\n"
    assert "the median of its seeds" in made.stderr
    again = thermotune(root, "register", "digits-beta")
    assert (again.stdout, "registered already" in again.stderr) == ("models:/digits-beta/1\n", True)
    assert "none twice" in thermotune(root, "sync", "digits-beta", "--check").stdout

    view = StudyView(root / "digits-beta")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    client, _ = mlflow_runs(root / "mlflow.db")
    pixels, labels = prepare("digits").load("val")
    np.save(tmp_path / "pixels.npy", np.array(pixels))
    version = client.get_model_version("digits-beta", "1")
    run = next(t for t in view.trials if version.tags["thermotune.key"].endswith(t.trial))
    assert client.get_run(version.run_id).info.run_name == run.trial
    assert json.loads(version.tags["recipe"]) == run.recipe
    assert version.tags["verdict"] in version.description
    names = [sys.executable, "-c", LOAD, uri, "models:/digits-beta/1", "pixels.npy", "logits.npy"]
    subprocess.run(names, check=True, cwd=tmp_path, env=environment(tmp_path))
    logits = torch.from_numpy(np.load(tmp_path / "logits.npy"))
    last = view.epoch_means[run.trial][-1].metrics
    targets = torch.from_numpy(np.array(labels))
    assert float(F.cross_entropy(logits, targets)) == pytest.approx(last["val/loss"], rel=1e-4)
    assert float((logits.argmax(1) == targets).double().mean()) == last["val/accuracy"] == run.value
    assert float(version.tags["test/accuracy"]) == last["test/accuracy"]
    assert float(version.tags["refit_temperature"]) == last["val/refit_temperature"]
    for name in ("test/loss", "test/loss_refit", "test/ece", "test/ece_refit"):
        assert float(version.tags[name]) == last[name]
    ece = f"(ECE) {100 * last['test/ece']:.2f} % -> {100 * last['test/ece_refit']:.2f} %"
    assert "the temperature fitted on the validation split, changed on the test split the loss" in version.description
    assert ece in version.description
    assert "pixels (N, 1, 8, 8) float32 in 0..16" in version.description
    assert "do not call eval()" in made.stderr

    shutil.rmtree(root / "digits-beta" / "checkpoints" / run.trial)
    gone = thermotune(root, "register", "digits-beta", "--name", "gone")
    assert gone.returncode == 1
    assert f"thermotune train digits-beta {run.trial} --save" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_study_in_which_everything_diverges_says_so_and_exits_3(tmp_path):
    root = tmp_path / "runs"
    broken = ("--set", "space.optimizer.lr={log: [1.0e+7, 1.0e+8]}", "--set", "search.trials=2")
    run = thermotune(root, "submit", "digits-beta", *broken, "--set", ONE)
    assert run.returncode == 3, run.stderr
    ends = {r.trial: r for r in rows_of(root / "digits-beta") if isinstance(r, TrialRow)}
    assert {row.state for row in ends.values()} == {"DIVERGED"}
    assert all("epoch 1, step" in row.reason for row in ends.values())
    report = json.loads(thermotune(root, "report", "digits-beta", "--format", "json").stdout)
    assert report["best"] is None


def test_a_second_study_reuses_the_teacher_and_dead_mlflow_neither_blocks_it_nor_makes_it_fail(tmp_path):
    root, dead = tmp_path / "runs", {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    small = ("--set", "search.trials=2", "--set", "recipe.epochs=3", "--set", "seeds.confirm=2", "--set", ONE)
    for name, mlflow in (("first", {}), ("second", dead)):
        run = thermotune(root, "submit", "digits-kd", *small, "--set", f"name={name}", **mlflow)
        assert run.returncode == 0, run.stderr
        said = thermotune(root, "report", name).stdout
        for text in ("Teachers", "What the teacher tells the student", "Arms on the test split", "Calibration"):
            assert text in said
    (address,) = [path.name for path in (root / "teachers").iterdir() if path.is_dir()]
    rows = rows_of(root / "second")
    taught = [r for r in rows if isinstance(r, TrialRow) and r.stage == "teach"]
    assert taught[-1].reason == f"reused: trained before, as {address}"
    assert not [r for r in rows if isinstance(r, EpochRow) and r.stage == "teach"]
    assert "sync second" in run.stderr
    refused = thermotune(root, "sync", "second", **dead)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert thermotune(root, "sync", "second").returncode == 0
    trials = {(name, r.trial) for name in ("first", "second") for r in rows_of(root / name) if isinstance(r, TrialRow)}
    assert len(mlflow_runs(root / "mlflow.db")[1]) == len(trials) + 2
