"""What is sent to a cluster, and what is said where it cannot be reached; real clusters are in test_jobs_cluster."""

import http.server
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest

from results.environment import collect
from results.errors import ResultsError
from results.places import place
from search import run_cli
from search.doctor.server import look_at_server
from search.errors import ThermotuneError, UsageError
from search.jobs import jobs, start, token
from search.jobs.following import exit_code, farewell
from search.jobs.job import Job
from search.jobs.jobs import check_root, find, next_name
from search.jobs.package import PACKAGES, STUDY_FILE, code_files, pack
from search.jobs.server import JobServer, JobUnknown, ServerAway
from search.jobs.variables import SENT, only_here, sent
from search.jobs_cli import logs
from search.query_cli import status
from search.study_file import load
from tests.results.synthetic import finished
from tests.search.commands import THERMOTUNE, environment

ROOT = Path(__file__).parent.parent.parent
SUFFIXES = {".py", ".yaml", ".css", ".js", ".html", ".sh"}


def names_in(package):
    return zipfile.ZipFile(io.BytesIO(package.content)).namelist()


def test_package_holds_the_code_the_study_and_its_origin_and_nothing_else():
    names = names_in(pack({STUDY_FILE: "name: x"}))
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, STUDY_FILE, "origin.json"}
    assert {Path(name).suffix for name in names} <= {*SUFFIXES, ".json"}
    assert not [name for name in names if "__pycache__" in name]
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], capture_output=True, text=True, check=True, cwd=ROOT)
    wanted = {name for name in tracked.stdout.split() if Path(name).suffix in SUFFIXES and (ROOT / name).is_file()}
    assert wanted <= set(names)


def test_package_is_small_and_the_same_content_has_the_same_name():
    package = pack({STUDY_FILE: "name: x"})
    assert len(package.content) < 2 * 2**20
    assert pack({STUDY_FILE: "name: x"}) == package
    assert pack({STUDY_FILE: "name: y"}).uri != package.uri


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The working directory of a job."""
    folder = tmp_path_factory.mktemp("job")
    study = load("digits-beta", ["search.trials=7"]).study.to_yaml()
    zipfile.ZipFile(io.BytesIO(pack({STUDY_FILE: study}).content)).extractall(folder)
    return folder


def run_in(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment(folder), check=False
    )


def test_package_runs_by_itself_with_the_study_as_it_was_resolved(unpacked):
    done = run_in(unpacked, "-m", "search.jobs.start", "validate", STUDY_FILE)
    assert done.returncode == 0, done.stderr
    assert "digits-beta is valid: 7 trials of arm search, 7 trials of arm baseline" in done.stderr


def test_code_on_the_cluster_tells_the_commit_that_it_was_sent_from(unpacked):
    code = "import json, search, results.environment as e; print(json.dumps([search.__file__, e.collect()]))"
    where, facts = json.loads(run_in(unpacked, "-c", code).stdout)
    assert Path(where).is_relative_to(unpacked)
    here = collect()
    assert facts["versions"]["thermotune"] == here["versions"]["thermotune"]
    assert facts["thermotune"]["commit"] == here["thermotune"]["commit"] is not None
    assert facts["thermotune"]["root"] == here["thermotune"]["root"]


def test_start_names_what_is_missing(unpacked, tmp_path):
    assert list(start.problems(["numpy", "no-such-thing", "nor-this"], [3, 11])) == [
        "these packages must be installed, but are not: no-such-thing, nor-this"
    ]
    (told,) = start.problems(["no-such-thing"], [4, 0])
    assert told.startswith("Python must be 4.0 or newer, got 3.")
    for path in unpacked.rglob("*.py"):
        (copy := tmp_path / path.relative_to(unpacked)).parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    origin = {**json.loads((unpacked / "origin.json").read_text()), "requires": ["no-such-thing"]}
    (tmp_path / "origin.json").write_text(json.dumps(origin))
    done = run_in(tmp_path, "-m", "search.jobs.start", "studies")
    assert done.returncode == 1
    assert "no-such-thing" in done.stderr
    assert sys.executable in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["digits-alpha-grid", "digits-beta", "digits-kd", "imdb-beta"])
def test_a_resolved_study_file_means_the_same_study(name, tmp_path):
    study = load(name).study
    (tmp_path / STUDY_FILE).write_text(study.to_yaml())
    again = load(str(tmp_path / STUDY_FILE)).study
    assert again.model_copy(update={"id": study.id}) == study


@pytest.mark.parametrize("uri", ["http://me:hunter2@localhost:5000", "sqlite:///mlflow.db", "./mlruns", "file:///runs"])
def test_tracker_that_means_something_else_on_the_cluster_is_told(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "the cluster's head, not of this machine" in only_here()
    assert "hunter2" not in only_here()


@pytest.mark.parametrize("uri", ["", "http://mlflow.lab:5000", "postgresql://db/x", "databricks", "databricks://lab"])
def test_tracker_that_is_the_same_everywhere_is_not(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert only_here() is None


def test_known_variables_that_are_set_are_sent_and_announced_by_name_and_no_others(monkeypatch):
    for name in SENT:
        monkeypatch.delenv(name, raising=False)
    said = []
    assert sent(said.append) == {}
    assert not said
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("GITHUB_TOKEN", "mine")
    assert sent(said.append) == {"AWS_SECRET_ACCESS_KEY": "canary"}
    assert said[0].startswith("From your environment, these go along: AWS_SECRET_ACCESS_KEY. ")
    assert "canary" not in said[0]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A user without a token."""
    for name in (token.MODE, token.VALUE, token.FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_token_is_found_where_ray_looks_and_in_this_order(bare, monkeypatch):
    assert token.token() is None
    (bare / ".ray").mkdir()
    (bare / ".ray" / "auth_token").write_text("of home\n")
    assert token.token() == "of home"
    (bare / "other").write_text("of file\n")
    monkeypatch.setenv(token.FILE, str(bare / "other"))
    assert token.token() == "of file"
    monkeypatch.setenv(token.VALUE, "of variable")
    assert token.token() == "of variable"
    monkeypatch.setenv(token.MODE, "disabled")
    assert token.token() is None


def test_token_file_that_is_missing_is_said(bare, monkeypatch):
    monkeypatch.setenv(token.FILE, str(bare / "none"))
    with pytest.raises(UsageError, match="RAY_AUTH_TOKEN_PATH must name a file with the cluster's token"):
        token.token()


class Where(str):
    """Host and port of a server.

    Attributes:
        seen: Paths that were asked for, and the proofs that were shown.
    """

    def __new__(cls, text, seen):
        (where := super().__new__(cls, text)).seen = seen
        return where


@contextmanager
def a_server(answers, wrap=None):
    """An HTTP server that is none of Ray's: one answer to all, or by path; an answer of 302 is a place to go to."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            status, text = answers.get(self.path, (404, "no")) if isinstance(answers, dict) else answers
            self.send_response(status)
            if status == 302:
                self.send_header("Location", text + self.path)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_PUT = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if wrap is not None:
        server.socket = wrap.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield Where(f"127.0.0.1:{server.server_port}", seen)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("answers", [(200, "<html>hello</html>"), (404, "no"), (200, "[1]"), (200, '{"a": 1}')])
def test_a_server_that_is_not_rays_is_said(bare, answers):
    with a_server(answers) as where, pytest.raises(UsageError, match="a job server of Ray must answer at http://127"):
        JobServer(f"http://{where}").ray_version()


@pytest.mark.parametrize(
    ("status", "problem", "words"),
    [
        (401, UsageError, r"wants a token, and none was found. Put it into RAY_AUTH_TOKEN.*ray get-auth-token"),
        (403, UsageError, "does not accept the token"),
        (503, ServerAway, "not ready"),
    ],
)
def test_a_refusal_says_what_to_do(bare, status, problem, words):
    with a_server((status, "Unauthorized")) as where, pytest.raises(problem, match=words):
        JobServer(f"http://{where}").ray_version()


def test_a_token_is_not_carried_to_where_a_server_sends_us(bare, monkeypatch):
    monkeypatch.setenv(token.VALUE, "canary")
    with a_server((200, "[]")) as other, a_server((302, f"http://{other}")) as where:
        with pytest.raises(UsageError, match="something else does"):
            JobServer(f"http://{where}").jobs()
        with pytest.raises(UsageError, match="something else does"):
            JobServer(f"http://{where}").stop("d-1")
        assert where.seen[0] == ("/api/jobs/", "Bearer canary")
        assert other.seen == []


def test_what_is_missing_is_a_job_only_where_a_job_was_asked_for(bare):
    with a_server((404, "<html>")) as where:
        server = JobServer(f"http://{where}")
        for ask in (
            server.ray_version,
            server.jobs,
            lambda: find(server, "d", None),
            lambda: server.upload("gcs://d.zip", b""),
            lambda: server.stop("d-1"),
        ):
            with pytest.raises(UsageError, match="something else does"):
                ask()
        for ask in (server.job, server.log):
            with pytest.raises(JobUnknown, match="must know job d-1") as told:
                ask("d-1")
            assert told.value.exit_code == 75


def test_a_password_in_the_address_is_refused_and_not_repeated(bare):
    with pytest.raises(UsageError, match=r"must hold no name or password, got \.\.\.@head:8265") as told:
        JobServer("http://me:canary@head:8265")
    assert "canary" not in str(told.value)


def test_nobody_there_is_said(bare):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ServerAway, match=r"no job server answers at .*\(Connection refused\).*ssh -L"):
            JobServer(url).jobs()


def test_a_certificate_that_is_not_trusted_and_a_plain_server_behind_https_are_said(bare):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days",
         "2", "-subj", "/CN=localhost"],
        cwd=bare, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bare / "cert.pem", bare / "key.pem")
    with (
        a_server((200, "{}"), wrap=context) as where,
        pytest.raises(UsageError, match=r"must be one that this machine"),
    ):
        JobServer(f"https://{where}").ray_version()
    with a_server((200, "{}")) as where, pytest.raises(UsageError, match="something else does"):
        JobServer(f"https://{where}").ray_version()


@pytest.mark.parametrize("root", ["thermotune-runs", "runs/here"])
def test_a_root_that_every_node_reads_differently_is_refused(root):
    with pytest.raises(UsageError, match=r"the root must be s3://bucket/prefix, or the full path"):
        check_root(place(root))


@pytest.mark.parametrize("root", ["/nfs/lab/runs", "s3://lab/runs"])
def test_a_shared_root_is_taken(root):
    check_root(place(root))


def test_jobs_of_a_study_are_numbered_on():
    assert next_name("digits", []) == "digits-1"
    assert next_name("digits", ["digits-2", "digits-10", "digits-beta-77", "digits-x"]) == "digits-11"


def listed(name, root, state, began, **metadata):
    """A job as Ray's server lists it."""
    study = name.rpartition("-")[0]
    return {
        "type": "SUBMISSION", "job_id": None, "submission_id": name, "driver_info": None, "status": state,
        "entrypoint": "exec sh search/jobs/start.sh submit", "message": "", "error_type": None, "start_time": began,
        "end_time": None, "metadata": {"study": study, "root": root, "kind": "submit", **metadata},
        "runtime_env": {"env_vars": {"A": "b"}}, "driver_exit_code": None,
    }  # fmt: skip


FOREIGN = {**listed("other-1", "/r", "RUNNING", 5000), "metadata": {"team": "x"}}
SHELL = {**listed("other-1", "/r", "RUNNING", 5000), "submission_id": None, "metadata": None}


@pytest.mark.parametrize(
    ("jobs", "root", "expected"),
    [
        ([listed("d-2", "/r", "STOPPED", 2000), listed("d-1", "/r", "FAILED", 1000), FOREIGN], None, "d-2"),
        (
            [listed("d-2", "/other", "FAILED", 2000), listed("d-1", "/r", "RUNNING", 1000), SHELL],
            None,
            "d-1",
        ),
        ([listed("d-2", "/other", "RUNNING", 2000), listed("d-1", "/r", "RUNNING", 1000)], "/r", "d-1"),
        (
            [listed("d-2", "s3://lab/runs", "PENDING", 2000), listed("e-1", "/r", "RUNNING", 3000)],
            "s3://lab/runs",
            "d-2",
        ),
    ],
)
def test_the_active_job_of_a_study_is_found_or_else_its_newest(bare, jobs, root, expected):
    with a_server((200, json.dumps(jobs))) as where:
        assert find(JobServer(f"http://{where}"), "d", root and place(root)).id == expected


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ([FOREIGN], "knows none of d. All that it knows: thermotune status --address http"),
        ([listed("d-1", "/a", "RUNNING", 1), listed("d-2", "/b", "RUNNING", 2)], r"roots are /a, /b. Name one: --root"),
    ],
)
def test_a_job_that_is_missing_or_not_the_only_one_is_said(bare, jobs, words):
    with a_server((200, json.dumps(jobs))) as where, pytest.raises(UsageError, match=words):
        find(JobServer(f"http://{where}"), "d", None)


@pytest.mark.parametrize("name", ["studies/mine.yaml", "../d", "", "d\n"])
def test_a_study_of_a_cluster_is_given_by_its_name(bare, name):
    with a_server((200, "[]")) as where:
        server = JobServer(f"http://{where}")
        with pytest.raises(UsageError, match="by its name, not by a file"):
            find(server, name, None)
        with pytest.raises(UsageError, match="by its name, not by a file"):
            jobs.start(server, jobs.Order(name, place("/r"), "resume", []), print)
        assert where.seen == []


def one_job(state, log="", root="/nfs/none", **more):
    """Answers of a server that has the job d-1."""
    job = {**listed("d-1", root, state, 1_795_282_328_179), **more}
    answers = {"/api/jobs/": [job], "/api/jobs/d-1": job, "/api/jobs/d-1/logs": {"logs": log}, "/api/jobs/d-1/stop": {}}
    return {path: (200, json.dumps(answer)) for path, answer in answers.items()}


RAYS = "2026-11-21 17:32:08,191\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
PHASE = '{"thermotune": "phase", "text": "joining the cluster"}\n'
NEWER = '{"thermotune": "snapshot", "study": "d", "of another version": 1}\n{"thermotune": "sound", "of": "music"}\n'


@pytest.mark.parametrize(
    ("state", "log", "stands"),
    [
        ("PENDING", "", "the job waits for its start on the head"),
        ("RUNNING", RAYS, "starting the driver"),
        ("RUNNING", RAYS + PHASE + "some line\n" + NEWER, "joining the cluster"),
    ],
)
def test_a_study_without_records_stands_where_its_job_does(bare, capsys, state, log, stands):
    with a_server(one_job(state, log)) as where:
        status("d", address=f"http://{where}")
        assert f"d: {stands}\nThis is by the job's log" in capsys.readouterr().out
        status("d", address=f"http://{where}", form="json")
        assert json.loads(capsys.readouterr().out) == {"study": "d", "phase": stands}


def test_a_study_of_an_ended_job_of_which_nothing_is_known_is_said_to_be_missing(bare, capsys):
    with a_server(one_job("FAILED", PHASE)) as where, pytest.raises(ResultsError, match="/nfs/none"):
        status("d", address=f"http://{where}")
    assert "Job d-1: FAILED" in capsys.readouterr().err


def test_a_job_server_of_the_environment_that_knows_no_job_leaves_the_records(tmp_path, monkeypatch, capsys):
    finished(tmp_path, trials=1, reference=None, confirm_seeds=0)
    with a_server((200, "[]")) as where:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", f"http://{where}")
        status("digits-beta", tmp_path)
        shown = capsys.readouterr()
        assert "digits-beta: COMPLETED" in shown.out
        assert f"{where} knows no job of digits-beta; this is by the records in {tmp_path}" in shown.err
        with pytest.raises(UsageError, match="knows none of digits-beta"):
            status("digits-beta", tmp_path, address=f"http://{where}")


def test_logs_go_to_stdout_and_what_this_version_does_not_understand_is_skipped(bare, capsys):
    with a_server(one_job("FAILED", RAYS + PHASE + NEWER + "a line\n", driver_exit_code=3)) as where:
        logs("d", address=f"http://{where}")
    shown = capsys.readouterr()
    assert shown.out == "joining the cluster\na line\n"
    assert shown.err == "Job d-1 ended: FAILED.\n"


def test_a_job_that_does_not_stop_is_said(bare, monkeypatch):
    monkeypatch.setattr(jobs, "STOP_WAIT_S", 0)
    monkeypatch.setattr(jobs, "KILL_WAIT_S", 0)
    monkeypatch.setattr(jobs, "LOOK_EVERY_S", 0.01)
    with a_server(one_job("RUNNING")) as where:
        server = JobServer(f"http://{where}")
        with pytest.raises(ThermotuneError, match=r"job d-1 should have ended .* RUNNING"):
            jobs.stop(server, server.job("d-1"))
        assert where.seen[1][0] == "/api/jobs/d-1/stop"


def test_a_doctors_job_without_a_report_is_a_failed_check(bare, monkeypatch, capsys):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    cut = '{"thermotune": "result"}\n[{"name": "ro'
    answers = one_job("FAILED", cut, message="no memory\nTraceback\n")
    answers = {path.replace("/d-1", "/doctor-1"): answer for path, answer in answers.items()}
    answers[f"/api/packages/{pack().uri.replace('://', '/')}"] = (200, "")
    answers["/api/version"] = (200, json.dumps({"ray_version": metadata.version("ray")}))
    with a_server(answers) as where:
        found = look_at_server(f"http://{where}", place("/nfs/runs"), [], None)
    assert [check.state for check in found] == ["ok", "ok", "failed"]
    assert found[-1].found == "doctor-1 ended without a report (FAILED: no memory)"
    said = capsys.readouterr().err
    assert "these go along: AWS_SECRET_ACCESS_KEY" in " ".join(said.split())
    assert "canary" not in said


def test_all_jobs_are_shown_newest_first(bare, capsys):
    jobs = [listed("d-1", "/r", "STOPPED", 1_795_282_328_179), listed("e-1", "s3://b/p", "RUNNING", 1_795_282_340_000)]
    with a_server((200, json.dumps(jobs))) as where:
        status(address=f"http://{where}")
        shown = capsys.readouterr().out
        assert shown.index("e-1") < shown.index("d-1")
        assert "2026-11-21" in shown
        status(address=f"http://{where}", form="json")
        assert [job["id"] for job in json.loads(capsys.readouterr().out)] == ["e-1", "d-1"]


def a_job(state, code=None, message=""):
    now = datetime.now(UTC)
    about = {"id": "d-1", "study": "d", "root": "/r", "kind": "submit"}
    return Job(**about, state=state, message=message, exit_code=code, began=now, ended=now)


@pytest.mark.parametrize(
    ("state", "code", "ends_with"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", 75, 75),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 75),
    ],
)
def test_an_attached_command_ends_as_the_driver_did(state, code, ends_with):
    assert exit_code(a_job(state, code)) == ends_with


@pytest.mark.parametrize(
    ("state", "code", "saved", "words"),
    [
        ("SUCCEEDED", 0, False, ""),
        ("FAILED", 2, False, ""),  # the log has said it
        ("STOPPED", None, True, ""),
        ("STOPPED", None, False, "stopped before it could save all"),
        ("FAILED", -9, False, r"driver was killed (SIGKILL)"),
        ("FAILED", None, False, "could not go on: no room"),
    ],
)
def test_an_end_that_the_log_cannot_tell_is_explained(state, code, saved, words):
    said = farewell(a_job(state, code, "no room"), saved=saved, resume="thermotune resume d")
    assert words in said
    assert bool(said) == bool(words)
    assert not said or said.endswith("Continue with:\n  thermotune resume d")


def command(home, *arguments, **variables):
    env = environment(home, **variables)
    return subprocess.run([THERMOTUNE, *arguments], capture_output=True, text=True, env=env, cwd=home, check=False)


def test_a_wrong_study_file_is_refused_before_anybody_is_asked(tmp_path):
    done = command(
        tmp_path, "submit", "digits-beta", "-s", "search.trials=none", "-s", "recipe.epochs=0", "--address",
        "http://127.0.0.1:9", "--root", "/nfs/runs",
    )  # fmt: skip
    assert done.returncode == 4
    assert "2 mistakes" in done.stderr


def test_a_relative_root_is_refused_before_anybody_is_asked(tmp_path):
    done = command(tmp_path, "submit", "digits-beta", RAY_API_SERVER_ADDRESS="http://127.0.0.1:9")
    assert done.returncode == 2
    assert "all nodes share, got thermotune-runs" in done.stderr


@pytest.mark.parametrize("run", [run_cli.submit, run_cli.resume])
@pytest.mark.parametrize("address", ["local", "head:6379"])
def test_no_wait_needs_a_job_server(run, address):
    with pytest.raises(UsageError, match="--no-wait must come with a job server"):
        run("digits-beta", address=address, no_wait=True)


def test_logs_without_a_cluster_says_where_to_look(tmp_path):
    done = command(tmp_path, "logs", "digits-beta")
    assert done.returncode == 2
    assert "thermotune watch" in done.stderr


def test_no_file_of_the_packages_is_forgotten_for_its_suffix():
    """Code must not need a file that does not travel."""
    travels = code_files()
    left_behind = {
        path.suffix
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and str(path.relative_to(ROOT)) not in travels
    }
    assert left_behind <= {".png", ".md"}, left_behind


def test_looking_at_jobs_imports_no_ray():
    code = (
        "import sys, search.jobs.jobs, search.jobs.following, search.jobs_cli; "
        "print(sorted({'ray', 'torch', 'mlflow'} & sys.modules.keys()))"
    )
    done = run_in(ROOT, "-c", code)
    assert done.stdout.strip() == "[]", done.stderr
