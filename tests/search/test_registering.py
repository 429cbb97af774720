"""Registering a confirmed network: which one, once, with what it achieved; and a refusal where nothing is confirmed."""

import json
import shutil
import subprocess
import sys

import pytest

from results.query import StudyView
from results.report.build import report_of
from search.errors import UsageError
from search.registering import _choose, register
from tests.results.synthetic import Study, finished
from tests.search.commands import environment, thermotune


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return StudyView(finished(tmp_path_factory.mktemp("root"), trials=4, confirm_seeds=5))


def choose(view, trial=None, seed=None):
    candidate, chosen = _choose(view, report_of(view), trial, seed, "thermotune --root here")
    return candidate.trial, chosen


def test_the_best_with_the_seed_of_the_median_is_chosen(study):
    report = report_of(study)
    trial, seed = choose(study)
    assert trial == report.best.trial
    values = next(c for c in report.candidates if c.trial == trial).validation_by_seed
    assert sum(value < values[seed] for value in values.values()) == 2
    assert len(values) == 5


def test_of_two_seeds_in_the_middle_the_worse_is_taken(tmp_path):
    for mode, expected in (("val/accuracy", 1001), ("val/loss", 1002)):
        made = Study(tmp_path / mode[4:], trials=1, reference=None, metric=mode, confirm_seeds=4)
        made.begin()
        source = made.explored("search", 0.5)
        for seed, value in enumerate((0.1, 0.2, 0.3, 0.4), 1000):
            trial = made.propose("search", "confirm", source, seed)
            write_end(made, trial, seed, mode, value)
        made.end()
        assert choose(StudyView(made.folder)) == (source, expected)


def write_end(made, trial, seed, metric, value):
    from results.schema import EpochRow

    kind = {"trial": trial, "arm": "search", "stage": "confirm", "lane": 0, "seed": seed, "attempt": 1}
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.5, metric: value}
    made.writer.append(EpochRow(**made.common, **kind, epoch=27, attempt_start=26, epoch_time_s=1.0, metrics=metrics))
    made._final(trial, "search", "confirm", "COMPLETED", 27, value, "trained to the end")


def test_a_trial_may_be_named_by_its_search_or_its_confirm_run(study):
    report = report_of(study)
    other = next(c.trial for c in report.candidates if c.trial != report.best.trial)
    assert choose(study, other)[0] == other
    assert choose(study, other, 1003) == (other, 1003)
    run = next(t for t in study.trials if t.source == other and t.seeds == (1001,))
    assert choose(study, run.trial) == (other, 1001)
    with pytest.raises(UsageError, match="is the run of seed 1001"):
        choose(study, run.trial, 1002)


def test_what_is_not_confirmed_is_refused(study, tmp_path):
    report = report_of(study)
    explored = next(t.trial for t in study.trials if t.trial not in {c.trial for c in report.candidates})
    with pytest.raises(UsageError, match=rf"got {explored}. Confirmed: t0"):
        choose(study, explored)
    with pytest.raises(UsageError, match=r"got 7. There are: 1000, 1001, 1002, 1003 and 1004"):
        choose(study, None, 7)
    made = Study(tmp_path, trials=1)
    made.begin()
    made.explore()
    made.end()
    with pytest.raises(UsageError, match="must be confirmed on fresh seeds"):
        register(made.folder)


def without_confirmed(root, state):
    made = Study(root, trials=1, reference=None)
    made.begin()
    trial = made.propose("search")
    made._final(trial, "search", "explore", "DIVERGED", 1, None, "the training loss is inf in epoch 1")
    made.end(state)
    return StudyView(made.folder)


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("COMPLETED", "The study has ended. No trial was trained to the end.* here explain digits-beta"),
        ("INTERRUPTED", "The study has not ended.* --root here resume digits-beta"),
    ],
)
def test_the_advice_fits_the_reason_for_which_nothing_is_confirmed(tmp_path, state, advice):
    with pytest.raises(UsageError, match=advice):
        choose(without_confirmed(tmp_path, state))


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_registered_network_is_loaded_elsewhere_and_predicts_what_was_recorded(tmp_path):
    import numpy as np
    import torch
    import torch.nn.functional as F
    from mlflow.tracking import MlflowClient

    from trainables.data import prepare

    root = tmp_path / "thermotune-runs"
    small = ("--set", "search.trials=2", "--set", "recipe.epochs=3", "--set", "seeds.confirm=2")
    assert thermotune(root, "submit", "digits-beta", *small).returncode == 0
    made = thermotune(root, "register", "digits-beta")
    assert made.returncode == 0, made.stderr
    assert made.stdout == "models:/digits-beta/1\n"
    assert "the median of its seeds" in made.stderr
    again = thermotune(root, "register", "digits-beta")
    assert (again.stdout, "registered already" in again.stderr) == ("models:/digits-beta/1\n", True)
    assert "none twice" in thermotune(root, "sync", "digits-beta", "--check").stdout

    view = StudyView(root / "digits-beta")
    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
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
