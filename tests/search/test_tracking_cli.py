"""The commands sync --check, register and ui, as a user calls them."""

import os
import signal
import socket
import subprocess
import time
import urllib.request

import psutil
import pytest

from results.errors import TrackingUnavailable
from search.errors import UsageError
from search.tracking_cli import register, sync, ui
from tests.results.synthetic import finished
from tests.results.tracking.servers import free_port, server
from tests.search.commands import THERMOTUNE, environment


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    finished(tmp_path, trials=1, reference=None, confirm_seeds=0)
    return tmp_path


def test_sync_check_ends_with_1_until_all_is_there(root, capsys):
    import typer

    with pytest.raises(typer.Exit) as ended:
        sync("digits-beta", root, check=True)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "t0001: its run is missing" in said
    assert said.endswith(f"\nMend it with: thermotune --root {root} sync digits-beta\n")
    sync("digits-beta", root)
    assert "MLflow is up to date" in capsys.readouterr().err
    sync("digits-beta", root, check=True)
    assert "2 runs" in (said := capsys.readouterr().out)
    assert said.endswith("all there, none twice\n")


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "../up", "x" * 300, "-flag"])
def test_a_model_needs_a_proper_name(root, name):
    with pytest.raises(UsageError, match="--name must be letters"):
        register("digits-beta", root, name=name)


@pytest.mark.slow
def test_ui_says_where_a_server_runs_already(root, monkeypatch, capsys, tmp_path):
    with server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}") as running:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.uri.replace("http://", "http://me:secret@"))
        sync("digits-beta", root)
        capsys.readouterr()
        ui("digits-beta", root)
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{running.uri}/#/experiments/1/runs?searchFilter=tags.%60thermotune.study%60")
    assert "runs already" in shown.err
    assert "secret" not in shown.err + shown.out


def test_ui_does_not_claim_that_a_dead_server_runs(root, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingUnavailable, match=r"Connection refused.*Start the server") as refused:
        ui("digits-beta", root)
    assert str(refused.value).endswith(f"Then: thermotune --root {root} ui digits-beta")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", [sync, register])
def test_the_command_to_repeat_names_the_root(tmp_path, monkeypatch, command):
    finished(tmp_path, trials=1, confirm_seeds=1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TrackingUnavailable) as refused:
        command("digits-beta", tmp_path)
    assert str(refused.value).endswith(f"Then: thermotune --root {tmp_path} {command.__name__} digits-beta")


def test_ui_needs_a_store_and_a_free_port(root, capsys):
    with pytest.raises(UsageError, match=r"there is no .*mlflow\.db\. Make one: thermotune --root .* sync STUDY"):
        ui(None, root)
    (root / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"must be one that is free, got {port}"):
            ui(None, root, port=port)
    assert "Starting" not in capsys.readouterr().err


@pytest.mark.slow
def test_ui_shows_a_study_on_this_machine_only_and_ends_with_ctrl_c(root):
    subprocess.run([THERMOTUNE, "sync", "digits-beta", "--root", str(root)], check=True, env=environment(root))
    shown = subprocess.Popen(
        [THERMOTUNE, "ui", "digits-beta", "--root", str(root)],
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shown.stdout is not None
    page = shown.stdout.readline().strip()
    family = psutil.Process(shown.pid).children(recursive=True)
    assert family
    base = page.partition("/#/")[0]
    with urllib.request.urlopen(f"{base}/health", timeout=10) as answer:
        assert answer.status == 200
    assert "searchFilter=tags.%60thermotune.study%60" in page
    listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    os.kill(shown.pid, signal.SIGINT)
    _, errors = shown.communicate(timeout=30)
    assert shown.returncode == 0
    assert "Traceback" not in errors
    deadline = time.monotonic() + 10
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not (root / "mlruns").exists()
