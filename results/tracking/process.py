"""The mirror as a process of its own: training never waits for the tracker, and never fails with it.

``python -m results.tracking STUDY_DIR`` brings MLflow up to date once; with ``--follow`` it keeps on doing so while a
driver works on the study, makes one last pass and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import signal
import sys
import time
from collections.abc import Collection, Iterator, Sequence

from results.errors import ResultsError, TrackingUnavailable
from results.facts import load_facts
from results.lock import holder
from results.places import Place, RemotePath, names_in, place, scratch
from results.query import StudyView
from results.schema import ROW_TYPES, StudyState
from results.store import table_dir
from results.tracking.check import check
from results.tracking.mirror import Mirror, SyncResult
from results.tracking.tracker import Tracker

GENTLE_START_S = 8.0
"""Seconds that a following mirror waits before it imports mlflow, which takes 5 s of CPU next to the training."""
LOOK_EVERY_S = 0.25
"""Seconds between two looks at whether the driver is still there."""
LOOK_AT_STORE_EVERY_S = 2.0
"""The same on an object store, where a look takes several requests."""
PASS_EVERY_S = 2.0
"""Seconds between two looks at the records."""
LONGEST_PAUSE_S = 60.0
"""Longest wait between two tries while the tracker does not answer."""
LAST_TRIES_S = 10.0
"""How long a mirror whose driver is gone goes on trying."""
WAIT_FOR_MIRROR_S = 30.0
"""How long ``sync`` waits for another mirror of the study."""
WAIT_FOR_REPORT_S = 15.0
"""How long a mirror whose driver is gone waits for the report, which a driver writes after its last row."""


def sync(study_dir: Place, tracking_uri: str | None = None, *, command: str = "thermotune") -> SyncResult:
    """Makes MLflow hold what a study's records say: sends what it lacks, and makes runs anew that hold something else.

    Args:
        study_dir: Folder of the study.
        tracking_uri: MLflow server or store; default MLFLOW_TRACKING_URI, else ``mlflow.db`` in the root.
        command: How the user calls this program, for the commands in messages.

    Returns:
        What was sent; nothing for a study that is up to date.

    Raises:
        TrackingUnavailable: The tracker does not answer, or another mirror of the study is at work.
        ResultsError: The study or its records cannot be read.
    """
    load_facts(study_dir)
    with _only_mirror(study_dir, WAIT_FOR_MIRROR_S):
        passes = _Passes(study_dir, tracking_uri, then=f"{command} sync {study_dir.name}")
        done = passes.make()
        found = check(study_dir, tracking_uri, command=command)
        return done if found.running or not found.damaged else done + passes.make(without=found.damaged)


def follow(study_dir: Place) -> None:
    """Keeps MLflow up to date while a driver works, and brings it up to date once more when the driver is gone.

    A tracker that does not answer is tried again with growing pauses, and given up ``LAST_TRIES_S`` after the driver
    went; nothing is lost then, ``sync`` sends the rest.

    Args:
        study_dir: Folder of the study; its driver holds the study's lock.

    Raises:
        TrackingUnavailable: The tracker did not answer to the last.
        ResultsError: The study or its records cannot be read.
    """
    _wait(study_dir, GENTLE_START_S)
    with _only_mirror(study_dir, float("inf")):
        passes, seen, pause = _Passes(study_dir), None, PASS_EVERY_S
        while holder(study_dir) is not None:
            now = _fingerprint(study_dir)
            if now != seen:
                try:
                    passes.make()
                    seen, pause = now, PASS_EVERY_S
                except TrackingUnavailable:
                    pause = min(LONGEST_PAUSE_S, 2 * pause)
            _wait(study_dir, pause)
        _persist(passes)
        if _report_comes(study_dir):
            _persist(passes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the mirror.

    Args:
        arguments: Without the program's name; default those of the process.

    Returns:
        0, or 1 if MLflow is not up to date.
    """
    parser = argparse.ArgumentParser(prog="python -m results.tracking", description=__doc__)
    parser.add_argument("study_dir", type=place, help="folder of the study")
    parser.add_argument("--follow", action="store_true", help="go on while a driver works on the study")
    given = parser.parse_args(arguments)
    try:
        if given.follow:
            for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, or Ray's end of a job, is for the driver;
                signal.signal(number, signal.SIG_IGN)  # this process ends after it
            follow(given.study_dir)
        else:
            print(sync(given.study_dir), file=sys.stderr)
    except ResultsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


class _Passes:
    """Passes of a mirror that is made when first needed, and anew after an error."""

    def __init__(self, study_dir: Place, uri: str | None = None, *, then: str | None = None) -> None:
        self._study_dir = study_dir
        self._tracker = Tracker(study_dir, uri, then=then)
        self._mirror: Mirror | None = None

    def make(self, *, without: Collection[str] = ()) -> SyncResult:
        """A pass, after these runs were removed."""
        view = StudyView(self._study_dir)
        with self._tracker.errors():
            mirror = self._mirror or Mirror(self._tracker.connect(), self._tracker.experiment, self._tracker.artifacts)
            self._mirror = None
            removed = mirror.remove(without)
            result = mirror.bring_up_to_date(view)
            result.deleted += removed
            self._mirror = mirror
            return result


def _persist(passes: _Passes) -> None:
    """A pass that is tried again for a while."""
    deadline = time.monotonic() + LAST_TRIES_S
    while True:
        try:
            passes.make()
            return
        except TrackingUnavailable:
            if time.monotonic() + PASS_EVERY_S > deadline:
                raise
            time.sleep(PASS_EVERY_S)


@contextlib.contextmanager
def _only_mirror(study_dir: Place, patience_s: float) -> Iterator[None]:
    """Holds the study's mirror lock; the kernel gives it back when the process dies."""
    path = scratch(study_dir) / "mlflow.lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise TrackingUnavailable(
            f"a study's folder must be writable for whoever brings MLflow up to date, but {path} is not "
            f"({error.strerror}). Give yourself the right to write there"
        ) from error
    with file:
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


def _fingerprint(study_dir: Place) -> tuple[object, ...]:
    """Changes whenever there is something new to send: files of the records are never rewritten."""
    return (*(tuple(names_in(table_dir(study_dir, table))) for table in ROW_TYPES), holder(study_dir) is not None)


def _wait(study_dir: Place, seconds: float) -> None:
    """Waits, but no longer than a driver works on the study."""
    deadline = time.monotonic() + seconds
    while holder(study_dir) is not None and time.monotonic() < deadline:
        time.sleep(LOOK_AT_STORE_EVERY_S if isinstance(study_dir, RemotePath) else LOOK_EVERY_S)


def _report_comes(study_dir: Place) -> bool:
    """Waits for the page that a driver writes when it has put the study down; a killed one writes none."""
    view = StudyView(study_dir)
    last = view.sessions[-1] if view.sessions else None
    if last is None or last.ended_at is None or view.state is StudyState.RUNNING:
        return False
    if view.state is not StudyState.COMPLETED and not (last.reason or "").startswith("budget"):
        return False  # a signal: the driver ended on the spot
    deadline = time.monotonic() + WAIT_FOR_REPORT_S
    while _written_at(study_dir / "report.html") < int(last.ended_at.timestamp()):  # object stores know whole seconds
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _written_at(file: Place) -> float:
    """When a file was written, in seconds since 1970; 0 if it is not there."""
    try:
        return file.modified_s() if isinstance(file, RemotePath) else file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
