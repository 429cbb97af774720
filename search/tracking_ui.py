"""MLflow's own pages over the store of a root, as long as the command runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import quote, urlsplit

from results.facts import load_facts
from results.places import Place
from results.tracking import Tracker
from results.tracking.held import STUDY, experiment_id
from search.errors import ThermotuneError, UsageError

HOST = "127.0.0.1"
UP_WITHIN_S = 120.0
"""A busy machine needs most of a minute to start MLflow."""
DOWN_WITHIN_S = 10.0


@contextlib.contextmanager
def serving(uri: str, home: Path, port: int) -> Iterator[str]:
    """Runs MLflow's server over a store, for this machine only.

    Args:
        uri: Of the store: SQLite, PostgreSQL, ...
        home: Local folder for what MLflow keeps beside the store.
        port: Where to listen; one that is free.

    Yields:
        Its address, when it answers.

    Raises:
        ThermotuneError: The server does not start.
    """
    address = f"http://{HOST}:{port}"
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not on the command line, which everybody on the machine can read
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves five processes and 1.5 GiB
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "--artifacts-destination", str(home.resolve() / "mlartifacts")],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; we end it and its workers
        )
        try:
            _await(server, address, log)
            yield address
        finally:
            _end(server)


def link(address: str, tracker: Tracker, folder: Place | None) -> str:
    """The page of a study: its run with all trials below it; of a root, the experiment with all studies.

    Args:
        address: Of the server; a name and password in it are left out.
        tracker: The store that it shows.
        folder: Folder of the study.

    Raises:
        TrackingUnavailable: The store cannot be read.
    """
    address = _without_login(address).rstrip("/")
    with tracker.errors():
        experiment = experiment_id(tracker.connect(), tracker.experiment)
    if experiment is None:
        return f"{address}/#/experiments"
    page = f"{address}/#/experiments/{experiment}/runs"
    if folder is None:
        return page
    wanted = f"tags.`{STUDY}` = '{load_facts(folder).id}'"
    return f"{page}?searchFilter={quote(wanted, safe='')}"


def _without_login(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def until_stopped() -> None:
    """Waits for Ctrl-C, or for a signal that asks this process to end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)


def free_port(wanted: int | None) -> int:
    """A port that nobody listens at on this machine.

    Args:
        wanted: This one; None for any.

    Raises:
        UsageError: It is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise UsageError(
                f"--port must be one that is free, got {wanted} ({error.strerror}). Leave it out to have one chosen"
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _await(server: subprocess.Popen[bytes], address: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    log.seek(0)
    last = log.read().decode(errors="replace").strip().splitlines()[-3:]
    raise ThermotuneError(
        "MLflow's server must start on this machine, but does not: " + " | ".join(last or ["no word"])
    )


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server with its workers."""
    for number, patience_s in ((signal.SIGTERM, DOWN_WITHIN_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(patience_s)
            return
