"""Studies whose root is s3://, on a server that speaks S3."""

import contextlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from results.errors import Held
from results.facts import find_study
from results.lock import StudyLock, holder
from results.places import names_in, place, publish, write_whole
from results.schema import EpochRow, SessionRow, Stage
from results.store import read_rows, writer
from search.amending import amend
from search.checkpoints import checkpoint_folder, sweep
from search.errors import UsageError
from search.folder import create, open_study
from search.history import History
from search.options import root_of
from search.replay import replay
from search.terminal import command_prefix
from search.warm_start import known_for
from tests.s3 import Proxy, keys
from tests.search.commands import Driver, rows_of, thermotune
from tests.search.crashes import assert_whole
from tests.search.folders import rows_of_killed, write_study
from tests.search.simulator import story, study
from trainables.data import prepare
from trainables.storage import PATIENCE_S

QUICK = ("search.trials=8", "search.sampler=random", "seeds.confirm=2", "confirm.top=1")

DISTILLED = """
name: crash
recipe: {model: mlp-128, batch_size: 16, epochs: 9, loss: {name: distilled, teacher: big}}
teachers: {big: {recipe: {model: mlp-128, epochs: 9}}}
search: {trials: 4}
seeds: {confirm: 2}
confirm: {top: 1}
resources: {max_concurrent: 1}
"""

HASTY = (
    sys.executable,
    "-c",
    "from results.store import writer; writer.TROUBLE_S = 12.0; from search.cli import main; main()",
)
"""A driver that does not wait ten minutes for its store."""


@pytest.fixture
def root(bucket, tmp_path):
    return place(f"s3://{bucket}/{tmp_path.name}")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return prepare("digits", tmp_path_factory.mktemp("data"))


def test_a_root_on_a_store_is_named_in_the_commands_that_are_printed(root):
    assert root_of(str(root)) == root
    assert command_prefix(root) == f"thermotune --root {root}"


@pytest.mark.parametrize("wrong", ["s3://", "s3://me:topsecret@lab/runs", "gs://lab/runs"])
def test_an_address_that_cannot_be_a_root_is_a_mistake_of_usage(wrong, tmp_path):
    with pytest.raises(UsageError, match="s3://") as error:
        root_of(wrong)
    assert "topsecret" not in str(error.value)


def test_of_two_submits_at_once_one_wins(root, digits):
    specs = [study(*QUICK, f"search.seed={seed}") for seed in range(4)]

    def submit(spec):
        try:
            return create(spec, root, digits)
        except (UsageError, Held) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(submit, specs))
    (won,) = [n for n, folder in enumerate(found) if not isinstance(folder, str)]
    assert open_study(found[won])[1] == specs[won]
    assert json.loads((found[won] / "environment.json").read_text())["data"]["digest"] == digits.digest
    assert names_in(found[won]) == ["environment.json", "lock", "study.yaml"]
    assert holder(found[won]) is None
    with pytest.raises(UsageError, match="must be new in its root"):
        create(specs[0], root, digits)


def test_a_study_is_found_replayed_and_amended(root):
    spec = study(*QUICK)
    rows = rows_of_killed(spec, kills=[7], workers=2)
    folder = write_study(root, rows, spec)
    assert find_study(root, spec.name) == folder
    assert story(History.fold(read_rows(folder))) == story(History.fold(rows))
    found = replay(folder)
    assert found.differences == ()
    assert amend(folder, more_trials=4, overrides=[], say=print) == ["search.trials: 8 -> 12"]
    assert "study-2.yaml" in names_in(folder)
    assert open_study(folder)[1].search.trials == 12
    with StudyLock(folder), pytest.raises(Held, match="one driver at a time"):
        amend(folder, more_trials=4, overrides=[], say=print)


def test_what_an_earlier_study_found_is_copied_into_a_new_one(root):
    spec = study(*QUICK, "name=earlier")
    earlier = write_study(root, rows_of_killed(spec, kills=[], workers=1), spec)
    write_whole(earlier / "environment.json", json.dumps({"data": {"name": "digits", "digest": "a", "classes": 10}}))
    later = study(*QUICK, "name=later", "search.warm_start=earlier")
    folder = write_study(root, [], later)
    known = known_for(later, folder)
    assert sum(map(len, known.values())) == 16
    assert "warm_start.json" in names_in(folder)
    assert known_for(later, folder) == known


def test_checkpoints_of_trials_that_have_ended_are_swept_but_for_confirmed_models(root):
    spec = study(*QUICK)
    history = History.fold(rows_of_killed(spec, kills=[], workers=1))
    folder = root / spec.name
    confirmed = next(iter(history.of(stage=Stage.CONFIRM)))
    for trial in (*history.of()[:3], confirmed):
        publish({checkpoint_folder(folder, trial) / "epoch-000001.pt": b"content"})
    sweep(folder, history)
    assert names_in(folder / "checkpoints") == [confirmed.name]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the store does not answer"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "the keys do not give the right"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_a_line(root, tmp_path, wrong, said):
    run = thermotune(root, "submit", "digits-beta", home=tmp_path, **wrong)
    assert run.returncode == 2
    assert f"got {root} ({said}" in run.stderr
    assert run.stderr.strip().splitlines()[-1].startswith("thermotune: the root must be")
    assert "Traceback" not in run.stderr


def test_a_trial_waits_longer_for_the_store_than_the_driver_who_would_call_it_failed():
    assert PATIENCE_S > writer.TROUBLE_S


def trained_in(folder, session):
    return any(isinstance(row, EpochRow) and row.session == session for row in rows_of(folder))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_study_ends_as_the_uninterrupted_one_here(root, tmp_path):
    """The sessions have caches of their own, as on machines that share nothing but the root."""
    file = tmp_path / "crash.yaml"
    file.write_text(DISTILLED)
    whole = thermotune(tmp_path / "runs", "submit", str(file))
    assert whole.returncode == 0, whole.stderr
    folder = root / "crash"
    driver = Driver(root, "submit", str(file), home=tmp_path, XDG_CACHE_HOME=str(tmp_path / "another cache"))
    assert driver.wait_for(lambda: trained_in(folder, "s0001"))
    time.sleep(1)
    before = {row.seq for row in rows_of(folder)}
    driver.kill(signal.SIGKILL)
    assert before <= {row.seq for row in rows_of(folder)}
    end = thermotune(root, "resume", "crash", home=tmp_path)
    assert end.returncode == 0, end.stderr
    assert "MLflow is off" in end.stderr
    rows = rows_of(folder)
    history = assert_whole(rows, epochs=9)
    assert story(history) == story(History.fold(rows_of(tmp_path / "runs" / "crash")))
    assert sum(isinstance(row, SessionRow) and row.state == "COMPLETED" for row in rows) == 1
    assert replay(folder).differences == ()
    there = {key.removeprefix(f"{root.name}/") for key in keys("lab", root.name)}
    kept = {f"crash/checkpoints/{t.name}" for t in history.of(stage=Stage.CONFIRM)}
    assert {key.rpartition("/")[0] for key in there if "/checkpoints/" in key} == kept
    others = {key for key in there if "/checkpoints/" not in key and "/records/" not in key}
    assert {key for key in others if not key.startswith("teachers/")} == {
        f"crash/{file}" for file in ("study.yaml", "environment.json", "report.html", "report.json")
    }
    assert len([key for key in others if key.startswith("teachers/")]) == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_store_that_is_away_for_a_while_stops_nothing_and_one_that_stays_away_loses_little(root, tmp_path):
    file = tmp_path / "crash.yaml"
    file.write_text(DISTILLED.replace("trials: 4", "trials: 8"))
    folder = root / "crash"
    with contextlib.closing(Proxy(os.environ["AWS_ENDPOINT_URL"])) as line:
        through = {"AWS_ENDPOINT_URL": line.address}
        driver = Driver(root, "submit", str(file), home=tmp_path, program=HASTY, **through)
        assert driver.wait_for(lambda: trained_in(folder, "s0001"))
        line.cut()
        time.sleep(6)
        assert driver.process.poll() is None
        before = len(rows_of(folder))
        line.mend()
        assert driver.wait_for(lambda: len(rows_of(folder)) > before)
        line.cut()
        assert driver.process.wait(timeout=90) == 75, driver.log.read_text()
    said = driver.log.read_text()
    assert f"{folder} does not answer" in said
    assert f"--root {root} resume crash" in said
    assert "Traceback" not in said
    rows = rows_of(folder)
    assert rows[-1].seq == len(rows)
    end = thermotune(root, "resume", "crash", home=tmp_path)
    assert end.returncode == 0, end.stderr
    assert_whole(rows_of(folder), epochs=9)
