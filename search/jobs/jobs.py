"""The jobs of a study: starting one, finding it again, and stopping it."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata

from results.places import Place, RemotePath
from search.errors import ThermotuneError, UsageError
from search.jobs.job import Job
from search.jobs.package import STUDY_FILE, pack
from search.jobs.server import JobServer
from search.jobs.variables import sent
from search.progress.job_log import JOB_VARIABLE
from search.settings import NAME_PATTERN
from search.terminal import SERVER_VARIABLE

STOP_WAIT_S = 120
"""A driver gets so long to save after it was asked to stop, then Ray kills it; Ray's own is 3 s."""
KILL_WAIT_S = 30
"""Ray gets so long to kill it."""
LOOK_EVERY_S = 0.5
_DRIVING = {"submit", "resume"}
"""Commands that drive a study."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a job is to do.

    Attributes:
        study: Name of the study.
        root: Of all studies, on storage that every node sees.
        kind: The command: ``submit``, ``resume``, or one that drives no study.
        arguments: Of that command, without the root and the address.
        study_file: For ``submit``: the resolved study.
    """

    study: str
    root: Place
    kind: str
    arguments: Sequence[str]
    study_file: str | None = None


class NoJob(UsageError):
    """The cluster knows no job of a study."""


def check_root(root: Place) -> None:
    """Makes sure that all nodes can mean the same folder by a root.

    Raises:
        UsageError: They cannot.
    """
    if not isinstance(root, RemotePath) and not root.is_absolute():
        raise UsageError(
            "on a cluster the root must be s3://bucket/prefix, or the full path of a folder that all nodes share, got "
            f"{root}. Name it with --root or THERMOTUNE_ROOT"
        )


def check_versions(server: JobServer) -> None:
    """Makes sure that the cluster runs the Ray that is installed here, as its interfaces change between versions.

    Raises:
        UsageError: It runs another.
    """
    here, there = metadata.version("ray"), server.ray_version()
    if here != there:
        raise UsageError(
            f"the cluster must run the version of Ray that is installed here, which is {here}, but {server.url} runs "
            f'{there}. Install the same, here with pip install "ray[default,tune]=={there}"'
        )


def start(server: JobServer, order: Order, say: Callable[[str], None]) -> str:
    """Sends the code and starts a job.

    Args:
        server: Of the cluster.
        order: What the job is to do.
        say: Tells the user which variables of the environment go along.

    Returns:
        The job's id.

    Raises:
        UsageError: A job of the study waits or runs; the server does not accept the token; ...
        ServerAway: The job server does not answer.
    """
    _check_name(order.study)
    check_versions(server)
    package = pack({} if order.study_file is None else {STUDY_FILE: order.study_file})
    told = {"study": order.study, "root": str(order.root), "kind": order.kind}
    command = [order.kind, *order.arguments, "--root", str(order.root), "--address", "auto"]
    jobs = [job for job in server.jobs() if job.study == order.study]
    _refuse_a_second(jobs, order, server.url)
    name = next_name(order.study, [job.id for job in jobs])
    variables = {
        **sent(say),
        JOB_VARIABLE: name,
        SERVER_VARIABLE: server.url,
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
        "COLUMNS": str(shutil.get_terminal_size().columns),  # how wide the summary may be
    }
    server.upload(package.uri, package.content)
    entrypoint = f"exec sh search/jobs/start.sh {shlex.join(command)}"
    try:
        server.submit(name, entrypoint, package=package.uri, variables=variables, metadata=told)
    except FileExistsError as error:
        raise UsageError(
            f"a job's id must be new, but {name} is taken at {server.url}: somebody has just started this study, or "
            f"another program uses the name. Look: thermotune status --address {server.url}"
        ) from error
    return name


def next_name(study: str, taken: Sequence[str]) -> str:
    """The id of a study's next job: the study's name and a number.

    Example:
        >>> next_name("digits-beta", ["digits-beta-1", "digits-beta-9"])
        'digits-beta-10'
    """
    numbers = [int(found[1]) for name in taken if (found := re.fullmatch(rf"{re.escape(study)}-(\d+)", name))]
    return f"{study}-{max(numbers, default=0) + 1}"


def find(server: JobServer, study: str, root: Place | None) -> Job:
    """The newest job of a study, or the one that is active.

    Args:
        server: Of the cluster.
        study: Its name.
        root: None: whichever there is.

    Raises:
        NoJob: There is no job of it.
        UsageError: It can be no study's name, or there are jobs of several roots and none is named.
    """
    _check_name(study)
    jobs = [job for job in server.jobs() if job.study == study and (root is None or job.root == str(root))]
    if not jobs:
        where = f" with root {root}" if root is not None else ""
        raise NoJob(
            f"{server.url} must have a job of the study, but knows none of {study}{where}. "
            "All that it knows: thermotune status --address " + server.url
        )
    found = [job for job in jobs if job.is_active] or jobs
    roots = sorted({job.root for job in found})
    if len(roots) > 1:
        raise UsageError(f"jobs of {study} must be told apart, as their roots are {', '.join(roots)}. Name one: --root")
    return found[-1]


def stop(server: JobServer, job: Job) -> Job:
    """Asks a driver to save and to end, and waits until it has.

    Returns:
        The job that has ended.

    Raises:
        ServerAway: The job server does not answer.
        ThermotuneError: It goes on although Ray should have killed it by now.
    """
    server.stop(job.id)
    deadline = time.monotonic() + STOP_WAIT_S + KILL_WAIT_S
    while (now := server.job(job.id)).is_active:
        if time.monotonic() > deadline:
            raise ThermotuneError(
                f"job {job.id} should have ended {STOP_WAIT_S + KILL_WAIT_S} s after it was asked to, but {server.url} "
                f"says that it is {now.state}. Look whether it writes: thermotune logs {job.study} --address "
                f"{server.url}. If not, end its driver on the head; nothing that was recorded is lost by that"
            )
        time.sleep(LOOK_EVERY_S)
    return now


def _check_name(study: str) -> None:
    if not re.fullmatch(NAME_PATTERN, study):
        raise UsageError(
            "a study of a cluster must be given by its name, not by a file: 1 to 64 letters, digits, dots, dashes and "
            f"underscores, the first a letter or digit, got {study!r}. The file has it as its name"
        )


def _refuse_a_second(jobs: Sequence[Job], order: Order, url: str) -> None:
    for job in jobs:
        if job.is_active and job.root == str(order.root) and {job.kind, order.kind} <= _DRIVING:
            at = f"{job.study} --address {url}"
            raise UsageError(
                f"one driver at a time works on a study, but job {job.id} of {job.study} is {job.state} at {url}. "
                f"Watch it: thermotune logs {at} -f. Stop it first: thermotune stop {at}"
            )
