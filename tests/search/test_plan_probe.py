import json

import pytest

from search.errors import ThermotuneError, UsageError
from search.planning.as_json import as_json
from search.planning.as_text import as_text
from search.planning.costs import EVALUATION, kind_of, middle_recipe, seconds_of_test
from search.planning.forecast import forecast
from search.planning.plan import plan
from search.planning.recorded import recorded
from search.planning.timing import timed
from search.planning.worker import Worker, visible_gpus
from tests.search.commands import thermotune
from tests.search.plans import study
from trainables.data import prepare
from trainables.session import TrialConfig


def test_arms_that_cost_the_same_are_timed_once():
    spec = study()
    kinds = {kind_of(middle_recipe(spec, arm)) for arm in spec.arms}
    assert len(kinds) == 1


def test_arms_of_other_losses_and_networks_are_timed_apart():
    spec = study(name="digits-kd")
    assert len({kind_of(middle_recipe(spec, arm)) for arm in spec.arms}) == 3


def test_the_middle_meets_what_is_required():
    spec = study("require=loss.beta > 0.9")  # the arm that has beta 1 needs a point, too
    assert middle_recipe(study(), "search").loss.beta < 0.9 < middle_recipe(spec, "search").loss.beta


@pytest.mark.slow
def test_probe_of_a_small_study(tmp_path):
    spec = study("resources.max_concurrent=2", "recipe.epochs=4", "search.trials=6", name="digits-kd")
    found = plan(spec, tmp_path)
    assert found.slots == 2
    assert set(found.measured.costs) == {"big", "nokd", "kd", "kd-ats"}
    for known in found.measured.costs.values():
        assert 0.0005 < known.epoch_s < 2
        assert "whole epochs" in known.basis
        assert known.checkpoint_bytes > 10_000
        assert known.metrics >= 5
    assert found.measured.memory_bytes > 50 * 2**20
    assert found.measured.took_s < 60
    assert not (tmp_path / "teachers").exists(), "the probe keeps its stand-ins to itself"
    text = as_text(found, (), width=100)
    assert "kd-ats" in text
    assert "wall time" in text
    json.dumps(as_json(found))


@pytest.mark.slow
def test_steps_and_evaluation_add_up_to_an_epoch(tmp_path):
    recipe = middle_recipe(study("recipe.batch_size=8", "recipe.epochs=3"), "search")
    config = TrialConfig(
        trial="probe",
        recipe=recipe.model_dump(mode="json"),
        seeds=(0,),
        return_at=(1, 2, 3),
        checkpoints=str(tmp_path),
    )
    whole = timed(config, seconds=60)["cost"]
    assert whole["basis"] == "2 whole epochs"
    for share in (0.35, 0.5, 0.65):  # others use the machine, too: there may be time for a few steps only
        part = timed(config, seconds=share * whole["epoch_s"])["cost"]
        if "evaluation by rule of thumb" not in part["basis"]:
            break
    assert "of 135 steps, and evaluation" in part["basis"]
    assert 0.2 < part["epoch_s"] / whole["epoch_s"] < 5  # of the same size: one of 135 steps would not be


@pytest.mark.slow
def test_records_of_a_study_tell_the_times_of_the_next(tmp_path):
    root = tmp_path / "root"
    small = ("-s", "search.trials=4", "-s", "recipe.epochs=3", "-s", "resources.max_concurrent=2")
    done = thermotune(root, "submit", "digits-beta", *small)
    assert done.returncode == 0, done.stderr
    found = recorded(study("search.trials=100"), root / "digits-beta")
    assert set(found.costs) == {"search", "baseline"}
    assert all(0.0005 < known.epoch_s < 2 for known in found.costs.values())
    assert found.slots == 2
    with pytest.raises(UsageError, match="has none like that of search, baseline"):
        recorded(study("recipe.model=mlp-16"), root / "digits-beta")
    text = as_text(forecast(study(), found, slots=2), (), width=100)
    assert "the records of digits-beta" in text


def test_testing_costs_its_share_of_an_epoch():
    data = prepare("digits")
    recipe = middle_recipe(study(), "search")
    sizes = data.sizes
    weight = 1.0 / (sizes["train"] + EVALUATION * sizes["val"])
    assert seconds_of_test(1.0, recipe, data) == pytest.approx(EVALUATION * sizes["test"] * weight)


@pytest.mark.parametrize(
    ("gpus", "devices"), [(0.5, ["0", "0", "1", "1"]), (1, ["0", "1", "2", "3"]), (2, ["0,1", "2,3", "4,5", "6,7"])]
)
def test_processes_share_gpus_as_trials_do(monkeypatch, gpus, devices):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [visible_gpus(slot, gpus)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == devices
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5,3,1")
    assert visible_gpus(3, 1) == {"CUDA_VISIBLE_DEVICES": "1"}


def test_a_process_that_dies_says_why(tmp_path):
    worker = Worker(0, 0.0, tmp_path)
    worker.end("the test ends it")
    with pytest.raises(ThermotuneError, match="the test ends it"):
        worker.answer()
