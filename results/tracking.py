"""The MLflow mirror as a process of its own: training never waits for the tracker, and never fails with it.

``python -m results.tracking STUDY_DIR`` brings MLflow up to date once; with ``--follow`` it keeps on doing so while a
driver works on the study, makes one last pass and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from results.environment import mask
from results.errors import ResultsError, TrackingUnavailable
from results.facts import load_facts
from results.lock import holder
from results.mirror import Mirror, SyncResult, default_artifacts
from results.query import StudyView
from results.schema import ROW_TYPES
from results.store import table_dir

EXPERIMENT = "thermotune"
"""Experiment where MLFLOW_EXPERIMENT_NAME names none."""
GENTLE_START_S = 8.0
"""Seconds that a following mirror waits before it imports mlflow, which takes 5 s of CPU next to the training."""
PASS_EVERY_S = 2.0
"""Seconds between two looks at the records."""
LONGEST_PAUSE_S = 60.0
"""Longest wait between two tries while the tracker does not answer."""
LAST_TRIES_S = 10.0
"""How long a mirror whose driver is gone goes on trying."""
WAIT_FOR_MIRROR_S = 30.0
"""How long ``sync`` waits for another mirror of the study."""

_QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
}


def sync(study_dir: Path, tracking_uri: str | None = None) -> SyncResult:
    """Brings MLflow up to date with a study's records, once.

    Args:
        study_dir: Folder of the study.
        tracking_uri: MLflow server or store; default MLFLOW_TRACKING_URI, else ``mlflow.db`` in the root.

    Returns:
        What was sent; nothing for a study that is up to date.

    Raises:
        TrackingUnavailable: The tracker does not answer, or another mirror of the study is at work.
        ResultsError: The study or its records cannot be read.
    """
    study_dir = Path(study_dir)
    load_facts(study_dir)
    with _only_mirror(study_dir, WAIT_FOR_MIRROR_S):
        return _Tracker(study_dir, tracking_uri).update()


def follow(study_dir: Path) -> None:
    """Keeps MLflow up to date while a driver works, and brings it up to date once more when the driver is gone.

    A tracker that does not answer is tried again with growing pauses, and given up ``LAST_TRIES_S`` after the driver
    went; nothing is lost then, ``sync`` sends the rest.

    Args:
        study_dir: Folder of the study; its driver holds the study's lock.

    Raises:
        TrackingUnavailable: The tracker did not answer to the last.
        ResultsError: The study or its records cannot be read.
    """
    study_dir = Path(study_dir)
    _wait(study_dir, GENTLE_START_S)
    with _only_mirror(study_dir, float("inf")):
        tracker, seen, pause = _Tracker(study_dir, None), None, PASS_EVERY_S
        while holder(study_dir) is not None:
            now = _fingerprint(study_dir)
            if now != seen:
                try:
                    tracker.update()
                    seen, pause = now, PASS_EVERY_S
                except TrackingUnavailable:
                    pause = min(LONGEST_PAUSE_S, 2 * pause)
            _wait(study_dir, pause)
        deadline = time.monotonic() + LAST_TRIES_S
        while True:
            try:
                tracker.update()
                return
            except TrackingUnavailable:
                if time.monotonic() + PASS_EVERY_S > deadline:
                    raise
                time.sleep(PASS_EVERY_S)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the mirror.

    Args:
        arguments: Without the program's name; default those of the process.

    Returns:
        0, or 1 if MLflow is not up to date.
    """
    parser = argparse.ArgumentParser(prog="python -m results.tracking", description=__doc__)
    parser.add_argument("study_dir", type=Path, help="folder of the study")
    parser.add_argument("--follow", action="store_true", help="go on while a driver works on the study")
    given = parser.parse_args(arguments)
    try:
        if given.follow:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver; this process ends after it
            follow(given.study_dir)
        else:
            print(sync(given.study_dir), file=sys.stderr)
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def default_uri(study_dir: Path) -> str:
    """The tracker of a study: MLFLOW_TRACKING_URI, else ``mlflow.db`` in its root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(study_dir).resolve().parent / 'mlflow.db'}"


class _Tracker:
    """Connects when first needed, and again after an error."""

    def __init__(self, study_dir: Path, uri: str | None) -> None:
        self._study_dir = study_dir
        self._uri = uri or default_uri(study_dir)
        self._mirror: Mirror | None = None

    def update(self) -> SyncResult:
        view = StudyView(self._study_dir)
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
            from requests import RequestException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                if self._mirror is None:
                    local = (
                        default_artifacts(self._study_dir.resolve().parent) if self._uri.startswith("sqlite:") else None
                    )
                    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
                    with _one_at_a_time(self._study_dir.resolve().parent):
                        client = MlflowClient(tracking_uri=self._uri)
                        if local is not None:
                            client.search_experiments(max_results=1)  # makes the tables of a new store
                    self._mirror = Mirror(client, experiment, local)
                return self._mirror.bring_up_to_date(view)
            except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
                self._mirror = None
                raise TrackingUnavailable(
                    f"MLflow must take what the study recorded, but {mask(self._uri)} does not: {_reason(error)}. "
                    "The records are safe; start the server or correct MLFLOW_TRACKING_URI, then: "
                    f"thermotune sync {self._study_dir.name}"
                ) from error


def _reason(error: Exception) -> str:
    """Why it failed, in a line: of a nested network error the innermost part."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    _, nested, inner = line.rpartition("Caused by ")
    if nested:
        line = re.sub(r"[\"']\)+$", "", inner.rpartition(": ")[2])
    return mask(line)[:300]


@contextlib.contextmanager
def _only_mirror(study_dir: Path, patience_s: float) -> Iterator[None]:
    """Holds the study's mirror lock; the kernel gives it back when the process dies."""
    path = study_dir / "mlflow.lock"
    with path.open("a") as file:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TrackingUnavailable(
                        f"one mirror at a time works on a study, and another has held {path} for {patience_s:.0f} s. "
                        "It belongs to a running driver and ends with it; nothing needs to be done"
                    ) from None
                time.sleep(0.2)
        yield


def _fingerprint(study_dir: Path) -> tuple[object, ...]:
    """Changes whenever there is something new to send."""
    times = [path.stat().st_mtime_ns for table in ROW_TYPES if (path := table_dir(study_dir, table)).exists()]
    return (*times, holder(study_dir) is not None)


def _wait(study_dir: Path, seconds: float) -> None:
    """Waits, but no longer than a driver works on the study."""
    deadline = time.monotonic() + seconds
    while holder(study_dir) is not None and time.monotonic() < deadline:
        time.sleep(0.25)


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Two processes that make the tables of one SQLite store at once would ruin it for good."""
    with (root / ".mlflow.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    os.nice(10)
    sys.exit(main())
