"""Exceptions as Ray 2.60 raised them on a real cluster when workers, nodes and memory were taken away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle, exceptions

from results.schema import Setback
from search.failures import LONGEST_ERROR, failure_of

HEADING = "Failure # 1 (occurred at 2026-11-21_17-37-07)\n"
RAISED = """\x1b[36mray::T.train()\x1b[39m (pid=22406, ip=192.0.2.2, actor_id=bfe954, repr=<T object at 0x7fd1>)
  File "/home/me/trial.py", line 26, in step
    raise RuntimeError("boom")
RuntimeError: boom
"""
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: T
\tip: 192.0.2.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed
by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due
to SIGSEGV or another unexpected error, to prevent node deaths by resource contention."""
NODE_DIED = "The actor died because its node has died. Node Id: 1b2c"
UNAVAILABLE = "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14"
SHORT = """1 worker(s) were killed due to the node running low on memory. Memory on the node was 16.62GB used / 23.54GB
Top 10 memory users: PID	MEM(GB)	COMMAND
30013	0.41	python serve.py --password=hunter2"""


def raised(cause):
    return exceptions.RayTaskError("train", RAISED, cause).as_instanceof_cause()


def died(text, **values):
    error = exceptions.RayActorError(error_msg=text, **values)
    return error


@pytest.mark.parametrize(
    ("error", "text", "setback", "reason"),
    [
        (raised(RuntimeError("boom")), RAISED, "CRASH", "RuntimeError: boom"),
        (died(DIED), DIED, "CRASH", "its worker process was killed"),
        (
            died("", actor_init_failed=True),
            f"The actor died because of an error raised in its creation task, {RAISED}",
            "CRASH",
            "RuntimeError: boom",
        ),
        (died("gone", preempted=True), "The actor died", "MOVE", "its node n7 was taken away by the cluster"),
        (exceptions.ActorUnavailableError(UNAVAILABLE, None), UNAVAILABLE, "MOVE", "its node n7 could not be reached"),
        (died(NODE_DIED), NODE_DIED, "MOVE", "its node n7 was lost"),
        (exceptions.NodeDiedError("gone"), "gone", "MOVE", "its node n7 was lost"),
        (exceptions.OutOfMemoryError(SHORT), SHORT, "CRASH", "the memory of its node was nearly full"),
        (exceptions.ActorUnschedulableError("no node"), "The actor is not schedulable: no node", "CRASH", "no node"),
        (None, SHORT, "CRASH", "the memory of its node was nearly full"),
        (None, "", "CRASH", "its worker was lost"),
    ],
)  # fmt: skip
def test_what_happened_is_told_apart(error, text, setback, reason):
    found = failure_of(error, HEADING + text, "n7")
    assert found.setback == setback
    assert reason in found.reason
    assert (found.error is None) == (setback == "MOVE" or not text)


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (died("gone", preempted=True), "one of its nodes was taken away by the cluster"),
        (died(NODE_DIED), "one of its nodes was lost"),
        (exceptions.ActorUnavailableError(UNAVAILABLE, None), "one of its nodes could not be reached any more"),
    ],
)
def test_where_one_of_several_processes_was_lost_the_node_of_the_leading_one_is_not_named(lost, reason):
    found = failure_of(raised(lost), RAISED, "n7")
    assert (found.setback, found.reason) == (Setback.MOVE, reason)


def test_a_worker_that_was_ended_for_memory_says_so_wherever_the_error_was_put():
    short = died(SHORT)
    short.cause = exceptions.OutOfMemoryError(SHORT)  # as search.tune.ActorManager passes it on
    kept = cloudpickle.loads(cloudpickle.dumps(short))
    assert "memory of its node" in failure_of(kept, SHORT, None).reason


def test_command_lines_of_others_are_not_kept():
    error = failure_of(None, SHORT, None).error
    assert error.endswith("16.62GB used / 23.54GB")


def test_a_traceback_is_kept_without_colours_and_headings():
    error = failure_of(raised(RuntimeError("boom")), HEADING + RAISED, None).error
    assert error.startswith("ray::T.train() (pid=22406")
    assert error.endswith("RuntimeError: boom")


def test_secrets_in_messages_are_not_kept():
    found = failure_of(None, "OSError: no answer from https://me:hunter2@host/x?token=abc123", None)
    assert "hunter2" not in found.reason + str(found.error)
    assert "abc123" not in found.reason + str(found.error)


@given(st.text(max_size=3 * LONGEST_ERROR))
def test_what_is_kept_of_any_error_is_bounded_and_has_its_end(text):
    found = failure_of(None, text, None)
    assert found.setback is Setback.CRASH
    assert 0 < len(found.reason) <= 200
    assert found.error is None or len(found.error) <= LONGEST_ERROR + 60
