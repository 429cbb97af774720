"""The command line. Data goes to stdout, everything else to stderr; heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from results.places import Place, scratch
from search import (
    data_cli,
    doctor_cli,
    insight_cli,
    jobs_cli,
    models_cli,
    plan_cli,
    query_cli,
    recipes_cli,
    report_cli,
    teachers_cli,
    tracking_cli,
)
from search.address import AddressOption, Cluster, Here, JobServer, address_of
from search.errors import EXIT_RESUMABLE, ThermotuneError, UsageError
from search.options import (
    ROOT,
    ROOT_VARIABLE,
    FileArgument,
    RootOption,
    SetOption,
    StudyArgument,
    VerboseOption,
)
from search.terminal import command_prefix, look, resume_command

if TYPE_CHECKING:
    from search.study_file import LoadedStudy

WAIT_FOR_MIRROR_S = 30.0

app = typer.Typer(
    name="thermotune",
    epilog="Start with: thermotune submit digits-beta",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(teachers_cli.app, name="teachers")
app.add_typer(data_cli.app, name="data")
app.add_typer(recipes_cli.app, name="recipes")
app.command(epilog="Examples: thermotune models | thermotune models resnet-20 --classes 100")(models_cli.models)
app.command(epilog=plan_cli.EPILOG)(plan_cli.plan)
app.command(epilog=doctor_cli.EPILOG)(doctor_cli.doctor)
app.command(epilog=insight_cli.EXPLAIN_EPILOG)(insight_cli.explain)
app.command(epilog=insight_cli.REPLAY_EPILOG)(insight_cli.replay)
app.command(epilog=insight_cli.COMPARE_EPILOG)(insight_cli.compare)
app.command(epilog=query_cli.QUERY_EPILOG)(query_cli.query)
app.command(epilog=query_cli.EXPORT_EPILOG)(query_cli.export)
app.command(epilog=query_cli.STATUS_EPILOG)(query_cli.status)
app.command(epilog=jobs_cli.LOGS_EPILOG)(jobs_cli.logs)
app.command(epilog=jobs_cli.STOP_EPILOG)(jobs_cli.stop)
app.command(epilog=tracking_cli.SYNC_EPILOG)(tracking_cli.sync)
app.command(epilog=tracking_cli.REGISTER_EPILOG)(tracking_cli.register)
app.command(epilog=tracking_cli.UI_EPILOG)(tracking_cli.ui)
app.command(epilog=report_cli.BEST_EPILOG)(report_cli.best)
app.command(epilog=report_cli.REPORT_EPILOG)(report_cli.report)
app.command(epilog=report_cli.THEORY_EPILOG)(report_cli.theory)
app.command(epilog=report_cli.WATCH_EPILOG)(report_cli.watch)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("thermotune"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    root: Annotated[str | None, typer.Option("--root", help="As --root of the command.", show_default=False)] = None,
) -> None:
    """Finds the softmax temperature at which a classifier learns best, and proves it."""
    if root is not None:
        os.environ[ROOT_VARIABLE] = root  # where the command's own option looks


@app.command(epilog="Example: thermotune studies")
def studies() -> None:
    """List the packaged studies."""
    from search.study_file import packaged

    for name, purpose in packaged().items():
        typer.echo(f"{name:20} {purpose}")


@app.command(epilog="Example: thermotune losses")
def losses() -> None:
    """List the losses with their parameters, ranges, defaults and sources."""
    from search.losses import describe

    typer.echo(describe(width=look()["width"]), nl=False)


@app.command(epilog="Example: thermotune validate my-study.yaml --show")
def validate(
    file: FileArgument,
    overrides: SetOption = None,
    address: AddressOption = None,
    show: Annotated[bool, typer.Option("--show", help="Print every value and where it comes from.")] = False,
) -> None:
    """Check a study file, and report all its mistakes at once."""
    from search.study_file import load
    from trainables.values import flatten

    loaded = load(file, overrides or [], here=isinstance(address_of(address), Here))
    _say_remarks(loaded)
    if show:
        for key, value in flatten(loaded.study.model_dump(mode="json", by_alias=True)).items():
            typer.echo(f"{key:34} {value!s:30} {loaded.origins[key]}")
    else:
        arms = ", ".join(f"{loaded.study.planned_trials(arm)} trials of arm {arm}" for arm in loaded.study.arms)
        teachers = loaded.study.needed_teachers
        first = f" after the teachers {', '.join(teachers)}" if teachers else ""
        say(f"{loaded.study.name} is valid: {arms}{first}.")


@app.command(
    epilog="Examples: thermotune submit digits-beta | thermotune submit mine.yaml -s search.trials=12 -s name=try | "
    "thermotune --root s3://lab/runs submit mine.yaml --address http://head:8265"
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
    _say_remarks(loaded)
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
                say(f"note: {remark}")
        return create(loaded.study, root, data)

    _run(make, root, loaded.study.name, where, verbose)


@app.command(
    epilog="Examples: thermotune resume digits-beta | thermotune resume digits-beta --trials +20 | "
    "thermotune resume mine -s budget.wall_hours=8 -s 'space.loss.beta={log: [0.1, 1]}' | "
    "thermotune --root s3://lab/runs resume mine --address http://head:8265"
)
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
            for line in amend(folder, more_trials=more, overrides=overrides or [], say=say, here=here):
                say(f"amended: {line}")
        return folder

    _run(find, root, study, where, verbose)


@app.command(epilog="Example: thermotune train digits-beta t0042 --seed 7 --save model.pt")
def train(
    study: StudyArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Name of a trial, for example t0042.")],
    root: RootOption = ROOT,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; the trial's own if left out.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the trained model's state_dict here.")] = None,
) -> None:
    """Train one recorded trial again, here and without Ray, and compare with what the records say."""
    from results.facts import find_study
    from search.retrain import retrain

    for line in retrain(find_study(root, study), trial, seed=seed, save=save):
        typer.echo(line)


def _say_remarks(loaded: LoadedStudy) -> None:
    from search.progress.job_log import in_job

    for remark in () if in_job() else loaded.remarks:  # a job's were said where it was sent from
        say(f"note: {remark}")


def say(text: str) -> None:
    """A line for the user, on stderr."""
    typer.echo(text, err=True)


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
        say(farewell)
        sys.stdout.flush()
        os._exit(EXIT_RESUMABLE)  # where the signal hit Ray as well, its clean-up at exit would hang
    from results.report import render_summary, write_files

    report, page = write_files(folder, command=command)
    shown.result(render_summary(report, **look()))
    say(f"\nThe whole report: {command} report {name}\nAs a page: {page.absolute()}")
    if outcome.mirror is not None:
        say(_await_mirror(outcome.mirror, folder, f"{command} sync {name}"))
    if outcome.budget:
        from search.budget import more

        say(f"\nStopped: {outcome.reason}. {more(name, outcome.reason)}")
        raise typer.Exit(EXIT_RESUMABLE)
    if not outcome.any_completed:
        raise typer.Exit(report_cli.EXIT_NOTHING_SUCCEEDED)


def _await_mirror(mirror: subprocess.Popen[bytes], folder: Place, command: str) -> str:
    """Gives MLflow a moment to get everything, and says whether it did."""
    try:
        if mirror.wait(timeout=WAIT_FOR_MIRROR_S) == 0:
            return "MLflow is up to date."
        problem = (scratch(folder) / "mlflow.log").read_text(encoding="utf-8").strip()
    except subprocess.TimeoutExpired:
        problem = "MLflow is still being brought up to date, in the background"
    return f"{problem}\nThe records are complete. To bring MLflow up to date later:\n  {command}"


def main() -> NoReturn:
    """The command ``thermotune``: every mistake of a user, and every failure of a disk, becomes a message."""
    from results.errors import ResultsError
    from results.places import reason
    from spaces import SpaceError

    try:
        app()
    except ThermotuneError as error:
        _end(str(error), error.exit_code)
    except (ResultsError, SpaceError) as error:
        _end(str(error), 1)
    except OSError as error:
        what = f"{error.filename}" if error.filename else "a file or the output"
        _end(f"{what} cannot be read or written ({reason(error)}). Mend that, then try again", 1)
    raise AssertionError("typer ends the process")


def _end(message: str, code: int) -> NoReturn:
    say(f"thermotune: {message}")
    try:
        sys.stdout.flush()
    except OSError:  # a full disk; Python would try again at the very end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
