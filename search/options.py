"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from results.errors import RootUnreadable
from results.places import Place, place
from search.errors import UsageError

ROOT_VARIABLE = "THERMOTUNE_ROOT"
DEFAULT_ROOT = "thermotune-runs"


def root_of(text: str | Place) -> Place:
    """The root that a user names.

    Raises:
        UsageError: It can be none.
    """
    try:
        return place(text)
    except RootUnreadable as error:
        raise UsageError(str(error)) from error


RootOption = Annotated[
    Any,  # a Place, but typer takes no unions
    typer.Option(
        "--root",
        envvar=ROOT_VARIABLE,
        metavar="FOLDER",
        parser=root_of,
        help="Folder of all studies, or s3://bucket/prefix.",
        show_default=DEFAULT_ROOT,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Override a value of the study file; may be repeated."),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Let Ray and Optuna say what they say.")]
FormatName = Literal["table", "json", "markdown", "html"]
TextFormatName = Literal["table", "json", "markdown"]
TextFormatOption = Annotated[TextFormatName, typer.Option("--format", "-f", help="How to write it.")]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study in the root.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A study file, or the name of a packaged study.")]
ROOT = Path(DEFAULT_ROOT)
