"""Running a study here or on a cluster, from the first time or from wherever its records end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import socket
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.environment import collect
from results.errors import Held
from results.lock import StudyLock
from results.places import SCHEME, Place, RemotePath, reason, scratch
from results.schema import Stage, StudyState, TrialState
from results.store import RecordWriter, read_to_continue
from results.store.writer import TROUBLE_S
from search.address import Cluster, Here
from search.budget import BudgetUsedUp, Meter, more
from search.capacity import this_machine, unfit
from search.checkpoints import sweep
from search.conductor import Conductor
from search.data import check_data, check_same
from search.doctor.admission import terms_of
from search.doctor.cluster import preflight
from search.errors import StoreAway, StudyBlocked, StudyFileError, ThermotuneError
from search.folder import open_study, trained_teachers
from search.history import History
from search.nodes import SILENT, Fleet
from search.progress import Progress
from search.ray_session import joined_ray, local_ray
from search.stop import Interrupted, Stop
from search.taking_up import news, repeated
from search.warm_start import known_for
from trainables.loss_settings import RecipeWarning
from trainables.storage import patiently

_HERE = Here()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended.

    Attributes:
        state: COMPLETED or INTERRUPTED.
        any_completed: Whether at least one trial, teachers aside, was trained to its end.
        reason: Why it ended: nothing left to run, the name of a signal, or that the budget is used up.
        budget: Whether it is that the budget is used up.
        mirror: The process that brings MLflow up to date; None if there was nothing to do.
    """

    state: StudyState
    any_completed: bool
    reason: str
    budget: bool
    mirror: subprocess.Popen[bytes] | None

    @classmethod
    def of(
        cls,
        state: StudyState,
        history: History,
        reason: str,
        *,
        budget: bool = False,
        mirror: subprocess.Popen[bytes] | None = None,
    ) -> Outcome:
        """The outcome of a session that leaves this history behind."""
        trained = (t for t in history.trials.values() if t.stage is not Stage.TEACH)
        return cls(state, any(trial.state is TrialState.COMPLETED for trial in trained), reason, budget, mirror)


def run(
    folder: Place, progress: Progress, *, farewell: str, address: Here | Cluster = _HERE, verbose: bool = False
) -> Outcome:
    """Runs a study until it is complete, or until a signal.

    Args:
        folder: Folder of the study.
        progress: The display; must be entered.
        farewell: What to say if Ray hangs after a signal and the process has to end on the spot.
        address: Where trials run: on this machine, or on a cluster that this machine belongs to.
        verbose: Let Ray and Optuna say what they say.

    Raises:
        Held: Another driver works on the study.
        StudyFileError: No trial fits on this machine, or the data set is missing.
        UsageError: There is no cluster at the address, or it does not know our token.
        ClusterUnfit: Its machines do not share the root, or have other versions or data.
        StoreAway: The object store of the study has not answered for a long time.
        OSError: The records cannot be written to the disk; what was written stays.
    """
    folder = folder.absolute()  # workers have folders of their own
    warnings.simplefilter("ignore", RecipeWarning)  # said when the study was loaded
    lock = StudyLock(folder)
    stale = lock.acquire()
    try:
        if stale is not None:
            progress.note(f"The last driver died without a word ({stale}); taking over.")
        with Stop(farewell) as stop, contextlib.ExitStack() as until_the_end:
            return _drive(folder, lock, progress, stop, until_the_end, address, verbose=verbose)
    except OSError as error:
        if isinstance(folder, Path) or error.errno is not None:  # errors of a store have no number
            raise
        raise StoreAway(
            f"the study had to stop, because {folder} does not answer ({reason(error)}). What could not be written "
            f"any more will be trained again. {farewell}"
        ) from error
    finally:
        lock.release()


def _drive(
    folder: Place,
    lock: StudyLock,
    progress: Progress,
    stop: Stop,
    until_the_end: contextlib.ExitStack,
    address: Here | Cluster,
    *,
    verbose: bool,
) -> Outcome:
    amendment, study = open_study(folder)
    rows, newest_flush = read_to_continue(folder)
    history = History.fold(rows)
    session = f"s{history.sessions + 1:04d}"
    lock.name_session(session)
    machine = this_machine(look_for_gpus=study.resources.gpus > 0)
    if isinstance(address, Here) and (found := unfit(machine, study.resources)):
        raise StudyFileError(found)  # the study came from a larger machine
    writer = RecordWriter(folder, session=session, after=newest_flush, may_write=lock.confirm)
    conductor = Conductor(
        study,
        history,
        writer,
        session=session,
        known=known_for(study, folder),
        tell=lambda text: progress.note(f"{text[0].upper()}{text[1:]}."),
    )
    if conductor.finished and history.state is StudyState.COMPLETED:
        return Outcome.of(StudyState.COMPLETED, history, "nothing left to run")
    check_same(check_data(study), folder)
    conductor.agenda.trained = trained_teachers(study, folder)
    meter = Meter(study, history, session)
    spent = meter.spent or (conductor.agenda.spent if conductor.at_rest else None)
    if spent is not None and not conductor.finished:
        raise ThermotuneError(
            f"the budget of {study.name} must leave something to do; used: {spent}. {more(study.name, spent)}"
        )

    def head_away(lost: bool) -> None:
        progress.phase(SILENT)
        if lost:
            progress.note("It has not for half a minute: the study stops.")
            stop.give_up(SILENT)

    fleet, terms = Fleet.of_machine(machine, study.resources), None
    if isinstance(address, Cluster):
        try:
            until_the_end.enter_context(joined_ray(address, progress, stop, verbose=verbose))
            fleet = until_the_end.enter_context(Fleet.of_cluster(study.resources, head_away))
            remarks = preflight(study, folder.parent, fleet.nodes, stop.checking(progress.phase))
        except Interrupted as interruption:
            return Outcome.of(StudyState.INTERRUPTED, history, str(interruption))
        for remark in remarks:
            progress.note(f"{remark[0].upper()}{remark[1:]}.")
        terms = until_the_end.enter_context(terms_of(folder, study.recipe.dataset))
    facts = {"slots": fleet.fits(conductor.shares.usual), "amendment": amendment, **_session_facts(fleet)}
    for line in news(rows, facts["environment"], amendment):
        progress.note(line)
    conductor.records.session(StudyState.RUNNING, **facts)
    mirror = _start_mirror(folder, progress)
    progress.watch(conductor)

    def close(state: StudyState, reason: str) -> None:
        conductor.records.session(state, reason=reason, wall_time_s=meter.session_s, **facts)
        writer.close()

    def last_words(why: str) -> None:
        close(StudyState.INTERRUPTED, why)
        lock.release()

    def between_events() -> bool:
        stop.check()
        if lock.lost:
            raise ThermotuneError(f"another driver took {study.name} over, because this one gave no sign of life")
        if meter.spent is not None:
            raise BudgetUsedUp(f"budget used up: {meter.spent}")
        if (why := conductor.agenda.blocked) is not None:
            raise StudyBlocked(f"{study.name} cannot go on, because {why}")
        if isinstance(folder, RemotePath) and lock.unreachable_s > TROUBLE_S:
            raise OSError(f"no answer for {lock.unreachable_s:.0f} s")  # and no row had to be written
        writer.flush_if_due()
        progress.update(fleet.waits_for(idle=bool(conductor.active) and conductor.running == 0))
        return writer.waiting == 0

    sweep(folder, history)
    storage = scratch(folder) / "tune"
    shutil.rmtree(storage, ignore_errors=True)  # what Ray Tune of a killed session left behind
    stop.last_words = last_words
    state, reason, used_up = StudyState.COMPLETED, "nothing left to run", False
    try:
        if not conductor.finished:
            if isinstance(address, Here):
                at_once = fleet.fits(study.resources.gpus) * study.resources.cpus
                used = replace(machine, cpus=min(machine.cpus, math.ceil(at_once)))  # Ray starts a worker for each core
                until_the_end.enter_context(local_ray(used, progress, stop, verbose=verbose))
            from search.tune import run_trials

            run_trials(
                conductor,
                folder,
                storage=storage,
                session=session,
                fleet=fleet,
                terms=terms,
                between_events=between_events,
                verbose=verbose,
            )
        if isinstance(folder, RemotePath):
            patiently(writer.flush)
        if not conductor.finished:
            raise BudgetUsedUp(f"budget used up: {conductor.agenda.spent}")
    except Interrupted as interruption:
        state, reason = StudyState.INTERRUPTED, str(interruption)
        used_up = isinstance(interruption, BudgetUsedUp)
    except Exception as error:
        if not lock.lost:
            with contextlib.suppress(OSError, Held):  # the error itself may be that nothing can be written
                close(StudyState.INTERRUPTED, f"{type(error).__name__}: {error}"[:500])
        raise
    stop.done()
    close(state, reason)  # before Ray stops, which takes seconds, and may never end where a signal hit Ray too
    until_the_end.close()
    shutil.rmtree(storage, ignore_errors=True)
    sweep(folder, history)
    for line in repeated(history, session):
        progress.note(line)
    return Outcome.of(state, history, reason, budget=used_up, mirror=mirror)


def _start_mirror(folder: Place, progress: Progress) -> subprocess.Popen[bytes] | None:
    """Starts the process that keeps MLflow up to date; it ends by itself, soon after the driver."""
    if isinstance(folder, RemotePath) and not os.environ.get("MLFLOW_TRACKING_URI"):
        progress.note(f"MLflow is off: its database cannot lie on {SCHEME}. To use it, set MLFLOW_TRACKING_URI.")
        return None
    with (scratch(folder) / "mlflow.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "results.tracking", str(folder), "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is for the driver
        )


def _session_facts(fleet: Fleet) -> dict[str, Any]:
    environment = {**collect(), **fleet.facts}
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": shlex.join(environment["command"]),
        "environment": json.dumps(environment),
    }
