"""The whole as a user of a cluster runs it: a client elsewhere, tokens, several nodes, a store, and kills of it all."""

import json
import os
import signal

import pytest

from results.places import place
from results.schema import SessionRow, Stage, TrialState
from search.history import History
from search.replay import replay
from tests.cluster import ray_cluster
from tests.s3 import keys
from tests.search.commands import Driver, rows_of, thermotune
from tests.search.crashes import assert_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STUDY = """
name: crash
recipe: {model: mlp-512-512, batch_size: 16, epochs: 27}
search: {trials: 4}
stopping: {grace_epochs: 9}
seeds: {confirm: 2}
confirm: {top: 1}
"""


def running(folder):
    return sum(trial.state is TrialState.RUNNING for trial in History.fold(rows_of(folder)).trials.values())


def test_a_study_on_a_store_survives_the_loss_of_a_node_and_of_its_driver(tmp_path, bucket):
    file = tmp_path / "crash.yaml"
    file.write_text(STUDY)
    client = tmp_path / "client"
    client.mkdir()
    without_store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_SECRET_ACCESS_KEY": "none"}  # the client has it
    with ray_cluster(tmp_path / "cluster", nodes=2, head_cpus=1, **without_store) as cluster:
        root = place(f"s3://{bucket}/{tmp_path.name}")
        folder = root / "crash"
        known = {"home": client, **cluster.credentials}

        attached = Driver(root, "submit", str(file), "--address", cluster.jobs, **known)
        assert attached.wait_for(lambda: running(folder) >= 4), attached.log.read_text()
        cluster.kill_node(1)
        assert attached.wait_for(lambda: "was lost" in attached.log.read_text()), attached.log.read_text()
        assert attached.wait_for(lambda: running(folder) >= 2)
        before = {row.seq for row in rows_of(folder)}
        os.kill(next(row.pid for row in rows_of(folder) if isinstance(row, SessionRow)), signal.SIGKILL)
        assert attached.process.wait(timeout=90) not in (0, 75)
        said = attached.log.read_text()
        assert f"resume crash --address {cluster.jobs}" in said
        assert "Traceback" not in said
        assert "INTERRUPTED" in thermotune(root, "status", "crash", **known).stdout

        end = thermotune(root, "resume", "crash", "--address", cluster.jobs, **known)
        assert end.returncode == 0, end.stderr
        assert "Best configuration" in end.stdout
        rows = rows_of(folder)
        assert before <= {row.seq for row in rows}
        history = assert_whole(rows)
        assert sum(trial.moves for trial in history.trials.values()) >= 1
        assert not any(trial.crashes for trial in history.trials.values())
        assert replay(folder).differences == ()
        assert sum(t.stage is Stage.CONFIRM for t in history.trials.values()) == 4
        assert json.loads(thermotune(root, "report", "crash", "-f", "json", **known).stdout)["time"]
        there = {key.removeprefix(f"{tmp_path.name}/crash/") for key in keys(bucket, tmp_path.name)}
        assert {"study.yaml", "environment.json", "report.html", "report.json"} <= there
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said + end.stderr + end.stdout
