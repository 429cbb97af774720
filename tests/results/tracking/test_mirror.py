"""The mirror against real stores: everything arrives once, whatever is repeated, cut short or lost."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from results.errors import TrackingUnavailable
from results.lock import StudyLock
from results.query import StudyView
from results.schema import TrialRow
from results.tracking import check, content, sync
from results.tracking.mirror import Mirror
from tests.results.synthetic import STUDY_ID, Study
from tests.results.synthetic_papers import Distilled
from tests.results.tracking.stores import client, expected_points, points, report_epoch, runs, small


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
        assert tags["attempt"] == str(trial.attempt)
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
    assert (run.data.tags["thermotune.generation"], run.data.tags["attempt"]) == ("2", "1")
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


@pytest.mark.slow
@pytest.mark.parametrize("call", ["log_batch", "set_terminated"])
def test_a_pass_cut_short_anywhere_is_completed_by_the_next(root, monkeypatch, call):
    folder = small(root)
    real = getattr(MlflowClient, call)
    for after in (0, 1, 2, 5, 9):
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
    assert len(runs(root)[f"{STUDY_ID}/{trial}"].data.tags["thermotune.stop_reason"]) == content._TAG_LENGTH
    assert content.legal("loss[beta]*") == "loss_beta__"


def test_the_files_of_a_study_go_with_its_run_and_again_when_they_change(root, tmp_path_factory):
    folder = small(root)
    for name in ("environment.json", "report.json", "report.html"):
        (folder / name).write_text(f"first {name}")
    (folder / "study-2.yaml").write_text((folder / "study.yaml").read_text())
    assert sync(folder).files == 5
    assert sync(folder).files == 0
    (folder / "report.html").write_text("second report")
    assert sync(folder).files == 1
    parent = runs(root)[STUDY_ID].info.run_id
    kept = Path(client(root).download_artifacts(parent, "", str(tmp_path_factory.mktemp("kept"))))
    found = {str(path.relative_to(kept)): path.read_text() for path in kept.rglob("*") if path.is_file()}
    assert found.pop("study/study.yaml") == found.pop("study/study-2.yaml") == (folder / "study.yaml").read_text()
    assert found == {
        "study/environment.json": "first environment.json",
        "report/report.json": "first report.json",
        "report/report.html": "second report",
    }


def test_files_that_cannot_be_kept_are_said_and_the_values_are_there(root, monkeypatch):
    folder = small(root)

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    with pytest.raises(TrackingUnavailable, match="no space left"):
        sync(folder)
    assert dict(points(root)) == expected_points(folder)


def test_a_second_interruption_moves_the_end_of_the_run(root, running):
    study, _ = running
    ends = []
    for session in ("s0002", "s0003"):
        study.end("INTERRUPTED", "Ctrl-C")
        sync(study.folder)
        ends.append(runs(root)[STUDY_ID].info.end_time)
        assert ends[-1] == round(StudyView(study.folder).sessions[-1].ended_at.timestamp() * 1000)
        study.reopen(session)
    assert ends[0] < ends[1]


@pytest.mark.slow
def test_mirrors_on_two_machines_leave_one_run_a_trial(root, monkeypatch):
    """The lock holds on one machine. Here both find nothing, then both make every run; one of them ends later."""
    folder = small(root)
    slow, fast = (Mirror(client(root), "thermotune", None) for _ in range(2))
    client(root).create_experiment("thermotune", (root / "mlartifacts").as_uri())
    real, begun = MlflowClient.create_run, []

    def create_run(self, *args, **options):
        if not begun:
            begun.append(True)
            fast.bring_up_to_date(StudyView(folder))
        return real(self, *args, **options)

    monkeypatch.setattr(MlflowClient, "create_run", create_run)
    done = slow.bring_up_to_date(StudyView(folder))
    assert done.deleted == done.created == done.runs == len(StudyView(folder).trials) + 1
    held = points(root)
    assert len(held) == len(dict(held))
    assert dict(held) == expected_points(folder)
    assert check(folder).differences == ()
