"""The main job as a user runs it: submit, look, sync, with a real Ray, a real MLflow store and a real browser."""

import json

import pytest

from results.schema import EpochRow, TrialRow
from tests.browser import chromium, shown
from tests.search.commands import rows_of, thermotune

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SMALL = ("--set", "search.trials=4", "--set", "recipe.epochs=9", "--set", "seeds.confirm=2")


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


def test_dead_mlflow_neither_blocks_nor_fails_and_sync_catches_up(tmp_path):
    root = tmp_path / "runs"
    dead = "http://127.0.0.1:9"
    run = thermotune(root, "submit", "digits-alpha", *SMALL, MLFLOW_TRACKING_URI=dead)
    assert run.returncode == 0, run.stderr
    assert "sync digits-alpha" in run.stderr
    refused = thermotune(root, "sync", "digits-alpha", MLFLOW_TRACKING_URI=dead)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert thermotune(root, "sync", "digits-alpha").returncode == 0
    trials = {r.trial for r in rows_of(root / "digits-alpha") if isinstance(r, TrialRow)}
    assert len(mlflow_runs(root / "mlflow.db")[1]) == len(trials) + 1


def test_study_in_which_everything_diverges_says_so_and_exits_3(tmp_path):
    root = tmp_path / "runs"
    broken = ("--set", "space.optimizer.lr={log: [1.0e+7, 1.0e+8]}", "--set", "search.trials=2")
    run = thermotune(root, "submit", "digits-beta", *broken)
    assert run.returncode == 3, run.stderr
    ends = {r.trial: r for r in rows_of(root / "digits-beta") if isinstance(r, TrialRow)}
    assert {row.state for row in ends.values()} == {"DIVERGED"}
    assert all("epoch 1, step" in row.reason for row in ends.values())
    report = json.loads(thermotune(root, "report", "digits-beta", "--format", "json").stdout)
    assert report["best"] is None


def test_a_second_study_that_describes_the_same_teacher_reuses_it(tmp_path):
    root = tmp_path / "runs"
    small = ("--set", "search.trials=2", "--set", "recipe.epochs=3", "--set", "seeds.confirm=2")
    for name in ("first", "second"):
        run = thermotune(root, "submit", "digits-kd", *small, "--set", f"name={name}")
        assert run.returncode == 0, run.stderr
        said = thermotune(root, "report", name).stdout
        for text in ("Teachers", "What the teacher tells the student", "Arms on the test split", "Calibration"):
            assert text in said
    (address,) = [path.name for path in (root / "teachers").iterdir() if path.is_dir()]
    taught = [r for r in rows_of(root / "second") if isinstance(r, TrialRow) and r.stage == "teach"]
    assert taught[-1].reason == f"reused: trained before, as {address}"
    assert not [r for r in rows_of(root / "second") if isinstance(r, EpochRow) and r.stage == "teach"]
