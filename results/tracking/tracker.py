"""The MLflow that a study reports to: where it is, how to reach it, and what to do where it does not answer."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import warnings
from collections.abc import Iterator
from typing import Any

from results.environment import mask
from results.errors import TrackingUnavailable
from results.places import Place, RemotePath, scratch

EXPERIMENT = "thermotune"
"""Experiment where MLFLOW_EXPERIMENT_NAME names none."""

_QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_SERVERS = ("http://", "https://")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_START_ONE = "Name a server (http://...) or a database (sqlite:///..., postgresql://...) in MLFLOW_TRACKING_URI"
_ADVICE = (
    (
        r"\b401\b|not authenticated",
        "it wants to know who asks (401). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN, as its owner gave them to you",
    ),
    (
        r"[Ii]nvalid Host|allowed-hosts",
        "it does not accept requests under this host name (403). Start it with --allowed-hosts and the name, or use "
        "its IP address",
    ),
    (
        r"\b403\b|[Pp]ermission denied",
        "it knows who asks, but does not allow this (403). Ask its owner for the permission EDIT on the experiment, or "
        "name one of your own in MLFLOW_EXPERIMENT_NAME",
    ),
    (
        r"[Ff]ile ?[Ss]tore|filesystem tracking backend",
        f"MLflow does not write to folders any more. {_START_ONE}",
    ),
    (
        r"mlflow-artifacts URI",
        "the experiment keeps its files at a server, and this is its database. Name the server (http://...) in "
        "MLFLOW_TRACKING_URI, or another experiment in MLFLOW_EXPERIMENT_NAME",
    ),
    (
        r"out-of-date database schema",
        "its tables are of another version of MLflow. Bring them up to date with: mlflow db upgrade, and the address",
    ),
    (
        r"error code (404|405|501)\b|not valid JSON|JSONDecodeError|Expecting value",
        "something answers there, but not an MLflow server. Correct MLFLOW_TRACKING_URI",
    ),
)


def default_uri(study_dir: Place) -> str:
    """The tracker of a study: MLFLOW_TRACKING_URI, else ``mlflow.db`` in its root.

    Raises:
        TrackingUnavailable: The variable is not set, and the root is on an object store.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return given
    if isinstance(study_dir, RemotePath):
        raise TrackingUnavailable(f"MLflow's database must lie on a disk, but {study_dir} does not. {_START_ONE}")
    return f"sqlite:///{study_dir.resolve().parent / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    """Whether an address is that of a server, which others run."""
    return uri.startswith(_SERVERS)


class Tracker:
    """Where a study's copy in MLflow is kept.

    Attributes:
        uri: Address of the server or store; may hold a password.
        experiment: Name of the experiment.
    """

    def __init__(self, study_dir: Place, uri: str | None = None, *, then: str | None = None) -> None:
        """Connects to nothing yet.

        Args:
            study_dir: Folder of the study.
            uri: MLflow server or store; default as :func:`default_uri`.
            then: The command to give when the tracker answers again; default none, where the caller names it.
        """
        self._study_dir = study_dir
        self._then = f". Then: {then}" if then else ""
        self.uri = uri or default_uri(study_dir)
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT

    @property
    def artifacts(self) -> str | None:
        """Where a new experiment keeps its files: beside the studies for a database, None leaves it to a server."""
        if not self.uri.startswith(_DATABASES):
            return None
        folder = self._study_dir.resolve().parent / "mlartifacts"  # MLflow's own choice is ./mlruns
        return str(folder) if isinstance(folder, RemotePath) else folder.as_uri()

    def connect(self) -> Any:  # Any: mlflow is untyped
        """An ``MlflowClient``; importing mlflow takes seconds, and a new SQLite store gets its tables.

        Raises:
            TrackingUnavailable: There is no such store, or it cannot be opened. A server is not asked yet.
        """
        with self.errors():
            from mlflow.tracking import MlflowClient

            if self.uri.startswith(_DATABASES) and not self.uri.startswith("sqlite"):
                from sqlalchemy import create_engine

                engine = create_engine(self.uri)
                engine.connect().close()  # says at once what mlflow says after ten tries in 100 s
                engine.dispose()
            if not self.uri.startswith("sqlite:"):
                return MlflowClient(tracking_uri=self.uri)
            with self._alone():
                client = MlflowClient(tracking_uri=self.uri)
                client.search_experiments(max_results=1)
                return client

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turns whatever mlflow raises inside into a message with the reason and what to do.

        Raises:
            TrackingUnavailable: That message.
        """
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow.exceptions import MlflowException
            from requests import RequestException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield
            except (MlflowException, RequestException, SQLAlchemyError, OSError, ImportError) as error:
                raise TrackingUnavailable(
                    f"MLflow must be there to hold a copy of the study, but at {mask(self.uri)} "
                    f"{_reason(error, self.uri)}. The records are safe{self._then}"
                ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two processes that make the tables of one SQLite store at once would ruin it for good."""
        with (scratch(self._study_dir.resolve().parent) / ".mlflow.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _reason(error: Exception, uri: str) -> str:
    """What is the matter, in a line, and what to do about it."""
    text = str(error).strip()
    if isinstance(error, ModuleNotFoundError):
        return (
            f"a driver is needed that is not installed: {error.name}. Install it, or name another one in the address, "
            "for example postgresql+psycopg2://..."
        )
    if uri.startswith("sqlite") and re.search(r"[Pp]ermission denied|readonly database|[Rr]ead-only", text):
        return "the file cannot be written. Give yourself the right to, or name another store in MLFLOW_TRACKING_URI"
    if "://" in uri and not is_server(uri) and not uri.startswith(("file:", *_DATABASES)):
        return f"there is nothing that MLflow can reach ({uri.partition(':')[0]}). {_START_ONE}"
    for pattern, advice in _ADVICE:
        if re.search(pattern, text):
            return advice
    line = (text.splitlines() or [type(error).__name__])[0]
    _, nested, inner = line.rpartition("Caused by ")
    if nested:  # of a network error the innermost part
        line = re.sub(r"[\"']\)+$", "", inner.rpartition(": ")[2])
    return f"nobody takes it: {mask(line)[:300]}. Start the server or correct MLFLOW_TRACKING_URI"
