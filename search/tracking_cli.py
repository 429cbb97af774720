"""The commands ``thermotune sync``, ``register`` and ``ui``: the copy in MLflow, and the models there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from search.browser import open_page
from search.errors import UsageError
from search.options import ROOT, RootOption, StudyArgument
from search.terminal import command_prefix

SYNC_EPILOG = "Examples: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 thermotune sync mine | thermotune sync mine --check"
REGISTER_EPILOG = (
    "Examples: thermotune register digits-beta | thermotune register digits-beta --name digits --seed 1002"
)
UI_EPILOG = "Examples: thermotune ui | thermotune ui digits-beta --open"

_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w. -]{0,199}")


def sync(
    study: StudyArgument,
    root: RootOption = ROOT,
    check: Annotated[
        bool, typer.Option("--check", help="Compare only, and send nothing. Ends with 1 if anything differs.")
    ] = False,
) -> None:
    """Make MLflow hold what a study's records say, or compare what it holds with them.

    Sends what MLflow lacks. A run with a wrong value or parameter, which MLflow cannot change, is made anew.
    """
    from results.facts import find_study
    from results.tracking import check as compare
    from results.tracking import sync as bring_up_to_date

    folder, command = find_study(root, study), command_prefix(root)
    if not check:
        typer.echo(str(bring_up_to_date(folder, command=command)), err=True)
        return
    found = compare(folder, command=command)
    typer.echo(str(found))
    if found.differences:
        raise typer.Exit(1)


def register(
    study: StudyArgument,
    root: RootOption = ROOT,
    name: Annotated[str | None, typer.Option(help="Name of the model; that of the study if left out.")] = None,
    trial: Annotated[
        str | None,
        typer.Option(metavar="TRIAL", help="A confirmed trial, or one of its confirm trials; the best if left out."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Confirm seed; the one with the median validation value if left out.")
    ] = None,
) -> None:
    """Register a confirmed network as a model in MLflow, with what it is and what it achieved.

    The model takes pixels as the data set has them (or token ids) and gives logits, whose softmax is what the study
    measured.
    """
    if name is not None and not _MODEL_NAME.fullmatch(name):
        raise UsageError(f"--name must be letters, digits, '.', '_', '-' and spaces, up to 200, got {name!r}")
    from results.environment import mask
    from results.facts import find_study
    from results.tracking import default_uri
    from search.registering import register as put_into_registry

    folder = find_study(root, study)
    model, what = put_into_registry(folder, name=name, trial=trial, seed=seed, command=command_prefix(root))
    done = "Registered" if model.new else "It is registered already:"
    typer.echo(f"{done} {what}\nTo load it where MLFLOW_TRACKING_URI is {mask(default_uri(folder))}:", err=True)
    typer.echo(f'  mlflow.pytorch.load_model("{model.uri}")', err=True)
    typer.echo("It is in evaluation mode already: do not call eval(), which such a model does not have.", err=True)
    typer.echo(model.uri)


def ui(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="All of the root if left out.")] = None,
    root: RootOption = ROOT,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where to listen; a free port if left out.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show the curves of every trial in MLflow's own pages, on this machine only; Ctrl-C ends it."""
    from results.facts import find_study
    from results.places import scratch
    from results.tracking import Tracker, is_server
    from search.tracking_ui import free_port, link, serving, until_stopped

    folder = None if study is None else find_study(root, study)
    command = command_prefix(root)
    tracker = Tracker(folder or root / "-", then=f"{command} ui" + (f" {study}" if study else ""))
    if is_server(tracker.uri):
        address = link(tracker.uri, tracker, folder)  # asks the server
        typer.echo("MLflow runs already, where MLFLOW_TRACKING_URI says:", err=True)
        typer.echo(address)
        if show:
            open_page(address)
        return
    store = Path(tracker.uri.removeprefix("sqlite:///"))
    if tracker.uri.startswith("sqlite:") and not store.exists():
        raise UsageError(
            f"MLflow must have a copy of a study to show, but there is no {store}. Make one: {command} sync STUDY"
        )
    port = free_port(port)
    typer.echo("Starting MLflow ...", err=True)
    with serving(tracker.uri, scratch(root), port) as started:
        address = link(started, tracker, folder)
        typer.echo(address)
        typer.echo("Ctrl-C ends it.", err=True)
        if show:
            open_page(address)
        until_stopped()
