"""The commands ``thermotune logs`` and ``stop``, and being attached to a job."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Annotated

import typer

from results.places import Place
from search.address import Address, AddressOption, JobServer, address_of
from search.errors import ThermotuneError, UsageError
from search.options import ROOT, RootOption, StudyArgument
from search.terminal import command_prefix, resume_command

if TYPE_CHECKING:
    from search.jobs.jobs import Order
    from search.jobs.server import JobServer as Server

LOGS_EPILOG = "Example: thermotune logs digits-beta -f --address http://head:8265"
STOP_EPILOG = "Examples: thermotune stop digits-beta | thermotune stop digits-beta --address http://head:8265"

EXIT_CTRL_C = 130
STOP_WAIT_S = 120.0
"""A driver of this machine gets so long to save before this command ends; it may still be saving then."""

NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="With a job server: only start the job, and do not stay attached.")
]


def logs(
    study: StudyArgument,
    root: RootOption = ROOT,
    address: AddressOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends, as submit does.")] = False,
) -> None:
    """Show what the newest job of a study wrote; with -f be attached to it, and end with the driver's exit code."""
    from search.jobs import jobs, server

    there = server.JobServer(_server_named(address, "logs"))
    job = jobs.find(there, study, None if root == ROOT else root)
    if follow:
        _attach(there, job.id)
        return
    from rich.console import Console

    from search.jobs.following import farewell
    from search.jobs.log import JobLogReader
    from search.progress import Display

    reader = JobLogReader(Display(Console(force_terminal=False)))  # the log is what was asked for: stdout
    reader.take(there.log(job.id))
    reader.close()
    if not job.is_active:
        _say(farewell(job, saved=reader.saved, resume=_resume(job.root, study, there.url)))
        _say(f"Job {job.id} ended: {job.state}.")


def stop(study: StudyArgument, root: RootOption = ROOT, address: AddressOption = None) -> None:
    """Stop a running study in order: everything is saved, and resume continues it."""
    where = address_of(address)
    if isinstance(where, JobServer):
        _stop_job(where.url, study, None if root == ROOT else root)
    else:
        _stop_here(root, study)


def place_to_run(address: str | None, *, no_wait: bool) -> Address:
    """Where a study is to run.

    Args:
        address: As for ``address_of``.
        no_wait: Only a job can be left alone.

    Raises:
        UsageError: The address is none, or ``--no-wait`` was given without a job server.
    """
    where = address_of(address)
    if no_wait and not isinstance(where, JobServer):
        raise UsageError(
            "--no-wait must come with a job server, which keeps a study running without this command. For example: "
            "--address http://head:8265"
        )
    return where


def run_as_job(url: str, order: Order, *, wait: bool) -> None:
    """Starts a driver on a cluster, and stays attached to it.

    Args:
        url: Of the job server.
        order: What it is to do.
        wait: Whether to stay attached.

    Raises:
        typer.Exit: With the driver's exit code, if that is not 0.
    """
    from search.jobs import jobs, server, variables

    jobs.check_root(order.root)
    there = server.JobServer(url)
    if (remark := variables.only_here()) is not None:
        _say(f"note: {remark}.")
    name = jobs.start(there, order, _say)
    if wait:
        _say(f"Started job {name} at {url}. Ctrl-C leaves it running.")
        _attach(there, name)
        return
    _say(f"Started job {name} at {url}.\n{_commands(order.study, url)}")
    typer.echo(name)


def _attach(there: Server, name: str) -> None:
    """Shows a job until it ends, and ends as it does."""
    from rich.console import Console

    from search.jobs import following
    from search.progress import Display

    study, root = (job := there.job(name)).study, job.root
    try:
        with Display(Console(stderr=True)) as display:
            ended, reader = following.follow(there, name, display)
    except KeyboardInterrupt:
        _say(f"\nDetached. The study goes on.\n{_commands(study, there.url)}")
        raise typer.Exit(EXIT_CTRL_C) from None
    except ThermotuneError as error:
        _say(f"What was recorded is safe. If the job is gone, continue with:\n  {_resume(root, study, there.url)}")
        raise error
    _say(following.farewell(ended, saved=reader.saved, resume=_resume(root, study, there.url)))
    if code := following.exit_code(ended):
        raise typer.Exit(code)


def _stop_job(url: str, study: str, root: Place | None) -> None:
    from search.jobs import jobs, server
    from search.jobs.log import SAVED

    there = server.JobServer(url)
    job = jobs.find(there, study, root)
    if not job.is_active:
        raise UsageError(
            f"there must be a running job of {study} to stop, but the newest, {job.id}, has ended: {job.state}"
        )
    _say(f"Stopping job {job.id}; its driver saves what is running ...")
    try:
        ended = jobs.stop(there, job)
    except KeyboardInterrupt:
        _say(f"\nThe job has been asked to stop, and will. See: thermotune status {study} --address {url}")
        raise typer.Exit(EXIT_CTRL_C) from None
    resume = _resume(job.root, study, url)
    if ended.state != "STOPPED":
        _say(f"Job {job.id} came to its end before: {ended.state}.")
    else:
        _say(_stopped(study, resume, saved=SAVED in there.log(job.id)))


def _stop_here(root: Place, study: str) -> None:
    from results.facts import find_study
    from results.lock import holder
    from results.query import StudyView
    from results.schema import StudyState

    folder = find_study(root, study)
    driver = holder(folder)
    if driver is None:
        raise UsageError(f"there must be a driver to stop, but none works on {study} (root {root})")
    if not driver.pid:
        raise UsageError(
            f"the lock of {study} must say which process to stop, but {folder / 'lock'} cannot be read. If a driver "
            "works, stop it with Ctrl-C where it runs; if none does, the lock is void in a minute"
        )
    if not driver.is_here:
        raise UsageError(
            f"the driver of {study} must run on this machine to be stopped from here, but it is {driver}. Stop it "
            f"there: kill {driver.pid}. If it is a job of a cluster, name the job server with --address"
        )
    _say(f"Stopping {driver}; it saves what is running ...")
    try:
        os.kill(driver.pid, signal.SIGTERM)
    except PermissionError as error:
        raise UsageError(
            f"only who started a driver can stop it, but process {driver.pid} is not yours. Ask its user, or "
            f"an administrator: sudo kill {driver.pid}"
        ) from error
    except ProcessLookupError:  # it came to its end just now
        pass
    deadline = time.monotonic() + STOP_WAIT_S
    while (now := holder(folder)) is not None and now.token == driver.token:
        if time.monotonic() > deadline:
            raise ThermotuneError(
                f"the driver of {study} should have ended after {STOP_WAIT_S:.0f} s, but process {driver.pid} still "
                f"runs. To end it on the spot: kill -9 {driver.pid}. Nothing that was recorded is lost by that"
            )
        time.sleep(0.2)
    view = StudyView(folder)
    if view.state is StudyState.COMPLETED:
        _say(f"{study} came to its end before.")
        return
    saved = bool(view.sessions) and view.sessions[-1].ended_at is not None
    _say(_stopped(study, resume_command(root, study, None), saved=saved))


def _stopped(study: str, resume: str, *, saved: bool) -> str:
    how = ", and everything is saved." if saved else ". What was recorded is safe, the rest will be repeated."
    return f"{study} is stopped{how} Continue with:\n  {resume}"


def _server_named(address: str | None, command: str) -> str:
    where = address_of(address)
    if isinstance(where, JobServer):
        return where.url
    raise UsageError(
        f"{command} shows what a job of a cluster wrote, so --address must be a job server such as http://head:8265. "
        "To look at a study of this machine: thermotune watch or thermotune status"
    )


def _resume(root: str, study: str, url: str) -> str:
    from results.places import place

    return resume_command(place(root), study, url)


def _commands(study: str, url: str) -> str:
    """What can be done with a job that runs."""
    prefix = command_prefix(ROOT)
    return (
        f"To watch it: {prefix} logs {study} -f --address {url}\n"
        f"To look at it: {prefix} status {study} --address {url}\n"
        f"To stop it: {prefix} stop {study} --address {url}"
    )


def _say(text: str) -> None:
    if text:
        typer.echo(text, err=True)
