"""``sync --check``: whatever is missing, doubled or different in MLflow is found, and nothing is sent."""

from __future__ import annotations

import math
import shutil
import sqlite3

import pytest
from mlflow.entities import Metric, ViewType
from mlflow.tracking import MlflowClient

from results.lock import StudyLock
from results.query import StudyView
from results.tracking import check, sync
from tests.results.synthetic import STUDY_ID, Study
from tests.results.tracking.stores import report_epoch, small


@pytest.fixture(scope="module")
def sent(tmp_path_factory, template):
    """A study and a store that has it."""
    root = tmp_path_factory.mktemp("sent")
    folder = small(root)
    (folder / "report.html").write_text("report")
    shutil.copy(template, root / "mlflow.db")
    sync(folder, f"sqlite:///{root / 'mlflow.db'}")
    return folder


@pytest.fixture
def store(sent, tmp_path):
    """A copy of that store, to be damaged; what is sent to it stays with it."""
    copy = shutil.copy(sent.parent / "mlflow.db", tmp_path / "copy.db")
    ask(copy, "update experiments set artifact_location = ?", (tmp_path / "mlartifacts").as_uri())
    return copy


def ask(store, sql, *values):
    with sqlite3.connect(store) as connection:
        return connection.execute(sql, values).fetchall()


def run_of(store, name):
    return ask(store, "select run_uuid from runs where name = ?", name)[0][0]


def found(sent, store):
    return check(sent, f"sqlite:///{store}").differences


def test_what_was_sent_is_all_there(sent, store, monkeypatch):
    for call in ("create_experiment", "create_run", "log_batch", "set_terminated", "update_run", "delete_run"):
        monkeypatch.setattr(MlflowClient, call, lambda *a, **k: pytest.fail("sent something"))
    result = check(sent, f"sqlite:///{store}")
    assert result.differences == ()
    means = StudyView(sent).epoch_means
    values = sum(math.isfinite(v) for curve in means.values() for m in curve for v in m.metrics.values())
    ((of_parent,),) = ask(store, "select count(*) from metrics where run_uuid = ?", run_of(store, "digits-beta"))
    assert result.values == values + of_parent > 900
    assert result.params == ask(store, "select count(*) from params")[0][0]
    assert result.runs == len(StudyView(sent).trials) + 1
    assert str(result).endswith("parameters and 2 files: all there, none twice")


def test_an_empty_store_lacks_everything_and_stays_empty(sent, tmp_path, template):
    store = shutil.copy(template, tmp_path / "empty.db")
    assert len(found(sent, store)) == len(StudyView(sent).trials) + 1
    assert ask(store, "select count(*) from experiments where name = 'thermotune'") == [(0,)]


TAMPERED = {
    "run": ("update runs set lifecycle_stage = 'deleted' where run_uuid = ?", "t0002: its run is missing"),
    "value": (
        "delete from metrics where run_uuid = ? and key = 'val/accuracy' and step = 1",
        "t0002: val/accuracy lacks 1 value, the first of epoch 1",
    ),
    "another value": (
        "update metrics set value = 0.123 where run_uuid = ? and key = 'val/accuracy' and step = 1",
        "t0002: val/accuracy has another value than the records at epoch 1",
    ),
    "time": (
        "update metrics set timestamp = timestamp + 1 where run_uuid = ? and key = 'val/accuracy' and step = 1",
        "t0002: val/accuracy has another value than the records at epoch 1",
    ),
    "twice": (
        "insert into metrics select key, value, timestamp + 5, run_uuid, step, is_nan from metrics "
        "where run_uuid = ? and key = 'val/accuracy' and step = 1",
        "t0002: val/accuracy has more than one value at epoch 1",
    ),
    "surplus": (
        "insert into metrics select key, value, timestamp, run_uuid, 99, is_nan from metrics "
        "where run_uuid = ? and key = 'val/accuracy' and step = 1",
        "t0002: val/accuracy has 1 value that the records do not, the first at epoch 99",
    ),
    "status": (
        "update runs set status = 'RUNNING' where run_uuid = ?",
        "t0002: its status is RUNNING, and should be FINISHED",
    ),
    "parameter": (
        "update params set value = '7' where run_uuid = ? and key = 'optimizer.lr'",
        "t0002: the parameter optimizer.lr is '7', and should be",
    ),
    "tag": (
        "delete from tags where run_uuid = ? and key = 'arm'",
        "t0002: the tag arm is missing, and should be",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_one_difference_is_found_and_said(sent, store, what):
    sql, message = TAMPERED[what]
    ask(store, sql, run_of(store, "t0002"))
    result = check(sent, f"sqlite:///{store}", command="thermotune --root here")
    (difference,) = result.differences
    assert difference.startswith(message)
    assert str(result).endswith("\nMend it with: thermotune --root here sync digits-beta")


def test_sync_mends_every_kind_of_difference(sent, store):
    for number, what in enumerate(TAMPERED, 1):
        ask(store, TAMPERED[what][0], run_of(store, f"t{min(number, 8):04d}"))
    assert len(found(sent, store)) == len(TAMPERED)
    done = sync(sent, f"sqlite:///{store}")
    anew = len(TAMPERED) - len(("status", "tag"))
    assert (done.created, done.deleted) == (anew, anew - len(("run",)))
    assert done.runs == len(StudyView(sent).trials) + 1
    assert found(sent, store) == ()


def test_the_run_of_a_study_is_mended_with_its_files_and_its_place_above_the_trials(sent, store):
    parent = run_of(store, "digits-beta")
    ask(store, "update params set value = '7' where run_uuid = ? and key = 'seed'", parent)
    assert found(sent, store) == ("digits-beta: the parameter seed is '7', and should be '0'",)
    done = sync(sent, f"sqlite:///{store}")
    assert (done.created, done.deleted, done.files) == (1, 1, 2)
    assert found(sent, store) == ()
    ((new,),) = ask(store, "select run_uuid from runs where name = 'digits-beta' and lifecycle_stage = 'active'")
    parents = {value for (value,) in ask(store, "select value from tags where key = 'mlflow.parentRunId'")}
    assert parents == {new} != {parent}


def test_a_file_that_is_gone_is_sent_again(root):
    folder = small(root)
    (folder / "report.html").write_text("report")
    sync(folder)
    (gone,) = root.glob("mlartifacts/*/artifacts/report/report.html")
    gone.unlink()
    assert check(folder).differences == ("the file report/report.html is missing",)
    done = sync(folder)
    assert (done.files, done.created) == (1, 0)
    assert gone.read_text() == "report"
    assert check(folder).differences == ()


def test_twins_and_runs_of_unknown_trials_are_found(sent, store):
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    original = client.get_run(run_of(store, "t0002"))
    for key in (f"{STUDY_ID}/t0002", f"{STUDY_ID}/t0999"):
        tags = {**original.data.tags, "thermotune.key": key}
        client.create_run(original.info.experiment_id, tags=tags)
    assert found(sent, store) == (
        "t0002: it has 2 runs, and should have one",
        "t0999: the records know no such trial; sync leaves its run, delete it in MLflow",
    )
    sync(sent, f"sqlite:///{store}")
    left = check(sent, f"sqlite:///{store}")
    assert left.differences == ("t0999: the records know no such trial; sync leaves its run, delete it in MLflow",)
    assert str(left).endswith("delete it in MLflow")


def test_values_that_others_added_are_theirs(sent, store):
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    client.log_batch(run_of(store, "t0002"), metrics=[Metric("my/own", 1.0, 5, 1)])
    assert found(sent, store) == ()


def test_files_that_are_missing_or_old_are_found(sent, store):
    parent = run_of(store, "digits-beta")
    ask(store, "delete from tags where run_uuid = ? and key = 'thermotune.files'", parent)
    assert found(sent, store) == (
        "the file study/study.yaml has changed since it was sent",
        "the file report/report.html has changed since it was sent",
    )
    (sent / "report.json").write_text("{}")
    try:
        assert "the file report/report.json is missing" in found(sent, store)
    finally:
        (sent / "report.json").unlink()


def test_a_running_study_may_be_ahead(root):
    study = Study(root, trials=1)
    study.begin()
    trial = study.propose("search")
    study._state(trial, "search", "explore", "RUNNING", attempt=1)
    with StudyLock(study.folder):
        report_epoch(study, trial, 1)
        sync(study.folder)
        assert check(study.folder).differences == ()
        report_epoch(study, trial, 2)
        result = check(study.folder)
    assert result.differences == ("t0001: val/accuracy lacks 1 value, the first of epoch 2",)
    assert str(result).endswith("a few seconds behind. When it has ended: thermotune sync digits-beta")


def test_deleted_runs_do_not_count(sent, store):
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    twin = client.create_run("1", tags=dict(client.get_run(run_of(store, "t0003")).data.tags))
    client.delete_run(twin.info.run_id)
    assert len(client.search_runs(["1"], run_view_type=ViewType.ALL)) == len(StudyView(sent).trials) + 2
    assert found(sent, store) == ()
