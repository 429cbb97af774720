"""The doctor's checks of this machine, good and bad, with real disks, stores, trackers and data."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from results.places import place
from search.cli import app
from search.doctor import hardware, root, software, study, tracking
from search.doctor.check import Check, State, explained, failed, in_time, ok, warning
from search.doctor.here import read_study
from search.doctor.writing import summary, together, write
from search.study_file import load
from tests.results.tracking.servers import Proxy
from tests.s3 import keys
from trainables.data import prepare

REPOSITORY = Path(__file__).parents[2]


def only(checks):
    (check,) = checks
    return check


def states(checks):
    return [check.state for check in checks]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


# a look takes its time


def test_hanging_look_is_a_failed_check_in_time():
    began = time.monotonic()
    found = only(in_time("root", lambda: time.sleep(60), limit_s=0.2))
    assert time.monotonic() - began < 5
    assert (found.name, found.state, found.found) == ("root", State.FAILED, "no answer in 0.2 s")


def test_look_that_breaks_is_a_failed_check_without_secrets():
    def look():
        raise RuntimeError("cannot open https://me:hunter2@host/x. Ask its owner")

    found = only(in_time("MLflow", look))
    assert (found.state, found.remedy) == (State.FAILED, "Ask its owner")
    assert found.found == "cannot open https://***@host/x"


def test_look_that_ctrl_c_breaks_into_clears_away_what_it_wrote(tmp_path):
    def look():
        (tmp_path / "probe").touch()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)
        (tmp_path / "probe").unlink()
        return []

    with pytest.raises(KeyboardInterrupt):
        in_time("root", look)
    assert list(tmp_path.iterdir()) == []


# packages


def test_installed_packages_are_new_enough():
    assert states(software.installed()) == [State.OK, State.OK]


def test_missing_and_old_packages_are_named_with_the_command_that_installs_them():
    needed = [Requirement(text) for text in ("numpy>=2.0", "torch>=99", "no-such-package>=1", "x; extra == 'dev'")]
    old, missing = software.unmet(needed)
    assert old.found.startswith("torch 2.")
    assert (old.state, old.remedy) == (State.FAILED, "pip install 'torch>=99'")
    assert (missing.found, missing.remedy) == ("no-such-package is not installed", "pip install 'no-such-package>=1'")


@pytest.mark.parametrize(
    ("name", "version", "state"),
    [
        ("python", "3.11.999", State.WARNING),
        ("python", "3.99.0", State.FAILED),
        ("ray", "2.1.0", State.FAILED),
        ("torch", "not installed", State.FAILED),
        ("thermotune", "0123456789ab", State.FAILED),
    ],
)
def test_version_other_than_the_drivers_is_told(name, version, state):
    drivers = software.versions()
    assert states(software.same(drivers, drivers)) == [State.OK]
    found = only(software.same({**drivers, name: version}, drivers))
    assert found.state is state
    assert version in found.found
    assert found.remedy


# the machine


def test_this_machine_has_cores_and_memory():
    found = {check.name: check for check in hardware.compute()}
    assert int(found["cores"].found) >= 1
    assert "GiB" in found["memory"].found


def test_little_shared_memory_is_a_warning_with_the_flag_for_containers():
    assert only(hardware.shared_memory(64 * 2**20)).state is State.WARNING
    assert "--shm-size" in only(hardware.shared_memory(64 * 2**20)).remedy
    assert only(hardware.shared_memory(8 * 2**30)).state is State.OK


def test_full_disk_fails_also_for_a_folder_that_is_not_there_yet(small_disk, tmp_path):
    full, other = hardware.disks({"studies": small_disk / "not" / "yet", "data sets": tmp_path})
    assert full.state is State.FAILED
    assert str(small_disk) in full.found
    assert (other.state is State.FAILED) == (shutil.disk_usage(tmp_path).free < hardware.LEAST_ROOM_BYTES)


def test_study_that_needs_gpus_fails_where_there_is_none():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert only(hardware.gpus(needed=False)).state in (State.OK, State.WARNING)
    found = only(hardware.gpus(needed=True))
    assert found.state is State.FAILED
    assert found.remedy
    assert only(hardware.gpus(needed=False, counted=2)).state is State.FAILED  # Ray counts GPUs that torch cannot use


def test_sockets_work_and_a_long_temporary_folder_is_told(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert states(hardware.sockets()) == [State.OK]
    monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{'x' * 60}")
    long = list(hardware.sockets())[1]
    assert (long.state, "RAY_TMPDIR" in long.remedy) == (State.FAILED, True)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe, pytest.raises(OSError, match="too long"):
        probe.bind(f"{hardware.ray_folder()}{hardware._RAY_SOCKET}")


def test_machine_without_a_loopback_device_is_told():
    code = "from search.doctor.hardware import sockets; print([(c.name, c.state.value) for c in sockets()][0])"
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    if "unshare" in done.stderr:
        pytest.skip("this user may not make network namespaces")
    assert done.stdout.strip() == "('ports', 'failed')", done.stderr


# the root


def test_good_root_is_tried_and_left_as_it_was(tmp_path):
    found = list(root.usable(tmp_path / "lab" / "runs"))
    assert states(found) == [State.OK, State.OK]
    assert "can be written, listed, read, replaced, locked, cleared" in found[0].found
    assert list(tmp_path.iterdir()) == []


def test_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "runs").write_text("")
    found = only(root.usable(tmp_path / "runs"))
    assert found.state is State.FAILED
    assert "cannot be reached (Not a directory)" in found.found
    assert "--root" in found.remedy


def test_full_root_is_told(small_disk):
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(2**17))
    found = only(root.usable(small_disk))
    assert found.state is State.FAILED
    assert "(No space left on device)" in found.found
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_root_of_somebody_else_is_told(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o555)
    code = f"from pathlib import Path; from search.doctor.root import usable; print(*usable(Path({str(runs)!r})))"
    plain = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.getuid() == 0 else ()
    done = subprocess.run([*plain, sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert "cannot be reached (Permission denied)" in done.stdout, done.stderr
    assert "FAILED" in done.stdout


@pytest.mark.parametrize(
    ("ahead_s", "state", "words"),
    [
        (0.5, State.OK, "within 5 s"),
        (-20, State.WARNING, "is 20 s behind this machine's"),
        (90, State.FAILED, "is 90 s ahead of this machine's"),
    ],
)
def test_clocks_that_differ_are_told(ahead_s, state, words):
    found = root.clock("clock", ahead_s, "its clock")
    assert found.state is state
    assert words in found.found


def test_file_of_another_time_shows_the_clock_of_the_root(tmp_path, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 30)  # this machine's clock is late
    assert [check.found for check in root.usable(tmp_path)][1].endswith("is 30 s ahead of this machine's")


def test_store_is_tried_and_left_as_it_was(bucket):
    assert states(root.usable(place(f"s3://{bucket}/doctor/runs"))) == [State.OK, State.OK]
    assert keys(bucket, "doctor/") == []


def test_store_without_the_bucket_is_told(bucket):
    found = only(root.usable(place("s3://no-such-bucket/runs")))
    assert found.state is State.FAILED
    assert found.found == "s3://no-such-bucket/runs cannot be written (there is no such bucket)"
    assert "AWS_ENDPOINT_URL" in found.remedy


# MLflow


def test_tracker_that_does_not_answer_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    found = only(tracking.tracker(tmp_path))
    assert found.state is State.FAILED
    assert "Connection refused" in found.found
    assert found.remedy == "Start the server or correct MLFLOW_TRACKING_URI"
    assert "hunter2" not in str(found)


def test_server_that_is_not_there_is_found_soon_and_any_answer_will_do(monkeypatch):
    with Proxy(upstream=9) as there:
        there.token = "Bearer of the owner"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", there.uri.replace("//", "//me:hunter2@"))
        assert list(tracking.reachable()) == []  # it answers: 401
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9/prefix")
    found = only(tracking.reachable())
    assert (found.state, found.found) == (
        State.FAILED,
        "http://***@127.0.0.1:9/prefix does not answer (Connection refused)",
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:port")
    assert only(tracking.reachable()).state is State.FAILED
    for other in ("", "sqlite:////tmp/mlflow.db", "postgresql://host/db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
        assert list(tracking.reachable()) == []


def test_tracker_that_wants_a_password_is_told(monkeypatch, tmp_path):
    with Proxy(upstream=9) as closed:
        closed.token = "Bearer of the owner"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", closed.uri)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of-somebody-else")
        found = only(tracking.tracker(tmp_path))
    assert found.state is State.FAILED
    assert f"{closed.uri} it wants to know who asks (401)" in found.found
    assert found.remedy.startswith("Set MLFLOW_TRACKING_USERNAME")
    assert "somebody" not in str(found)


def test_database_of_the_root_is_opened_only_where_it_is(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "will be made" in only(tracking.tracker(tmp_path)).found
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to tell")
    assert only(tracking.tracker(tmp_path)).state is State.FAILED


def test_root_on_a_store_needs_a_tracker_of_its_own(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert only(tracking.tracker(place("s3://lab/runs"))).state is State.WARNING


# the study


@pytest.fixture
def packs(tmp_path, monkeypatch):
    monkeypatch.setenv("THERMOTUNE_DATA", str(tmp_path / "packs"))
    return tmp_path / "packs"


def test_data_set_is_there_comes_by_itself_or_is_missing(packs):
    assert "packed when it is first needed" in study.data("digits").found
    prepare("digits")
    assert "is there (train 1,079" in study.data("digits").found
    assert study.data("cifar10").state is State.WARNING
    missing = study.data("imagenet", on_node=True)
    assert missing.state is State.FAILED
    assert "thermotune data prepare imagenet --source FOLDER" in missing.remedy
    assert "THERMOTUNE_DATA" in missing.remedy
    assert states(study.known_data()) == [State.OK, State.OK]


def test_data_set_other_than_the_drivers_is_told(packs):
    digest = prepare("digits").digest
    assert study.data("digits", digest).state is State.OK
    found = study.data("digits", "0" * 64)
    assert found.state is State.FAILED
    assert digest[:12] in found.found


def test_damaged_data_set_is_told(packs):
    pack = prepare("digits")
    (pack.folder / "train_targets.npy").write_bytes(b"")
    found = study.data("digits")
    assert found.state is State.FAILED
    assert "--replace" in found.remedy


def test_all_mistakes_of_a_study_file_are_checks(write):
    path = write("name: mine\nspace: {loss.beta: {log: [-1, 10]}}\nbasline: {}\n")
    checks, found = read_study(path)
    assert found is None
    assert states(checks) == [State.FAILED] * 2
    assert "mine.yaml: space.loss.beta: a log range must have low > 0, got [-1, 10]" in checks[0].found
    assert only(read_study("no-such.yaml")[0]).state is State.FAILED
    assert read_study(None) == ([], None)


def test_network_that_cannot_read_the_data_is_told(packs, write):
    fits = load("digits-beta").study
    assert only(study.fits_data(fits)).state is State.OK
    wrong = load(write("name: mine\nrecipe: {dataset: digits, model: torchvision/squeezenet1_0}\n")).study
    assert "torchvision/squeezenet1_0" in only(study.fits_data(wrong)).found
    untold = load(write("name: mine\nrecipe: {dataset: cifar10, model: torchvision/squeezenet1_0}\n")).study
    assert only(study.fits_data(untold)).state is State.WARNING  # cannot be told without the data


# what is written


MIXED = [
    ok("root", "s3://lab can be written"),
    *(Check("memory", State.OK, f"{size} GiB", node=node) for size, node in ((8, "a"), (16, "b"), (8, "c"))),
    Check("root", State.FAILED, "s3://lab cannot be read | why", "Mend it", node="b"),
    warning("MLflow", "off", "Set MLFLOW_TRACKING_URI"),
]


def test_what_is_well_on_all_nodes_is_one_line():
    found = together(MIXED)
    assert [(check.name, check.node) for check in found] == [
        ("root", ""),
        ("memory", "all 3 nodes"),
        ("root", "b"),
        ("MLflow", ""),
    ]
    assert found[1].found == "8 GiB; 16 GiB"
    many = [failed("answer", "none in 30 s", "See") for _ in range(9)]
    many = [Check(c.name, c.state, c.found, c.remedy, f"n{i}") for i, c in enumerate(many)]
    assert only(together([*many, Check("root", State.OK, "x", node="m")][:9])).node == "all 9 nodes"
    assert together([*many, Check("root", State.OK, "x", node="m")])[0].node == "n0, n1, n2 and 6 more"


def test_checks_are_written_as_table_json_and_markdown():
    assert summary(MIXED) == "6 checks: 1 failed, 1 warning, 4 ok."
    table = write(MIXED, "table", width=60)
    assert max(map(len, table.splitlines())) <= 60
    assert "-> Mend it" in table
    assert [line.split()[0] for line in table.splitlines() if line[:1].isalpha()] == ["ok", "ok", "warning", "failed"]
    assert "\x1b" not in table
    assert [Check(**check) for check in json.loads(write(MIXED, "json"))] == MIXED
    markdown = write(MIXED, "markdown")
    assert "| failed | root | b | s3://lab cannot be read \\| why | Mend it |" in markdown


def test_problem_without_a_second_sentence_needs_no_remedy():
    assert explained("job", ValueError("no server")) == failed("job", "no server", "")


# the command


def test_command_ends_with_0_where_all_is_well_and_1_where_not(tmp_path, packs, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ["--root", str(tmp_path / "runs"), "--format", "json"]
    good = CliRunner().invoke(app, ["doctor", "digits-beta", *arguments])
    found = [Check(**check) for check in json.loads(good.stdout)]
    assert good.exit_code == 0, good.stdout
    assert {"study", "packages", "memory", "GPU", "ports", "disk", "root", "MLflow", "data", "networks"} <= {
        check.name for check in found
    }
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs").write_text("")
    bad = CliRunner().invoke(app, ["doctor", "no-such-study", *arguments])
    assert bad.exit_code == 1
    assert {check["name"] for check in json.loads(bad.stdout) if check["state"] == "failed"} >= {"study", "root"}
