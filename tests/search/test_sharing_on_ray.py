"""Shares of a GPU as Ray hands them out; the GPU is Ray's word for one, and the memory is only reported."""

import pytest
import ray

from results.schema import EpochRow, StudyState, TrialRow, TrialState
from search import tune
from search.capacity import Node
from search.conductor import Conductor
from search.history import History
from search.nodes import Fleet
from tests.search.gpu_users import GpuUser, Refused
from tests.search.simulator import Disk, study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    with pytest.MonkeyPatch.context() as variables:
        for name, value in {
            "HOME": str(tmp_path_factory.mktemp("home")),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AIR_NEW_OUTPUT": "0",
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
        }.items():
            variables.setenv(name, value)
        ray.init(
            address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, logging_level=40
        )
        yield
        ray.shutdown()


def run(trainable, monkeypatch, folder, *overrides):
    """The conductor of a study that has run with four trials to a GPU, and the rows on its disk."""
    monkeypatch.setattr(tune, "trainable_of", lambda ranks: trainable)
    spec = study(*overrides, "stopping=none", "seeds.confirm=2", "confirm.top=1", "recipe.epochs=1")
    spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": 0.25})})
    disk = Disk([])
    conductor = Conductor(spec, History(), disk, session="s0001")
    conductor.records.session(StudyState.RUNNING, host="h", pid=1, slots=4, command="c", environment="{}")
    tune.run_trials(
        conductor,
        folder / "study",
        storage=folder / "tune",
        session="s0001",
        fleet=Fleet.of_machine(Node("", "here", cpus=4, gpus=1), spec.resources),
        terms=None,
        between_events=lambda: True,
        verbose=False,
    )
    disk.flush()
    assert conductor.finished
    return conductor, disk.safe


def test_a_trial_without_memory_goes_on_with_a_larger_share_and_so_do_later_ones(gpu, monkeypatch, tmp_path):
    conductor, rows = run(GpuUser, monkeypatch, tmp_path, "search.trials=6")
    first = conductor.history.trials["t0001"]
    assert (first.state, first.attempt, first.crashes, first.gpu_share) == (TrialState.COMPLETED, 2, 0, 0.5)
    asked = {(r.trial, r.attempt): r.gpu_share for r in rows if isinstance(r, TrialRow) and r.state == "RUNNING"}
    given = {(r.trial, r.attempt): r.metrics["gpu"] for r in rows if isinstance(r, EpochRow)}
    assert given == pytest.approx({start: asked[start] for start in given})
    assert asked["t0001", 1] == 0.25
    assert all(share == 0.5 for (trial, _), share in asked.items() if trial > "t0004")
    assert [row.reason for row in conductor.history.events] == [
        "trials get 0.5 GPU from now on, not 0.25: t0001 took 30.0 of 80.0 GiB of its memory"
    ]


def test_a_trial_that_a_reused_worker_cannot_set_up_keeps_no_room_from_those_that_need_more(gpu, monkeypatch, tmp_path):
    conductor, _ = run(Refused, monkeypatch, tmp_path, "search.trials=10", "resources.max_failures=0")
    trials = conductor.history.trials
    assert (trials["t0006"].state, trials["t0006"].attempt) == (TrialState.FAILED, 0)
    assert {trial.state for name, trial in trials.items() if name != "t0006"} == {TrialState.COMPLETED}
    assert [trials[name].gpu_share for name in ("t0007", "t0010")] == [0.25, 1.0]
