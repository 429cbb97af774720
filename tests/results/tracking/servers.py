"""Real MLflow servers, PostgreSQL beneath one, and a proxy that is slow, loses replies or wants a token."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """An MLflow server in a process group of its own."""

    def __init__(self, folder: Path, store: str, *, port: int | None = None, workers: int = 1, **options: str) -> None:
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment |= {name: value for name, value in options.items() if name.isupper()}
        environment.pop("MLFLOW_TRACKING_URI", None)
        flags = [f"--{name}={value}" for name, value in options.items() if not name.isupper()]
        self.log = folder / f"server-{self.port}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1",
                 "--port", str(self.port), "--workers", str(workers), *flags,
                 "--artifacts-destination", str(folder / "artifacts")],
                env=environment, cwd=folder, start_new_session=True, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> Server:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                if answer.status == 200:
                    return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)
        raise AssertionError(f"the server did not come up: {self.log.read_text()}")

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def server(folder: Path, store: str, **options: str) -> Iterator[Server]:
    """A server that answers, as long as it is needed."""
    started = Server(folder, store, **options)  # type: ignore[arg-type]
    try:
        yield started.wait()
    finally:
        started.kill()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of its own; gives the address of an empty database."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:  # pytest's folders are closed to other users
        data = Path(scratch) / "data"
        data.mkdir(mode=0o700)
        as_user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            Path(scratch).chmod(0o755)
            shutil.chown(data, "postgres", "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        initdb = [*as_user, "initdb", "-D", str(data), "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
        process = subprocess.Popen(
            [*as_user, "postgres", "-D", str(data), "-p", str(port), "-k", str(data), "-h", "127.0.0.1", "-F"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"postgresql+psycopg2://tester:secret@127.0.0.1:{port}/postgres"
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


class Proxy:
    """Stands before a server and does what networks do.

    Attributes:
        uri: Its address.
        delay_s: Added to every answer.
        lose_every: Every so many answers to a change is thrown away after the server has done it; 0 for none.
        lost: Answers thrown away.
        token: What must stand in the header Authorization; None lets everybody in.
    """

    def __init__(self, upstream: int) -> None:
        self.delay_s, self.lose_every, self.lost = 0.0, 0, 0
        self.token: str | None = None
        self.upstream = upstream
        self._changes = 0
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if proxy.token is not None and self.headers.get("Authorization") != proxy.token:
                    self._answer(401, b"You are not authenticated.", {"Content-Type": "text/plain"})
                    return
                time.sleep(proxy.delay_s)
                connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
                try:
                    kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                    connection.request(self.command, self.path, body, kept)
                    answer = connection.getresponse()
                    content, headers = answer.read(), dict(answer.getheaders())
                except OSError:
                    self.close_connection = True
                    return
                finally:
                    connection.close()
                if proxy._loses(self.command, self.path):
                    self.close_connection = True
                    return
                self._answer(answer.status, content, headers)

            def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _loses(self, method: str, path: str) -> bool:
        if not self.lose_every or method == "GET" or path.endswith("/search"):
            return False
        with self._lock:
            self._changes += 1
            lost = self._changes % self.lose_every == 0
            self.lost += lost
            return lost

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
