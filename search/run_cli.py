"""The commands ``thermotune submit`` and ``resume``: a study runs here, on a cluster, or as a job of one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from results.places import Place, scratch
from search import data_cli, jobs_cli
from search.address import AddressOption, Cluster, Here, JobServer
from search.errors import EXIT_RESUMABLE, ThermotuneError, UsageError
from search.options import ROOT, FileArgument, RootOption, SetOption, StudyArgument, VerboseOption
from search.report_cli import EXIT_NOTHING_SUCCEEDED
from search.study_cli import say_remarks
from search.terminal import command_prefix, look, resume_command

WAIT_FOR_MIRROR_S = 30.0
SUBMIT_EPILOG = (
    "Examples: thermotune submit digits-beta | thermotune submit mine.yaml -s search.trials=12 -s name=try | "
    "thermotune --root s3://lab/runs submit mine.yaml --address http://head:8265"
)
RESUME_EPILOG = (
    "Examples: thermotune resume digits-beta | thermotune resume digits-beta --trials +20 | "
    "thermotune resume mine -s budget.wall_hours=8 -s 'space.loss.beta={log: [0.1, 1]}' | "
    "thermotune --root s3://lab/runs resume mine --address http://head:8265"
)


def submit(
    file: FileArgument,
    root: RootOption = ROOT,
    overrides: SetOption = None,
    address: AddressOption = None,
    no_wait: jobs_cli.NoWaitOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Start a study: explore every arm, confirm the best on fresh seeds, report.

    With a job server the study runs there as a job. Code and study file go along.

    So do AWS_..., MLFLOW_... and THERMOTUNE_DATA, where they are set here. Ray
    shows their values to whoever has the token, and logs them on the nodes.
    """
    from search.study_file import load

    where = jobs_cli.place_to_run(address, no_wait=no_wait)
    loaded = load(file, overrides or [], here=isinstance(where, Here))
    say_remarks(loaded)
    if isinstance(where, JobServer):
        from search.jobs.jobs import Order
        from search.jobs.package import STUDY_FILE

        arguments = [STUDY_FILE, *(["-v"] if verbose else [])]
        order = Order(loaded.study.name, root, "submit", arguments, loaded.study.to_yaml())
        jobs_cli.run_as_job(where.url, order, wait=not no_wait)
        return
    with data_cli.progress_bar() as progress:
        from search.data import check_data

        data = check_data(loaded.study, progress)

    def make() -> Place:
        from search.folder import create
        from search.warm_start import gather

        if loaded.study.search.warm_start is not None:
            for remark in gather(loaded.study, root, data.digest).remarks:  # a mistake must not leave a study behind
                _say(f"note: {remark}")
        return create(loaded.study, root, data)

    _run(make, root, loaded.study.name, where, verbose)


def resume(
    study: StudyArgument,
    root: RootOption = ROOT,
    trials: Annotated[
        str | None, typer.Option("--trials", metavar="+N", help="Extend the study by N trials for every arm.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="KEY=VALUE",
            help="Amend the study: trials, sampler, stopping, confirm seeds, budget, resources, or a narrower space.",
        ),
    ] = None,
    address: AddressOption = None,
    no_wait: jobs_cli.NoWaitOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Continue a study from its records, wherever it was stopped or killed; amend it, or extend a finished one."""
    if trials is not None and (not re.fullmatch(r"\+[0-9]{1,9}", trials) or int(trials) == 0):
        raise UsageError(f"--trials must be + and a number of trials to add, got {trials!r}. For example: --trials +20")

    where = jobs_cli.place_to_run(address, no_wait=no_wait)
    if isinstance(where, JobServer):
        from search.jobs.jobs import Order

        more = [] if trials is None else ["--trials", trials]
        arguments = [study, *more, *(word for text in overrides or [] for word in ("-s", text))]
        order = Order(study, root, "resume", [*arguments, *(["-v"] if verbose else [])])
        jobs_cli.run_as_job(where.url, order, wait=not no_wait)
        return

    def find() -> Place:
        from results.facts import find_study

        folder = find_study(root, study)
        if trials is not None or overrides:
            from search.amending import amend

            more = None if trials is None else int(trials)
            here = isinstance(where, Here)
            for line in amend(folder, more_trials=more, overrides=overrides or [], say=_say, here=here):
                _say(f"amended: {line}")
        return folder

    _run(find, root, study, where, verbose)


def _run(folder_of: Callable[[], Place], root: Place, name: str, where: Here | Cluster, verbose: bool) -> None:
    """Runs a study with its display, then says how it ended and what can be done next."""
    from rich.console import Console

    from search.jobs.log import SAVED
    from search.progress import Display, JobLog, Progress
    from search.progress.job_log import in_job

    command, resume_it = command_prefix(root), resume_command(root, name)
    if isinstance(where, Cluster) and not in_job():
        resume_it = resume_command(root, name, where.address)
    farewell = f"{SAVED} Continue with:\n  {resume_it}"
    shown = JobLog() if in_job() else Display(Console(stderr=True))
    with Progress(shown) as progress:
        from results.errors import ResultsError
        from results.schema import StudyState
        from search.ray_session import reach
        from search.run import run

        try:
            if isinstance(where, Cluster):
                reach(where)  # before anything is written
            folder = folder_of()
            outcome = run(folder, progress, farewell=farewell, verbose=verbose, address=where)
        except (ThermotuneError, ResultsError):
            raise
        except Exception as error:  # of Ray, of the disk, or our own fault: the user needs to know how to go on
            if verbose:
                traceback.print_exc()
            cause = (str(error).strip().splitlines() or [""])[-1]
            raise ThermotuneError(
                f"the study had to stop: {type(error).__name__}: {cause}. What was recorded is safe. "
                f"Mend the cause (-v says more), then continue with: {resume_it}"
            ) from error
    if outcome.state is StudyState.INTERRUPTED and not outcome.budget:
        _say(farewell)
        sys.stdout.flush()
        os._exit(EXIT_RESUMABLE)  # where the signal hit Ray as well, its clean-up at exit would hang
    from results.report import render_summary, write_files

    report, page = write_files(folder, command=command)
    shown.result(render_summary(report, **look()))
    _say(f"\nThe whole report: {command} report {name}\nAs a page: {page.absolute()}")
    if outcome.mirror is not None:
        _say(_await_mirror(outcome.mirror, folder, f"{command} sync {name}"))
    if outcome.budget:
        from search.budget import more

        _say(f"\nStopped: {outcome.reason}. {more(name, outcome.reason)}")
        raise typer.Exit(EXIT_RESUMABLE)
    if not outcome.any_completed:
        raise typer.Exit(EXIT_NOTHING_SUCCEEDED)


def _await_mirror(mirror: subprocess.Popen[bytes], folder: Place, command: str) -> str:
    """Gives MLflow a moment to get everything, and says whether it did."""
    try:
        if mirror.wait(timeout=WAIT_FOR_MIRROR_S) == 0:
            return "MLflow is up to date."
        problem = (scratch(folder) / "mlflow.log").read_text(encoding="utf-8").strip()
    except subprocess.TimeoutExpired:
        problem = "MLflow is still being brought up to date, in the background"
    return f"{problem}\nThe records are complete. To bring MLflow up to date later:\n  {command}"


def _say(text: str) -> None:
    """A line for the user, on stderr."""
    typer.echo(text, err=True)
