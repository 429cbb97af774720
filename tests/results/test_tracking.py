"""The MLflow mirror, against real stores: everything arrives once, whatever is repeated, killed or lost."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import timedelta

import pytest
from mlflow.tracking import MlflowClient

from results import mirror, tracking
from results.errors import StudyNotFound, TrackingUnavailable
from results.lock import StudyLock
from results.query import StudyView
from results.schema import EpochRow, TrialRow
from results.tracking import follow, main, sync
from tests.results.synthetic import STUDY_ID, Study, finished
from tests.results.synthetic_papers import Distilled


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A migrated, empty store; migrating takes two seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path, template, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path


def client(root):
    return MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")


def runs(root, uri=None, experiment="thermotune"):
    """Active runs by key."""
    found = MlflowClient(tracking_uri=uri) if uri else client(root)
    identifier = found.get_experiment_by_name(experiment).experiment_id
    return {r.data.tags["thermotune.key"]: r for r in found.search_runs([identifier], max_results=1000)}


def expected_points(folder):
    """Finite values that a child run must hold: (trial, metric, epoch) to (value, time)."""
    view = StudyView(folder)
    return {
        (trial, name, mean.epoch): (value, round(mean.reported_at.timestamp() * 1000))
        for trial, means in view.epoch_means.items()
        for mean in means
        for name, value in mean.metrics.items()
        if math.isfinite(value)
    }


def points(root, uri=None):
    """What the store holds, every point of every child; twice the same step would be a longer list."""
    found = MlflowClient(tracking_uri=uri) if uri else client(root)
    held = []
    for key, run in runs(root, uri).items():
        _, _, trial = key.partition("/")
        for name in run.data.metrics if trial else ():
            history = found.get_metric_history(run.info.run_id, name)
            held += [((trial, name, p.step), (p.value, p.timestamp)) for p in history]
    return held


def small(root, **options):
    return finished(root, trials=4, confirm_seeds=2, **options)


def test_every_visible_epoch_arrives_once(root):
    folder = small(root)
    done = sync(folder)
    held = points(root)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(folder)
    assert done.metrics == len(held) + len(runs(root)[STUDY_ID].data.metrics)
    assert done.created == done.runs == len(StudyView(folder).trials) + 1
    assert not (root / "mlruns").exists()


def test_a_second_pass_sends_nothing(root, monkeypatch):
    folder = small(root)
    sync(folder)
    before = points(root)
    for call in ("create_run", "log_batch", "set_terminated", "update_run", "delete_run", "set_tag"):
        monkeypatch.setattr(MlflowClient, call, lambda *a, **k: pytest.fail("sent something"))
    done = sync(folder)
    assert (done.metrics, done.created, done.deleted) == (0, 0, 0)
    assert "up to date" in str(done)
    assert points(root) == before


def test_runs_carry_what_a_browser_needs(root):
    folder = small(root)
    sync(folder)
    found = runs(root)
    parent = found[STUDY_ID]
    assert parent.info.run_name == "digits-beta"
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["thermotune.state"] == "COMPLETED"
    assert parent.data.params["space/loss.beta"] == "log 0.01 .. 10"
    assert parent.data.metrics.keys() >= {"best/test/accuracy", "reference/test/accuracy", "difference/test/accuracy"}
    for trial in StudyView(folder).trials:
        run = found[f"{STUDY_ID}/{trial.trial}"]
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["arm"], tags["stage"], tags["thermotune.state"]) == (trial.arm, trial.stage, trial.state)
        assert tags["thermotune.stop_reason"] == trial.reason
        assert tags.get("source") == trial.source
        assert run.data.params["loss.beta"] == repr(float(trial.setting("loss.beta")))
        assert run.data.params["seed"] == str(trial.seeds[0])
        assert run.info.start_time == round(trial.started_at.timestamp() * 1000)
        assert run.info.end_time == round(trial.ended_at.timestamp() * 1000)
        expected = "FAILED" if trial.state in ("DIVERGED", "FAILED") else "FINISHED"
        assert run.info.status == expected


def test_teachers_are_runs_like_others(root):
    study = Distilled(root)
    study.begin()
    study.teach("small", epochs=0, reason="reused: trained before as 0123456789abcdef")
    study.teach("big")
    study.end("INTERRUPTED", "Ctrl-C")
    sync(study.folder)
    found = runs(root)
    small, big = found[f"{STUDY_ID}/t0001"], found[f"{STUDY_ID}/t0002"]
    for run, name in ((small, "small"), (big, "big")):
        assert (run.data.tags["stage"], run.data.tags["arm"], run.info.status) == ("teach", name, "FINISHED")
    assert small.data.metrics == {}
    assert big.data.metrics["val/accuracy"] > 0.9
    assert "reused" in small.data.tags["thermotune.stop_reason"]
    assert found[STUDY_ID].data.params["teachers"] == "small, big"
    assert found[STUDY_ID].data.params["space/optimizer.weight_decay"] == "0.0005 times loss.weight ** 1"
    assert dict(points(root)) == expected_points(study.folder)
    assert sync(study.folder).metrics == 0


def test_where_the_reference_is_the_best_the_difference_is_that_of_the_challenger(root):
    study = Study(root, trials=1)
    study.begin()
    for arm, values in (("search", [0.90, 0.91, 0.92, 0.90, 0.91]), ("baseline", [0.95, 0.96, 0.95, 0.97, 0.96])):
        study.confirmed(study.explored(arm, 0.9), arm, values)
    study.end()
    sync(study.folder)
    found = runs(root)[STUDY_ID].data.metrics
    assert found["best/test/accuracy"] == found["reference/test/accuracy"] > found["challenger/test/accuracy"]
    expected = found["challenger/test/accuracy"] - found["reference/test/accuracy"]
    assert found["difference/test/accuracy"] == pytest.approx(expected)


def test_values_that_are_not_finite_become_a_tag(root):
    study = Study(root, trials=1)
    study.begin()
    trial = study.propose("search")
    study.proposals[trial] = {"loss.beta": 10.0, "optimizer.lr": 1.0}
    assert study.run(trial, "search") == "DIVERGED"
    study.end()
    sync(study.folder)
    run = runs(root)[f"{STUDY_ID}/{trial}"]
    assert "train/loss inf in epoch" in run.data.tags["thermotune.nonfinite"]
    assert all(math.isfinite(v) for v in run.data.metrics.values())
    assert all(abs(v) < 1e300 for v in run.data.metrics.values())
    assert run.info.status == "FAILED"


def test_an_amended_study_keeps_the_parameters_that_it_began_with(root, monkeypatch):
    """MLflow refuses to change a parameter: also a pass that is repeated after the amendment must send the old ones."""
    study = Study(root, trials=1)
    study.begin()
    study.run(study.propose("search"), "search")
    study.writer.flush()
    real, lost = MlflowClient.log_batch, []

    def log_batch(self, run, metrics=(), params=(), tags=()):
        if not lost and params:
            lost.append(real(self, run, metrics=metrics, params=params))
            raise OSError("the reply was lost, and the tags with it")
        return real(self, run, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with pytest.raises(TrackingUnavailable, match="lost"):
        sync(study.folder)
    study.document["stopping"] |= {"grace_epochs": 3}
    study.extend(5)
    study.amendment = 2
    study.reopen("s0002")
    study.end("INTERRUPTED", "Ctrl-C")
    sync(study.folder)
    parent = runs(root)[STUDY_ID].data
    assert parent.params["stopping"] == "asha, grace 1, factor 3"
    assert parent.params["grace_epochs"] == "1"
    assert parent.tags["thermotune.trials"] == "10"
    amended = parent.tags["thermotune.amendment.2"]
    assert amended == "search.trials from 1 to 5, stopping.grace_epochs from 1 to 3"
    assert sync(study.folder).metrics == 0


def test_a_paused_trial_is_a_running_run_with_a_tag(root):
    study = Study(root, trials=1)
    study.begin()
    common = {"trial": "t0001", "arm": "search", "stage": "explore", "number": 0}
    origin = "TPE model of 34 trials"
    pending = {"state": "PENDING", "attempt": 0, "seeds": "[0]", "params": "{}", "origin": origin, "audited": 1}
    study.writer.append(TrialRow(**study.common, **common, **pending))
    study.writer.append(TrialRow(**study.common, **common, state="RUNNING", attempt=1))
    report_epoch(study, "t0001", 1)
    study.writer.append(TrialRow(**study.common, **common, state="PAUSED", attempt=1))
    study.writer.flush()
    with StudyLock(study.folder):
        sync(study.folder)
        run = runs(root)[f"{STUDY_ID}/t0001"]
    assert run.info.status == "RUNNING"
    assert run.data.tags["thermotune.state"] == "PAUSED"
    assert (run.data.tags["origin"], run.data.tags["audited"]) == (origin, "true")
    ended = {"state": "PRUNED", "attempt": 1, "epochs": 1, "value": 0.5, "reason": "never promoted"}
    study.writer.append(TrialRow(**study.common, **common, **ended))
    study.end()
    sync(study.folder)
    run = runs(root)[f"{STUDY_ID}/t0001"]
    assert (run.info.status, run.data.tags["thermotune.state"]) == ("FINISHED", "PRUNED")
    assert dict(points(root)) == expected_points(study.folder)


def report_epoch(study, trial, number, *, attempt=1, start=0, lane=0, value=0.5):
    study.clock += timedelta(seconds=1)
    study.writer.append(
        EpochRow(
            **study.common,
            trial=trial,
            arm="search",
            stage="explore",
            lane=lane,
            seed=lane,
            epoch=number,
            attempt=attempt,
            attempt_start=start,
            epoch_time_s=1.0,
            metrics={"val/accuracy": value},
        )
    )
    study.writer.flush()


@pytest.fixture
def running(root):
    study = Study(root, trials=2)
    study.begin()
    trial = study.propose("search")
    study._state(trial, "search", "explore", "RUNNING", attempt=1)
    return study, trial


def test_a_running_study_is_brought_on_epoch_by_epoch(root, running):
    study, trial = running
    key = f"{STUDY_ID}/{trial}"
    with StudyLock(study.folder):
        report_epoch(study, trial, 1)
        assert sync(study.folder).metrics == 1
        first = runs(root)[key].info.run_id
        report_epoch(study, trial, 2)
        assert sync(study.folder).metrics == 1
        run = runs(root)[key]
        assert (run.info.run_id, run.info.status) == (first, "RUNNING")
        assert runs(root)[STUDY_ID].info.status == "RUNNING"
    assert sync(study.folder).metrics == 0
    assert runs(root)[key].info.status == "KILLED"
    assert runs(root)[STUDY_ID].info.status == "KILLED"
    study.reopen("s0002")
    with StudyLock(study.folder):
        sync(study.folder)
        assert runs(root)[key].info.status == "RUNNING"
    assert dict(points(root)) == expected_points(study.folder)


@pytest.mark.parametrize("reached", [3, 4, 6])
def test_a_restart_below_what_was_sent_makes_the_child_anew(root, running, reached):
    study, trial = running
    for number in (1, 2, 3, 4):
        report_epoch(study, trial, number)
    sync(study.folder)
    old = runs(root)[f"{STUDY_ID}/{trial}"].info.run_id
    for number in range(3, reached + 1):
        report_epoch(study, trial, number, attempt=2, start=2, value=0.7)
    done = sync(study.folder)
    run = runs(root)[f"{STUDY_ID}/{trial}"]
    assert (done.deleted, done.created) == (1, 1)
    assert run.info.run_id != old
    assert run.data.tags["thermotune.generation"] == "2"
    held = points(root)
    assert len(held) == len(dict(held)) == reached
    assert dict(held) == expected_points(study.folder)
    assert sync(study.folder).metrics == 0


def test_a_restart_where_the_last_attempt_stopped_keeps_the_child(root, running):
    study, trial = running
    report_epoch(study, trial, 1)
    sync(study.folder)
    report_epoch(study, trial, 2, attempt=2, start=1)
    done = sync(study.folder)
    assert (done.deleted, done.metrics) == (0, 1)


def test_an_epoch_is_sent_when_all_its_lanes_are_there(root, running, monkeypatch):
    study, _ = running
    trial = study.propose("search")
    monkeypatch.setattr(study, "path", study.path)
    common = {"arm": "search", "stage": "explore", "number": 1}
    study.writer.append(
        TrialRow(**study.common, trial="t0050", state="PENDING", attempt=0, seeds="[0, 1]", params="{}", **common)
    )
    study.writer.append(TrialRow(**study.common, trial="t0050", state="RUNNING", attempt=1, **common))
    report_epoch(study, "t0050", 1, lane=0, value=0.2)
    assert sync(study.folder).metrics == 0
    report_epoch(study, "t0050", 1, lane=1, value=0.6)
    assert sync(study.folder).metrics == 1
    assert dict(points(root)) == expected_points(study.folder)
    assert trial


def test_of_twins_made_by_a_lost_reply_the_older_stays(root, monkeypatch):
    folder = small(root)
    real, lost = MlflowClient.create_run, []

    def create_run(self, *args, **options):
        made = real(self, *args, **options)
        if len(lost) < 3:
            lost.append(made.info.run_id)
            raise OSError("the reply was lost")
        return made

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    for _ in range(3):
        with pytest.raises(TrackingUnavailable, match="lost"):
            sync(folder)
    monkeypatch.undo()
    found = client(root)
    original = found.get_run(lost[0])
    twin = found.create_run(
        original.info.experiment_id, tags={**original.data.tags, "thermotune.created": str(time.time_ns())}
    )
    done = sync(folder)
    assert done.deleted == 1
    assert runs(root)[STUDY_ID].info.run_id == lost[0]
    assert found.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"
    assert dict(points(root)) == expected_points(folder)


@pytest.mark.parametrize("call", ["log_batch", "set_terminated"])
def test_a_pass_cut_short_anywhere_is_completed_by_the_next(root, monkeypatch, call):
    folder = small(root)
    real = getattr(MlflowClient, call)
    for after in range(12):
        left = [after]

        def once(self, *args, left=left, **options):
            if left[0] == 0:
                real(self, *args, **options)
                raise OSError("the reply was lost")
            left[0] -= 1
            return real(self, *args, **options)

        with monkeypatch.context() as patched, contextlib.suppress(TrackingUnavailable):
            patched.setattr(MlflowClient, call, once)
            sync(folder)
    sync(folder)
    held = points(root)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(folder)
    assert {r.info.status for r in runs(root).values()} <= {"FINISHED", "FAILED"}


def test_long_and_odd_texts_fit(root, running):
    study, trial = running
    study._final(trial, "search", "explore", "FAILED", 0, None, "x" * 20_000)
    study.writer.flush()
    sync(study.folder)
    assert len(runs(root)[f"{STUDY_ID}/{trial}"].data.tags["thermotune.stop_reason"]) == mirror._TAG_LENGTH
    assert mirror._name("loss[beta]*") == "loss_beta__"


def test_the_environment_names_store_and_experiment(root, monkeypatch, template):
    shutil.copy(template, root / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'other.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    folder = small(root)
    sync(folder)
    assert runs(root, f"sqlite:///{root / 'other.db'}", "mine")
    assert client(root).get_experiment_by_name("mine") is None


def test_a_study_that_has_not_begun_makes_no_run(root):
    study = Study(root)
    study.writer.close()
    assert sync(study.folder).runs == 0


def test_an_unknown_study_is_said(root, capsys):
    with pytest.raises(StudyNotFound):
        sync(root / "nothing")
    (root / "nothing").mkdir()
    assert main([str(root / "nothing")]) == 1
    assert "study.yaml" in capsys.readouterr().err


def test_one_mirror_at_a_time(root, monkeypatch):
    folder = small(root)
    monkeypatch.setattr(tracking, "WAIT_FOR_MIRROR_S", 0.3)
    with tracking._only_mirror(folder, 0), pytest.raises(TrackingUnavailable, match="one mirror at a time"):
        sync(folder)
    assert sync(folder).created


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_sync_says_when_nobody_answers(root, monkeypatch):
    folder = small(root)
    uri = f"http://me:secret@127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    start = time.monotonic()
    with pytest.raises(TrackingUnavailable) as caught:
        sync(folder)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert "thermotune sync digits-beta" in message
    assert "secret" not in message


def test_following_a_dead_server_ends_soon_after_the_driver(root, monkeypatch):
    folder = small(root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(tracking, "GENTLE_START_S", 0.0)
    monkeypatch.setattr(tracking, "PASS_EVERY_S", 0.1)
    monkeypatch.setattr(tracking, "LAST_TRIES_S", 1.0)
    driver = StudyLock(folder)
    driver.acquire()
    threading.Timer(1.0, driver.release).start()
    start = time.monotonic()
    with pytest.raises(TrackingUnavailable, match="thermotune sync"):
        follow(folder)
    assert 0.9 < time.monotonic() - start < 15


@pytest.mark.slow
def test_following_sends_while_the_driver_works_and_ends_after_it(root):
    """The process as the driver starts it, Ctrl-C included; it may not die of it."""
    study = Study(root, trials=3)
    study.begin()
    driver = StudyLock(study.folder)
    driver.acquire()
    process = subprocess.Popen(
        [sys.executable, "-m", "results.tracking", str(study.folder), "--follow"],
        stderr=subprocess.PIPE,
        cwd=root,
    )
    try:
        study.explore()
        study.writer.flush()
        deadline = time.monotonic() + 60
        while client(root).get_experiment_by_name("thermotune") is None or len(runs(root)) < 7:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.2)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) - os.getpriority(os.PRIO_PROCESS, 0) == 10
        process.send_signal(signal.SIGINT)
        study.end()
    finally:
        driver.release()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == b""
    held = points(root)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(study.folder)
    assert runs(root)[STUDY_ID].info.status == "FINISHED"


def test_importing_the_module_imports_no_mlflow():
    code = "import sys, results.tracking; assert not {'mlflow', 'torch', 'ray', 'plotly'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def serve(root, port):
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    store = f"sqlite:///{root / 'server.db'}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1",
         "--port", str(port), "--workers", "1", "--artifacts-destination", str(root / "artifacts")],
        env=environment, cwd=root, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                if answer.status == 200:
                    return server
        except OSError:
            assert server.poll() is None
            time.sleep(0.3)
    raise AssertionError("the server did not come up")


@pytest.mark.slow
def test_a_server_killed_again_and_again_holds_every_value_once(root, monkeypatch, template):
    folder = finished(root, trials=16)
    shutil.copy(template, root / "server.db")
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    kills = 0
    for delay in (0.4, 0.9, 1.5):
        server = serve(root, port)
        process = subprocess.Popen(
            [sys.executable, "-m", "results.tracking", str(folder)],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            stderr=subprocess.PIPE,
        )
        probe = MlflowClient(tracking_uri=f"sqlite:///{root / 'server.db'}")
        while probe.get_experiment_by_name("thermotune") is None:
            time.sleep(0.05)
        time.sleep(delay)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        _, errors = process.communicate(timeout=60)
        if process.returncode:
            kills += 1
            assert b"MLflow must take" in errors
            assert b"Traceback" not in errors
    assert kills
    server = serve(root, port)
    try:
        sync(folder, uri)
        held = points(root, uri)
        assert len(held) == len(dict(held))
        assert dict(held) == expected_points(folder)
        assert sync(folder, uri).metrics == 0
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
