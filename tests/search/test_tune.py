"""The Ray shells without a cluster: plain objects play Ray's side, since these moments cannot be forced on it."""

import math
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError

from results.schema import Stage, TrialRow
from search.capacity import Node
from search.conductor import Conductor
from search.failures import failure_of
from search.history import History
from search.nodes import Fleet, Listing
from search.searcher import FirstError, StudySearcher, trial_config
from search.settings import Resources
from search.tune import ActorManager, StudyScheduler
from tests.search.simulator import Disk, study
from trainables.trial import PLACEHOLDER, REPORT_KEY

CONTROLLER = SimpleNamespace(_staged_trials=())
TWO_SLOTS = Fleet.of_machine(Node("", "here", cpus=2), Resources())


@pytest.fixture
def shells(tmp_path):
    conductor = Conductor(study("search.trials=2"), History(), Disk([]), session="s0001")
    searcher = StudySearcher(conductor, tmp_path, TWO_SLOTS, None, FirstError())
    scheduler = StudyScheduler(conductor, tmp_path, TWO_SLOTS, lambda: True, FirstError())
    return conductor, searcher, scheduler


def tune_trial(config, status, error_file=None):
    files = {"error_file": error_file, "pickled_error_file": None}
    return SimpleNamespace(trial_id="x", config=config, status=status, last_result={}, **files)


def test_trial_whose_reused_worker_breaks_before_it_begins_is_handed_out_again(shells):
    conductor, searcher, scheduler = shells
    config = searcher.suggest("x")
    scheduler.on_trial_error(CONTROLLER, tune_trial(config, "PENDING"))
    assert conductor.active == set()
    assert searcher.suggest("y")["trial"] == config["trial"]


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_trial_that_crashes_more_often_than_allowed_fails_with_its_traceback(shells, status, tmp_path):
    conductor, searcher, scheduler = shells
    (tmp_path / "error.txt").write_text("Traceback\nRuntimeError: boom\n")
    for _ in range(4):
        config = searcher.suggest("x")
        scheduler.on_trial_error(CONTROLLER, tune_trial(config, status, str(tmp_path / "error.txt")))
    trial = conductor.history.trials[config["trial"]]
    assert trial.state == "FAILED"
    conductor.records.flush()
    end = [r for r in conductor.records._writer.safe if isinstance(r, TrialRow)][-1]
    assert (end.error, end.reason) == ("Traceback\nRuntimeError: boom", "RuntimeError: boom")


def test_no_more_trials_are_handed_out_than_there_are_slots(shells):
    _, searcher, _ = shells
    assert [searcher.suggest(name) is None for name in "abc"] == [False, False, True]


def on_two_nodes_of_a_cluster(tmp_path):
    """A searcher and its conductor, where two trials fit."""
    conductor = Conductor(study("search.trials=4"), History(), Disk([]), session="s0001")
    fleet = Fleet(Resources(), lambda: Listing({"a": Node("a", "a", cpus=2)}), watched=True)
    return conductor, StudySearcher(conductor, tmp_path, fleet, None, FirstError())


def test_on_a_cluster_one_more_is_asked_for_when_all_places_are_taken(tmp_path):
    conductor, searcher = on_two_nodes_of_a_cluster(tmp_path)
    names = [searcher.suggest(name)["trial"] for name in "ab"]
    assert searcher.suggest("c") is None
    conductor.started(names[0])
    assert searcher.suggest("c") is None
    conductor.started(names[1])
    assert searcher.suggest("c")["trial"] == "t0003"
    assert searcher.suggest("d") is None


def test_a_place_that_comes_free_is_for_the_trial_that_waits(tmp_path):
    conductor, searcher = on_two_nodes_of_a_cluster(tmp_path)
    for name in [searcher.suggest(name)["trial"] for name in "ab"]:
        conductor.started(name)
    waiting = searcher.suggest("c")["trial"]
    conductor.failed("t0001", failure_of(None, "", None))
    assert searcher.suggest("d") is None
    conductor.started(waiting)
    assert searcher.suggest("d")["trial"] == "t0004"


def test_no_worker_is_kept_beyond_those_that_fit(tmp_path):
    conductor, searcher = on_two_nodes_of_a_cluster(tmp_path)
    left = 4 * len(conductor.study.arms)
    while left:
        conductor.started(searcher.suggest("x")["trial"])
        if left := left - 1:
            conductor.failed(*conductor.active, failure_of(None, "", None))
    assert [searcher.suggest(name) for name in "pqr"] == [PLACEHOLDER, None, None]


def test_a_trial_moves_from_an_unfit_node_which_is_left_out(tmp_path):
    disk = Disk([])
    conductor = Conductor(study("search.trials=4"), History(), disk, session="s0001")
    fleet = Fleet(Resources(), lambda: Listing({"a": Node("a", "a", cpus=2)}), watched=True)
    scheduler = StudyScheduler(conductor, tmp_path, fleet, lambda: True, FirstError())
    config = StudySearcher(conductor, tmp_path, fleet, None, FirstError()).suggest("x")
    (tmp_path / "error.txt").write_text(
        "The actor died because of an error raised in its creation task, ray::PlacedStudyTrial.__init__()\n"
        "search.doctor.admission.NodeUnfit: node 3fa0 must not be used: torch 2.0.0, not 2.15.0. Mend it\n"
    )
    scheduler.on_trial_error(CONTROLLER, tune_trial(config, "PENDING", str(tmp_path / "error.txt")))
    trial = conductor.history.trials[config["trial"]]
    assert (trial.moves, trial.crashes) == (1, 0)
    assert fleet.left_out == {"3fa0": "torch 2.0.0, not 2.15.0. Mend it"}
    (row,) = [row for row in disk.safe + disk.waiting if isinstance(row, TrialRow) and row.setback]
    assert row.reason == "its node is unfit for the study, and left out"
    assert row.error == "torch 2.0.0, not 2.15.0. Mend it"


def test_a_trial_that_a_reused_worker_refused_is_not_being_placed_any_more(shells):
    _, searcher, scheduler = shells
    unstaged = []
    refused = tune_trial(searcher.suggest("x"), "PENDING")
    controller = SimpleNamespace(_staged_trials=[refused], _unstage_trial_with_resources=unstaged.append)
    scheduler.on_trial_error(controller, refused)
    assert unstaged == [refused]


def test_broken_placeholder_harms_nothing(shells):
    conductor, _, scheduler = shells
    scheduler.on_trial_error(CONTROLLER, tune_trial(PLACEHOLDER, "RUNNING"))
    assert conductor.history.trials == {}


@pytest.mark.parametrize(("gpus", "device"), [(0, "cpu"), (0.5, "cuda")])
def test_trial_uses_the_gpu_only_if_it_asked_for_one(tmp_path, gpus, device):
    spec = study()
    spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpus": gpus})})
    conductor = Conductor(spec, History(), Disk([]), session="s0001")
    assert trial_config(spec, conductor.next_trial(), tmp_path)["device"] == device


def test_only_confirming_trials_may_open_the_test_split(tmp_path, shells):
    conductor, _, _ = shells
    trial = conductor.next_trial()
    opened = {
        stage: trial_config(conductor.study, replace(trial, stage=stage), tmp_path)["test"]
        for stage in (Stage.EXPLORE, Stage.CONFIRM)
    }
    assert [stage for stage, test in opened.items() if test] == [Stage.CONFIRM]


def test_checkpoints_of_an_ended_trial_go_when_its_rows_are_safe_and_not_before(tmp_path):
    conductor = Conductor(study("search.trials=2"), History(), Disk([]), session="s0001")
    safe = [False]
    scheduler = StudyScheduler(conductor, tmp_path, TWO_SLOTS, lambda: safe[0], FirstError())
    searcher = StudySearcher(conductor, tmp_path, TWO_SLOTS, None, FirstError())
    config = searcher.suggest("x")
    checkpoint = tmp_path / "checkpoints" / config["trial"] / "epoch-000001.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    lanes = [{"epoch": 1, "lane": 0, "seed": 0, "epoch_time_s": 1.0, "metrics": {"val/accuracy": math.nan}}]
    divergence = {"epoch": 1, "reason": "train/loss is nan"}
    report = {"attempt": 1, "attempt_start": 0, "epochs": lanes, "divergence": divergence, "finished": False}
    report |= {"memory": None, "out_of_memory": None}
    scheduler.on_trial_result(None, tune_trial(config, "RUNNING"), {REPORT_KEY: [report], "time_total_s": 1.0})
    controller = SimpleNamespace(get_live_trials=list, get_trials=list)
    scheduler.choose_trial_to_run(controller)
    assert checkpoint.exists()
    safe[0] = True
    scheduler.choose_trial_to_run(controller)
    deadline = time.monotonic() + 10
    while checkpoint.exists() and time.monotonic() < deadline:  # a thread removes it
        time.sleep(0.01)
    assert not checkpoint.exists()


def test_worker_that_ray_ended_for_lack_of_memory_is_a_lost_worker_and_no_end_of_the_run():
    heard = []
    actor = SimpleNamespace(actor_id=1, _on_error=lambda actor, error: heard.append(error))
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda actor, error: heard.append(error))
    manager = ActorManager(resource_manager=None)
    manager._cleanup_actor = lambda tracked_actor: None
    manager._actor_task_failed(task, OutOfMemoryError("the node was running low on memory"))
    assert len(heard) == 2
    assert all(isinstance(error, RayActorError) for error in heard)
    kept = cloudpickle.loads(cloudpickle.dumps(heard[0]))  # as Ray Tune keeps it
    assert failure_of(kept, str(kept), None).reason.startswith("its worker was ended by Ray")
