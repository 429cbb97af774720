"""The doctor on a cluster: what a machine finds, what is said about it, and a real cluster with a bad machine."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path

import pytest
from ray.exceptions import NodeDiedError, TaskUnschedulableError
from typer.testing import CliRunner

from results.places import place
from search.capacity import Node
from search.cli import app
from search.doctor import nodes, software
from search.doctor.check import Check, State, failed, ok
from search.doctor.cluster import ClusterUnfit, fit, judge
from search.doctor.root import FILE, clock, probe
from search.settings import Resources
from search.stop import Interrupted
from tests.cluster import ray_cluster
from tests.s3 import keys
from tests.search.commands import THERMOTUNE
from trainables.data import prepare

CONTENT = b"the driver's"


def request_for(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(CONTENT)
    return nodes.Request(probe=folder, content=CONTENT, versions=software.versions(), **changes)


def root_check(request):
    (found,) = [check for check in nodes.look(request, "node").checks if check.name == "root"]
    return found


# what a machine finds


def test_machine_that_shares_the_root_writes_beside_the_driver(tmp_path):
    request = request_for(tmp_path / "runs" / ".doctor-1")
    assert root_check(request).state is State.OK
    assert (request.probe / "node").read_bytes() == CONTENT


def test_machine_with_another_folder_of_the_same_name_is_told(tmp_path):
    request = request_for(tmp_path / "runs" / ".doctor-1")
    shutil.rmtree(request.probe)
    assert "is another folder on this machine" in root_check(request).found
    (tmp_path / "runs").rmdir()
    found = root_check(request)
    assert "does not exist on this machine" in found.found
    assert "s3://bucket/prefix" in found.remedy
    assert list(tmp_path.iterdir()) == []


def test_machine_that_reads_something_else_is_told(tmp_path):
    request = request_for(tmp_path / "runs" / ".doctor-1")
    (request.probe / FILE).write_bytes(b"old")
    assert "another content" in root_check(request).found


def test_machine_that_may_not_write_is_told(tmp_path):
    request = request_for(tmp_path / "runs" / ".doctor-1")
    (request.probe / "node").mkdir()  # in the way of the file
    (request.probe / "node" / "x").touch()
    found = root_check(request)
    assert found.state is State.FAILED
    assert "can be read, but not written" in found.found


def test_machine_looks_at_a_store_too(bucket):
    with probe(place(f"s3://{bucket}/shared")) as folder:
        (folder / FILE).write_bytes(CONTENT)
        request = nodes.Request(probe=folder, content=CONTENT, versions=software.versions())
        assert root_check(request).state is State.OK
        assert (folder / "node").read_bytes() == CONTENT
    assert keys(bucket, "shared/") == []


def test_machine_compares_its_data_and_looks_at_itself_if_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    prepare("digits")
    request = request_for(tmp_path / "runs" / ".doctor-1", data={"digits": "0" * 64})
    quick = nodes.look(request, "node").checks
    assert [(check.name, check.state) for check in quick] == [
        ("versions", State.OK),
        ("data", State.FAILED),
        ("root", State.OK),
    ]
    thorough = request_for(tmp_path / "runs" / ".doctor-2", thorough=True)
    assert {"packages", "disk", "memory", "cores"} <= {check.name for check in nodes.look(thorough, "node").checks}


# how machines are waited for


MANY = [f"n{i}" for i in range(200)]


def test_many_machines_that_answer_at_once_are_neither_silent_nor_late_where_the_root_is_slow():
    asked = {name: Future() for name in MANY}

    def read(name, answer, came):
        time.sleep(0.1)  # all in turn take 20 s
        yield clock("clock", answer.result().time - came, "its clock")

    def answer():
        for name in MANY:
            asked[name].set_result(nodes.Answer((), time.time()))

    began = time.monotonic()
    threading.Thread(target=answer).start()
    found = nodes.collect(asked, dict(zip(MANY, MANY, strict=True)), read, lambda text: None, limit_s=5)
    assert time.monotonic() - began < 10
    assert [check for checks in found.values() for check in checks] == [ok("clock", "within 5 s")] * len(MANY)


def test_machine_that_does_not_answer_is_named_while_it_is_waited_for_and_fails_alone(monkeypatch):
    monkeypatch.setattr(nodes, "LATE_S", 0.3)
    asked = {"id1": Future(), "id2": Future(), "id3": Future()}
    asked["id1"].set_result(None)
    asked["id2"].set_exception(RuntimeError("the worker died"))
    said = []
    names = {"id1": "a", "id2": "b", "id3": "c"}
    found = nodes.collect(asked, names, lambda name, *_: [ok("root", name)], said.append, limit_s=1)
    assert found["id1"] + found["id2"] == [ok("root", "id1"), ok("root", "id2")]
    assert [(check.name, check.found) for check in found["id3"]] == [(nodes.ANSWER, "none in 1 s")]
    assert list(dict.fromkeys(said)) == [
        "looking at the machines of the cluster",
        "waiting for c to answer; one that has just come needs a minute or two",
    ]


def test_signal_ends_the_waiting():
    def interrupted(text):
        raise Interrupted("SIGINT")

    began = time.monotonic()
    with pytest.raises(Interrupted):
        nodes.collect({"a": Future()}, {"a": "a"}, lambda *_: [], interrupted, limit_s=60)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("error", "name", "words"),
    [
        (TaskUnschedulableError("lease_id=0200"), nodes.ANSWER, "Ray counts the machine as lost by now"),
        (NodeDiedError("a node died"), nodes.ANSWER, "Ray counts the machine as lost by now"),
        (RuntimeError("...\nModuleNotFoundError: No module named 'torch'"), "packages", "cannot be imported"),
        (RuntimeError("Traceback\nthe worker died"), nodes.ANSWER, "the worker died"),
    ],
)
def test_machine_that_answers_with_an_error_is_told_from_one_that_is_gone(error, name, words, tmp_path):
    (answer := Future()).set_exception(error)
    (found,) = nodes._read(request_for(tmp_path), "node", answer, time.time())
    assert (found.name, found.state) == (name, State.FAILED)
    assert words in found.found


# what is said


def test_cluster_on_which_no_trial_fits_is_told_with_the_most_that_there_is():
    small, large = Node("a", "a", cpus=4), Node("b", "b", cpus=16)
    assert fit([small, large], Resources(cpus=4)).found == "5 trials at once on 2 nodes"
    found = fit([small, large], Resources(cpus=32))
    assert found.state is State.WARNING
    assert "32 CPUs" in found.found
    assert "the nearest is b with 16 CPUs" in found.found


def test_refusal_says_everything_at_once_and_how_to_go_on():
    bad = failed("root", "/runs is another folder on this machine", "Mount it")
    checks = [Check(bad.name, bad.state, bad.found, bad.remedy, node) for node in ("a", "b")]
    assert str(ClusterUnfit(checks, "thermotune resume mine")).splitlines() == [
        "the cluster is not ready for the study",
        "  all 2 nodes: /runs is another folder on this machine. Mount it",
        "Once this is mended: thermotune resume mine",
    ]


def test_only_a_machine_that_gives_no_answer_while_others_do_does_not_hold_a_study_up():
    silent = Check("answer", State.FAILED, "none in 30 s", "See whether the machine is alive", "a")
    well = Check("root", State.OK, "/runs is shared with the driver", node="b")
    bad = Check("root", State.FAILED, "/runs does not exist", "Mount it", "c")
    assert judge([well], "") == []
    assert judge([silent, well], "") == ["node a did not answer, and was not looked at"]
    for found in ([silent], [silent, well, bad]):
        with pytest.raises(ClusterUnfit, match="Once this is mended: thermotune resume mine"):
            judge(found, "thermotune resume mine")


def test_job_server_that_does_not_answer_and_relative_root_are_told():
    done = CliRunner().invoke(app, ["doctor", "--address", "http://127.0.0.1:9", "--format", "json"])
    assert done.exit_code == 1
    server, root = json.loads(done.stdout)
    assert server["found"] == "no job server answers at http://127.0.0.1:9 (Connection refused)"
    assert "8265" in server["remedy"]
    assert "must be s3://bucket/prefix, or the full path" in root["found"]


def test_cluster_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    arguments = ["doctor", "--root", str(tmp_path), "--address", "127.0.0.1:9", "--format", "json"]
    done = subprocess.run([THERMOTUNE, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    found = [check for check in json.loads(done.stdout) if check["state"] == "failed"]
    assert [check["name"] for check in found] == ["cluster"]
    assert "127.0.0.1:9 does not answer" in found[0]["found"]


# a real cluster


SILENT = """
import json, sys
from pathlib import Path
from dataclasses import asdict
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
from search.doctor.nodes import look_at
from search.nodes import listing
there = list(listing().staying.values())
import psutil
for process in psutil.process_iter():
    if process.pid == int(sys.argv[3]):
        process.suspend()
found = look_at(there, Path(sys.argv[2]), (), lambda text: None, thorough=False, limit_s=10)
print(json.dumps([asdict(check) for check in found]))
sys.stdout.flush()
import os
os._exit(0)
"""


def other_torch(folder):
    """A copy of what pip knows about torch, with another version in it, and what it is a copy of."""
    real = Path(metadata.distribution("torch").locate_file(f"torch-{metadata.version('torch')}.dist-info"))
    copy = folder / "torch.dist-info"
    shutil.copytree(real, copy)
    text = (copy / "METADATA").read_text()
    (copy / "METADATA").write_text(text.replace(f"Version: {metadata.version('torch')}", "Version: 2.0.0", 1))
    return real, copy


@pytest.mark.slow
def test_bad_machine_is_found_named_and_refused(tmp_path):
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this user may not make mount namespaces")
    shared = tmp_path / "shared"
    shared.mkdir()
    real, copy = other_torch(tmp_path)
    hide = f"mount -t tmpfs tmpfs {shared} && mount --bind {copy} {real}"
    with ray_cluster(tmp_path / "home") as cluster:
        away = cluster.add_node(prefix=("unshare", "-m", "sh", "-c", f'{hide} && exec "$0" "$@"'))

        def run(*arguments, **changed):
            return subprocess.run(
                [THERMOTUNE, "--root", str(shared), *arguments],
                capture_output=True, text=True, timeout=180, cwd=tmp_path, env={**cluster.environment, **changed},
            )  # fmt: skip

        done = run("doctor", "digits-beta", "--address", cluster.jobs, "--format", "json")
        assert done.returncode == 1, done.stderr
        found = [Check(**check) for check in json.loads(done.stdout)]
        bad = {check.name: check for check in found if check.state == "failed"}
        assert bad.keys() == {"root", "versions", "packages"}
        assert bad["root"].node == bad["versions"].node == bad["packages"].node
        assert bad["packages"].found.startswith("torch 2.0.0, but thermotune needs >=")
        assert f"{shared} is another folder on this machine" in bad["root"].found
        assert f"Mount the driver's file system at {shared}" in bad["root"].remedy
        assert bad["versions"].found == f"torch 2.0.0, but the driver has {metadata.version('torch')}"
        well = [check for check in found if check.state == "ok" and check.node not in ("", "client")]
        assert [check.found for check in well if check.name == "root"] == [f"{shared} is shared with the driver"]
        assert "4 trials at once on 2 nodes" in {check.found for check in found}
        assert list(shared.iterdir()) == []

        stranger = run("doctor", "--address", cluster.jobs, RAY_AUTH_TOKEN="0" * 64)
        assert stranger.returncode == 1
        assert "does not accept the token" in " ".join(stranger.stdout.split())

        refused = run("submit", "digits-beta", "--address", cluster.address, "-s", "resources.max_concurrent=2")
        assert refused.returncode == 1, refused.stderr
        assert f"{bad['root'].node}: {bad['root'].found}" in refused.stderr
        assert "torch 2.0.0" in refused.stderr
        assert "resume digits-beta --address auto" in refused.stderr

        raylet = _raylet(cluster.nodes[away].pid)
        silent = subprocess.run(
            [sys.executable, "-c", SILENT, cluster.address, str(shared), str(raylet)],
            capture_output=True, text=True, timeout=120, env=cluster.environment, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        answers = json.loads(silent.stdout)
        unanswered = {check["node"] for check in answers if check["found"] == "none in 10 s"}
        assert bad["root"].node in unanswered  # a busy machine may be late with others, too

        doctor = subprocess.Popen(
            [THERMOTUNE, "--root", str(shared), "doctor", "--address", cluster.address],
            stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=cluster.environment,
        )  # fmt: skip
        said = ""
        while "looking at the machines" not in said:
            said += (line := doctor.stderr.readline())
            assert line, said
        time.sleep(1)
        doctor.send_signal(signal.SIGINT)
        _, rest = doctor.communicate(timeout=60)
        assert doctor.returncode == 130
        assert "Traceback" not in said + rest
        assert [path.name for path in shared.iterdir() if path.name.startswith(".doctor")] == []


def _raylet(pid):
    import psutil

    (found,) = [child.pid for child in psutil.Process(pid).children(recursive=True) if child.name() == "raylet"]
    return found
