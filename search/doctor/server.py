"""A cluster seen through its job server: what can be told from here, then the doctor's own job on the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console

from results.environment import mask
from results.places import Place
from search.doctor.check import CLIENT, Check, State, explained, failed, ok
from search.errors import ThermotuneError
from search.jobs.following import follow
from search.jobs.jobs import Order, check_root, check_versions, start
from search.jobs.package import STUDY_FILE
from search.jobs.server import JobServer
from search.progress import Display
from search.study import Study

_JOB = "doctor"


def look_at_server(url: str, root: Place, checks: Sequence[Check], study: Study | None) -> list[Check]:
    """Looks at a cluster from outside, then from its head.

    Args:
        url: Of the job server.
        root: Folder of all studies, as the cluster sees it.
        checks: Of the study file.
        study: Whose needs are looked at too; None for no study in particular.
    """
    wrong = [check for check in checks if check.state is State.FAILED]  # what is right is said by the job
    found = [replace(check, node=CLIENT) for check in (*wrong, *_from_here(url, root))]
    if any(check.state is State.FAILED for check in found):
        return found
    try:
        return [*found, *_from_head(url, root, study)]
    except ThermotuneError as error:
        return [*found, replace(explained("job", error), node=CLIENT)]


def _from_here(url: str, root: Place) -> Iterator[Check]:
    """Whether the server answers, knows us, and runs the Ray that is installed here."""
    try:
        server = JobServer(url)
        version = server.ray_version()
        yield ok("job server", f"{url} answers, and accepts the token")
        check_versions(server)
        yield ok("Ray", f"{version} there and here")
    except ThermotuneError as error:
        yield explained("job server", error)
    try:
        check_root(root)
    except ThermotuneError as error:
        yield explained("root", error)


def _from_head(url: str, root: Place, study: Study | None) -> list[Check]:
    """What the doctor finds that is sent to the cluster as a job."""
    server = JobServer(url)
    file = None if study is None else study.to_yaml()
    arguments = [*([] if file is None else [STUDY_FILE]), "--format", "json"]
    report = _Report(Console(stderr=True))
    with report:
        name = start(server, Order(_JOB, root, "doctor", arguments, file), report.note)
        job, _ = follow(server, name, report)
    try:
        return [Check(**{**check, "state": State(check["state"])}) for check in json.loads(report.text)]
    except (ValueError, TypeError, KeyError):  # killed before, or while it wrote
        said = (job.message.strip().splitlines() or [""])[0]
        remedy = f"See its log: thermotune logs {_JOB} --address {url}"
        return [failed("job", f"{name} ended without a report ({job.state}: {mask(said)})", remedy)]


class _Report(Display):
    """Keeps the result instead of showing it."""

    text = ""

    def result(self, text: str) -> None:
        """The job's report, as JSON."""
        self.text = text
