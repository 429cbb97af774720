"""The command ``thermotune plan``: what a study will take, said before it starts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.options import ROOT, FileArgument, RootOption, SetOption

if TYPE_CHECKING:
    from search.study import Study

EPILOG = (
    "Examples: thermotune plan digits-beta | thermotune plan mine.yaml -s search.trials=200 --no-probe | "
    "thermotune plan mine.yaml --from digits-beta --format json"
)

ProbeOption = Annotated[
    bool, typer.Option("--probe/--no-probe", help="Train a little of every kind of trial, to know the times.")
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="STUDY", help="Take the times from the records of this study instead."),
]
PlanFormatOption = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to write it.")]


def plan(
    file: FileArgument,
    root: RootOption = ROOT,
    overrides: SetOption = None,
    probe: ProbeOption = True,
    earlier: FromOption = None,
    form: PlanFormatOption = "table",
) -> None:
    """Say what a study will take, before anything starts: trials, epochs, hours, disk, and what runs at once.

    Expected is how the stopping rule usually works out, worst is that it stops nobody.

    Times come from a probe of less than a minute for small recipes, in as many processes as there will be trials.
    """
    from rich.console import Console

    from search.planning.as_json import as_json
    from search.planning.as_text import as_text
    from search.planning.plan import plan as plan_study
    from search.study_file import load

    loaded = load(file, overrides or [])
    folder = None
    if earlier is not None:
        from results.facts import find_study

        folder = find_study(root, earlier)
    if probe or folder is not None:
        _require_data(loaded.study)
    with _spoken() as say:
        found = plan_study(loaded.study, root, probe=probe, earlier=folder, say=say)
    if form == "json":
        typer.echo(json.dumps({**as_json(found), "notes": list(loaded.remarks)}, indent=2))
    else:
        typer.echo(as_text(found, loaded.remarks, width=Console().width), nl=False)


def _require_data(study: Study) -> None:
    from search.data import check_data
    from search.data_cli import progress_bar

    with progress_bar() as progress:
        check_data(study, progress)


@contextlib.contextmanager
def _spoken() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; it vanishes at the end."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(line) if console.is_terminal else console.print(line, highlight=False)
