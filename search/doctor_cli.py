"""The command ``thermotune doctor``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from results.places import Place
from search.address import AddressOption, Cluster, Here, JobServer, address_of
from search.errors import ThermotuneError
from search.options import ROOT, RootOption, TextFormatOption
from search.terminal import look

if TYPE_CHECKING:
    from search.doctor import Check
    from search.progress import Shown
    from search.study import Study

EPILOG = (
    "Examples: thermotune doctor | thermotune doctor my-study.yaml --root s3://lab/runs | "
    "thermotune doctor my-study.yaml --address http://head:8265"
)


def doctor(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="A study file, or a packaged study, whose needs are looked at too."),
    ] = None,
    root: RootOption = ROOT,
    address: AddressOption = None,
    form: TextFormatOption = "table",
) -> None:
    """Check that everything is there that a study needs, here or on every machine of a cluster.

    Exit code 1 if a check failed, and each says what to do.
    """
    from rich.console import Console

    from search.doctor import State, write
    from search.progress import Display, JobLog
    from search.progress.job_log import in_job

    with JobLog() if in_job() else Display(Console(stderr=True)) as shown:
        checks = _look(file, root, address, shown)
    shown.result(write(checks, form, **look()))
    if any(check.state is State.FAILED for check in checks):
        raise typer.Exit(1)


def _look(file: str | None, root: Place, address: str | None, shown: Shown) -> list[Check]:
    from search.doctor.here import look_at_driver, look_here, read_study

    where = address_of(address)
    checks, study = read_study(file, here=isinstance(where, Here))
    if isinstance(where, JobServer):
        from search.doctor.server import look_at_server

        return look_at_server(where.url, root, checks, study)
    shown.phase("looking at this machine")
    if isinstance(where, Cluster):
        return [*checks, *look_at_driver(root, study), *_look_at_cluster(where, root, study, shown)]
    return [*checks, *look_here(root, study)]


def _look_at_cluster(where: Cluster, root: Place, study: Study | None, shown: Shown) -> list[Check]:
    from search.doctor.check import explained
    from search.doctor.cluster import look_at_cluster
    from search.progress import Progress
    from search.ray_session import joined_ray, reach
    from search.stop import Interrupted, Stop

    try:
        reach(where)  # may wait long for nobody; Ctrl-C ends that at once, as long as Ray is not there to take it
        with (
            Stop("Stopped.", resumable=False) as stop,
            joined_ray(where, Progress(shown), stop, verbose=False),
        ):
            return look_at_cluster(root, study, stop.checking(shown.phase))
    except Interrupted as interruption:
        raise typer.Exit(128 + signal.Signals[str(interruption)]) from None
    except ThermotuneError as error:
        return [explained("cluster", error)]
