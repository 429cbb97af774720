"""The commands ``thermotune studies``, ``losses`` and ``validate``: what there is to run, and if it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from search.address import AddressOption, Here, address_of
from search.options import FileArgument, SetOption
from search.terminal import look

if TYPE_CHECKING:
    from search.study_file import LoadedStudy

STUDIES_EPILOG = "Example: thermotune studies"
LOSSES_EPILOG = "Example: thermotune losses"
VALIDATE_EPILOG = "Example: thermotune validate my-study.yaml --show"


def studies() -> None:
    """List the packaged studies."""
    from search.study_file import packaged

    for name, purpose in packaged().items():
        typer.echo(f"{name:20} {purpose}")


def losses() -> None:
    """List the losses with their parameters, ranges, defaults and sources."""
    from search.losses import describe

    typer.echo(describe(width=look()["width"]), nl=False)


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
    say_remarks(loaded)
    if show:
        for key, value in flatten(loaded.study.model_dump(mode="json", by_alias=True)).items():
            typer.echo(f"{key:34} {value!s:30} {loaded.origins[key]}")
    else:
        arms = ", ".join(f"{loaded.study.planned_trials(arm)} trials of arm {arm}" for arm in loaded.study.arms)
        teachers = loaded.study.needed_teachers
        first = f" after the teachers {', '.join(teachers)}" if teachers else ""
        typer.echo(f"{loaded.study.name} is valid: {arms}{first}.", err=True)


def say_remarks(loaded: LoadedStudy) -> None:
    """Says what is worth knowing about a study file; in a job it was said where the job was sent from."""
    from search.progress.job_log import in_job

    for remark in () if in_job() else loaded.remarks:
        typer.echo(f"note: {remark}", err=True)
