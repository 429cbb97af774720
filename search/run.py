"""Running a study on this machine, from the first time or from wherever its records end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from results.environment import collect
from results.lock import StudyLock
from results.schema import StudyState, TrialState
from results.store import RecordWriter, compact, part_count, read_rows
from search.conductor import Conductor
from search.errors import StudyFileError, ThermotuneError, UsageError
from search.history import History
from search.machine import Machine
from search.progress import Progress
from search.study import Study
from trainables.data import prepare

OBJECT_STORE_BYTES = 128 * 2**20
"""Little goes through Ray's object store: data sets are memory-mapped files."""

RAY_TRIES = 3
"""Ray gives up starting after 30 s, which a busy machine may need."""

COMPACT_ABOVE_PARTS = 100
"""At its end a session merges the part files of the records if there are more."""

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0: no output of Ray Tune's own
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning where a trial asks for no GPU
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the records are ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # errors are kept in the records
}
_ENGINE = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else every worker makes a virtual environment of its own under uv run
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are ours
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Ray Tune's own snapshots are of no use here
}


class Interrupted(BaseException):
    """A signal asked the driver to stop; the study can be resumed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended.

    Attributes:
        state: COMPLETED or INTERRUPTED.
        any_completed: Whether at least one trial was trained to its end.
        mirror: The process that brings MLflow up to date; None if there was nothing to do.
    """

    state: StudyState
    any_completed: bool
    mirror: subprocess.Popen[bytes] | None

    @classmethod
    def of(cls, state: StudyState, history: History, mirror: subprocess.Popen[bytes] | None = None) -> Outcome:
        """The outcome of a session that leaves this history behind."""
        return cls(state, any(trial.state is TrialState.COMPLETED for trial in history.trials.values()), mirror)


def create(study: Study, root: Path) -> Path:
    """Makes the folder of a new study and writes its ``study.yaml`` and ``environment.json``.

    Returns:
        The folder.

    Raises:
        UsageError: The root cannot be written, or the study exists.
    """
    folder = root / study.name
    if (folder / "study.yaml").exists():
        raise UsageError(
            f"a study's name must be new in its root, and {study.name} exists in {root}. "
            f"Continue it with resume {study.name}, or choose another name with --set name=NEW"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "environment.json", json.dumps(collect(), indent=2) + "\n")
        _write(folder / "study.yaml", study.to_yaml())
    except OSError as error:
        raise UsageError(
            f"the root must be a folder that can be written, got {root} ({error.strerror or error}). "
            "Choose another with --root or THERMOTUNE_ROOT"
        ) from error
    return folder


def open_study(folder: Path) -> Study:
    """The study of a folder, with its newest amendment.

    Raises:
        ThermotuneError: The file is damaged.
    """
    path = _study_files(folder)[-1]
    try:
        return Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ThermotuneError(f"{path} must be a study as thermotune writes it, but it is not: {error}") from error


def extend(folder: Path, trials: int) -> Study:
    """Amends a study with more trials for every arm; the amendment is a numbered file beside ``study.yaml``.

    The caller holds no lock: a running driver would not see the amendment, so that case is refused.
    """
    with StudyLock(folder):
        study = open_study(folder)
        search = study.search.model_copy(update={"trials": study.search.trials + trials})
        amended = study.model_copy(update={"search": search})
        _write(folder / f"study-{len(_study_files(folder)) + 1}.yaml", amended.to_yaml())
    return amended


def _study_files(folder: Path) -> list[Path]:
    amendments = sorted(folder.glob("study-*.yaml"), key=lambda path: int(path.stem.removeprefix("study-")))
    return [folder / "study.yaml", *amendments]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def run(folder: Path, progress: Progress, *, verbose: bool = False) -> Outcome:
    """Runs a study until it is complete, or until a signal.

    Args:
        folder: Folder of the study.
        progress: The display; must be entered.
        verbose: Let Ray and Optuna say what they say.

    Raises:
        Held: Another driver works on the study.
        OSError: The records cannot be written; what was written stays.
    """
    folder = folder.absolute()  # workers have folders of their own
    lock = StudyLock(folder)
    stale = lock.acquire()
    try:
        if stale is not None:
            progress.note(f"The last driver died without a word ({stale}); taking over.")
        with _signals() as stop:
            return _drive(folder, lock, progress, stop, verbose=verbose)
    finally:
        lock.release()


def _drive(folder: Path, lock: StudyLock, progress: Progress, stop: _Stop, *, verbose: bool) -> Outcome:
    study = open_study(folder)
    history = History.fold(read_rows(folder))
    session = f"s{history.sessions + 1:04d}"
    lock.name_session(session)
    machine = Machine.local(look_for_gpus=study.resources.gpus > 0)
    if mistakes := machine.mistakes(study.resources):
        raise StudyFileError(mistakes)  # the study came from a larger machine
    slots = machine.slots(study.resources)
    writer = RecordWriter(folder, session=session)
    conductor = Conductor(study, history, writer, session=session)
    if conductor.finished:
        return Outcome.of(StudyState.COMPLETED, history)
    facts = {"slots": slots, **_session_facts()}
    conductor.session(StudyState.RUNNING, **facts)
    mirror = _start_mirror(folder)
    progress.watch(conductor)

    def between_events() -> None:
        stop.check()
        if lock.lost:
            raise ThermotuneError(f"another driver took {study.name} over, because this one gave no sign of life")
        progress.update()

    try:
        shutil.rmtree(folder / "tune", ignore_errors=True)  # what Ray Tune of a killed session left behind
        prepare(study.recipe.dataset)
        with _ray(machine, slots, progress, stop, verbose=verbose):
            from search.tune import run_trials

            run_trials(conductor, folder, session=session, slots=slots, between_events=between_events)
        state, reason = StudyState.COMPLETED, "nothing left to run"
    except Interrupted as interruption:
        state, reason = StudyState.INTERRUPTED, str(interruption)
    except Exception as error:
        with contextlib.suppress(OSError):  # the error itself may be that nothing can be written
            conductor.session(StudyState.INTERRUPTED, reason=f"{type(error).__name__}: {error}"[:500], **facts)
        raise
    conductor.session(state, reason=reason, **facts)
    writer.close()
    shutil.rmtree(folder / "tune", ignore_errors=True)
    if part_count(folder) > COMPACT_ABOVE_PARTS:
        compact(folder)
    return Outcome.of(state, history, mirror)


def _start_mirror(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the process that keeps MLflow up to date; it ends by itself, soon after the driver."""
    with (folder / "mlflow.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "results.tracking", str(folder), "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the driver
        )


def _session_facts() -> dict[str, Any]:
    environment = collect()
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join(environment["command"]),
        "environment": json.dumps(environment),
    }


@contextlib.contextmanager
def _ray(machine: Machine, slots: int, progress: Progress, stop: _Stop, *, verbose: bool) -> Iterator[None]:
    """A Ray of our own on this machine."""
    progress.phase("starting Ray")
    os.environ.update(_ENGINE)
    os.environ.update({} if verbose else _QUIET)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one into the home folder
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _start_ray(machine, verbose=verbose)
    except SystemExit:  # Ray's own answer to a SIGTERM while it starts
        stop.number = stop.number or signal.SIGTERM
    for number, handler in handlers.items():
        signal.signal(number, handler)  # Ray puts one of its own in place
    import ray

    try:
        stop.check()
        yield
    finally:
        ray.shutdown()


def _start_ray(machine: Machine, *, verbose: bool) -> None:
    import ray

    for tries_left in reversed(range(RAY_TRIES)):
        try:
            ray.init(
                address="local",  # a bare init joins any cluster that it finds on the machine
                num_cpus=machine.cpus,
                num_gpus=machine.gpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
            return
        except Exception as error:  # Ray raises errors of many kinds here
            ray.shutdown()
            if tries_left == 0:
                raise ThermotuneError(
                    f"Ray must start on this machine, and {RAY_TRIES} tries failed: {error}. "
                    "Its logs are in the folder ray of the system's folder for temporary files"
                ) from error


class _Stop:
    """Set by a signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raises Interrupted once there was a signal."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextlib.contextmanager
def _signals() -> Iterator[_Stop]:
    """The first SIGINT or SIGTERM asks for an orderly end, the second ends the process."""
    stop = _Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.number is not None:
            sys.stderr.write("\x1b[?25h\n")  # a live display hides the cursor
            os._exit(128 + number)
        stop.number = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
