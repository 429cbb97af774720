"""The command line: all commands, by what they are for, and what becomes of mistakes.

Data goes to stdout, everything else to stderr; heavy imports wait until a command needs them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

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
    run_cli,
    study_cli,
    teachers_cli,
    tracking_cli,
)
from search.errors import ThermotuneError
from search.options import ROOT_VARIABLE

PREPARE = "Prepare a study"
app = typer.Typer(
    name="thermotune",
    epilog="Start with: thermotune submit digits-beta",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


COMMANDS: dict[str, list[tuple[Callable[..., None], str]]] = {
    "Run a study": [
        (run_cli.submit, run_cli.SUBMIT_EPILOG),
        (run_cli.resume, run_cli.RESUME_EPILOG),
        (query_cli.status, query_cli.STATUS_EPILOG),
        (report_cli.watch, report_cli.WATCH_EPILOG),
        (jobs_cli.logs, jobs_cli.LOGS_EPILOG),
        (jobs_cli.stop, jobs_cli.STOP_EPILOG),
    ],
    "Read what was found": [
        (report_cli.best, report_cli.BEST_EPILOG),
        (report_cli.report, report_cli.REPORT_EPILOG),
        (insight_cli.compare, insight_cli.COMPARE_EPILOG),
        (insight_cli.explain, insight_cli.EXPLAIN_EPILOG),
        (insight_cli.replay, insight_cli.REPLAY_EPILOG),
        (query_cli.query, query_cli.QUERY_EPILOG),
        (query_cli.export, query_cli.EXPORT_EPILOG),
        (report_cli.theory, report_cli.THEORY_EPILOG),
        (insight_cli.train, insight_cli.TRAIN_EPILOG),
    ],
    "See it in MLflow": [
        (tracking_cli.ui, tracking_cli.UI_EPILOG),
        (tracking_cli.sync, tracking_cli.SYNC_EPILOG),
        (tracking_cli.register, tracking_cli.REGISTER_EPILOG),
    ],
    PREPARE: [
        (study_cli.studies, study_cli.STUDIES_EPILOG),
        (study_cli.validate, study_cli.VALIDATE_EPILOG),
        (plan_cli.plan, plan_cli.EPILOG),
        (doctor_cli.doctor, doctor_cli.EPILOG),
        (study_cli.losses, study_cli.LOSSES_EPILOG),
        (models_cli.models, "Examples: thermotune models | thermotune models resnet-20 --classes 100"),
    ],
}
for panel, commands in COMMANDS.items():
    for command, epilog in commands:
        app.command(epilog=epilog, rich_help_panel=panel)(command)
for name, group in {"recipes": recipes_cli.app, "data": data_cli.app, "teachers": teachers_cli.app}.items():
    app.add_typer(group, name=name, rich_help_panel=PREPARE)


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
    typer.echo(f"thermotune: {message}", err=True)
    try:
        sys.stdout.flush()
    except OSError:  # a full disk; Python would try again at the very end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
