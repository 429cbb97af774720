"""The processes of a trial as actors of a real Ray."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.core.generated.common_pb2 import ActorDiedErrorContext, NodeDeathInfo
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError

from tests.search.commands import environment
from trainables.distributed import node_died, sendable

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("preempted", [False, True])
def test_the_leading_actor_can_tell_the_driver_that_a_node_of_the_trial_died(preempted: bool) -> None:
    reason = NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED if preempted else NodeDeathInfo.UNEXPECTED_TERMINATION
    death = ActorDiedErrorContext(
        actor_id=bytes(16), error_message="The actor died because its node has died.",
        node_death_info=NodeDeathInfo(reason=reason),
    )  # fmt: skip
    raised = RayTaskError("step", "", sendable(ActorDiedError(death)), proctitle="lead", pid=1, ip="127.0.0.1")
    told = cloudpickle.loads(cloudpickle.dumps(raised)).cause
    assert isinstance(told, RayActorError)
    assert node_died(told)
    assert told.preempted is preempted


@pytest.mark.slow
def test_where_one_rank_lacks_memory_the_trial_says_so_and_the_next_one_finds_new_ranks(tmp_path: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainables.narrow", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(tmp_path, **token),
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    (narrow,), (wide,) = found["narrow"]["report"], found["wide"]["report"]
    assert (narrow["trial"], narrow["epochs"]) == ("t0001", [])
    assert narrow["out_of_memory"] == "CUDA out of memory. Tried to allocate 3.00 GiB"
    assert found["reused"] is True
    assert wide["finished"]
    assert [row["epoch"] for row in wide["epochs"]] == [1, 2]
    assert found["listening"].count("127.0.0.1") == 3  # one store and two of gloo
    assert set(found["listening"]) <= {"127.0.0.1", "::"}  # these are Ray's own, which want a token
