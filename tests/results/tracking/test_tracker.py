"""Trackers of all kinds: what a user reads where one does not answer, and that all good ones hold the same."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
import time
import urllib.request

import pytest

from results.errors import TrackingUnavailable
from results.tracking import check, sync
from tests.results.synthetic import finished
from tests.results.tracking.servers import Proxy, postgres, server
from tests.results.tracking.stores import small

ADMIN = ("admin", "not-the-default-1")
READER = ("reader", "not-the-default-2")


def refusal(folder, uri):
    start = time.monotonic()
    with pytest.raises(TrackingUnavailable) as caught:
        sync(folder, uri)
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert message.endswith("The records are safe. Then: thermotune sync digits-beta")
    assert "secret" not in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:///somewhere/mlruns", "does not write to folders any more. Name a server"),
        ("somewhere/mlruns", "does not write to folders any more"),
        ("ftp://me:secret@somewhere/x", "nothing that MLflow can reach (ftp). Name a server"),
        ("mysql+pymysql://me:secret@somewhere/x", "a driver is needed that is not installed: pymysql"),
        ("postgresql+psycopg2://me:secret@127.0.0.1:9/x", "Connection refused"),
        ("http://me:secret@no-such-host.invalid:5000", "Failed to resolve 'no-such-host.invalid'"),
        ("http://me:secret@127.0.0.1:9", "Connection refused. Start the server or correct MLFLOW_TRACKING_URI"),
    ],
)
def test_a_wrong_address_is_explained(root, uri, reason):
    assert reason in refusal(small(root), uri)
    assert not (root / "mlruns").exists()


def test_something_else_that_answers_is_recognised(root):
    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{other.server_address[1]}"
        assert "something answers there, but not an MLflow server" in refusal(small(root), uri)
        other.shutdown()


def test_a_hung_server_is_given_up(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert "timed out" in refusal(small(root), f"http://127.0.0.1:{mute.getsockname()[1]}")


def complete(folder, uri):
    """Sends a study, asks whether all is there, sends again."""
    assert sync(folder, uri).created > 5
    assert check(folder, uri).differences == ()
    assert (again := sync(folder, uri)).metrics == again.created == again.files == 0


@pytest.mark.slow
def test_a_server_on_postgresql_and_the_database_itself_hold_everything_once(tmp_path, monkeypatch):
    folder = finished(tmp_path, trials=3, confirm_seeds=2)
    (folder / "report.html").write_text("report")
    with postgres() as store:
        with server(tmp_path, store) as served:
            complete(folder, served.uri)
        with pytest.raises(TrackingUnavailable, match="Name the server"):
            check(folder, store)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "direct")
        other = finished(tmp_path, name="other", trials=3, confirm_seeds=2, seed=1)
        (other / "study.yaml").write_text((other / "study.yaml").read_text().replace("0123456789abcdef", "f" * 16))
        complete(other, store)


@pytest.mark.slow
def test_passwords_let_in_who_may(tmp_path, monkeypatch):
    folder = finished(tmp_path, trials=1, reference=None, confirm_seeds=0)
    secrets = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "any", "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1]}

    def ask_as(user, password):
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)

    with server(tmp_path, f"sqlite:///{tmp_path / 'auth.db'}", **secrets, **{"app-name": "basic-auth"}) as served:
        assert "who asks (401). Set MLFLOW_TRACKING_USERNAME" in refusal(folder, served.uri)
        ask_as("admin", "secret")
        assert "who asks (401)" in refusal(folder, served.uri)
        ask_as(*ADMIN)
        sync(folder, served.uri)
        assert check(folder, served.uri).differences == ()
        make_user(served.uri, *READER)
        ask_as(*READER)
        other = finished(tmp_path / "b", trials=1, reference=None, confirm_seeds=0)
        (other / "study.yaml").write_text((other / "study.yaml").read_text().replace("0123456789abcdef", "f" * 16))
        assert "the permission EDIT" in refusal(other, served.uri)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "my own")
        sync(other, served.uri)
        assert check(other, served.uri).differences == ()


@pytest.mark.slow
def test_a_token_lets_in(tmp_path, monkeypatch):
    folder = finished(tmp_path, trials=1, reference=None, confirm_seeds=0)
    with server(tmp_path, f"sqlite:///{tmp_path / 'store.db'}") as served, Proxy(served.port) as gate:
        gate.token = "Bearer a-token"
        assert "MLFLOW_TRACKING_TOKEN" in refusal(folder, gate.uri)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
        assert sync(folder, gate.uri).created == 2
        assert check(folder, gate.uri).differences == ()
        assert not [path for path in folder.rglob("*") if path.is_file() and b"a-token" in path.read_bytes()]


def make_user(uri, name, password):
    login = base64.b64encode(":".join(ADMIN).encode()).decode()
    request = urllib.request.Request(
        f"{uri}/api/2.0/mlflow/users/create",
        data=f'{{"username": "{name}", "password": "{password}"}}'.encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
