"""The commands ``thermotune best``, ``report``, ``theory`` and ``watch``: what a study found, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.browser import open_page
from search.errors import EXIT_RESUMABLE, UsageError
from search.options import ROOT, FormatName, RootOption, StudyArgument, TextFormatOption
from search.terminal import command_prefix, look

if TYPE_CHECKING:
    from results.places import Place
    from results.report import Format, Report

EXIT_NOTHING_SUCCEEDED = 3
EXIT_LEFT = 130
BEST_EPILOG = "Example: thermotune best digits-beta --format json"
REPORT_EPILOG = "Examples: thermotune report digits-beta --open | thermotune report digits-beta -o beta.html"
THEORY_EPILOG = "Example: thermotune theory digits-theory"
WATCH_EPILOG = "Examples: thermotune watch digits-beta | thermotune watch digits-beta --web --open"

_SUFFIXES: Mapping[str, str] = {".html": "html", ".json": "json", ".md": "markdown"}

OpenOption = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]


def best(study: StudyArgument, root: RootOption = ROOT, form: TextFormatOption = "table") -> None:
    """Show the best configuration, how sure it is, and how to train it again."""
    from results.facts import find_study
    from results.report import Format, build, render_best

    found = build(find_study(root, study), command=command_prefix(root))
    typer.echo(render_best(found, Format(form), **look()), nl=False)


def report(
    study: StudyArgument,
    root: RootOption = ROOT,
    form: Annotated[
        FormatName | None,
        typer.Option(
            "--format",
            "-f",
            help="How to write it. If left out: as the file's suffix says (.html, .json, .md), with --open a page, "
            "else a table.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it into a file.", show_default=False),
    ] = None,
    show: OpenOption = False,
) -> None:
    """Write the whole report of a study, or open it as a page."""
    from results.facts import find_study
    from results.report import Format, build, render, write_files

    if show and form not in (None, "html"):
        raise UsageError(f"--open shows a page, which is --format html, got --format {form}. Leave one of them out")
    command, folder = command_prefix(root), find_study(root, study)
    if show and output is None:
        if not isinstance(folder, Path):
            raise UsageError(f"a browser opens files of this machine, but {folder} lies elsewhere. Add --output FILE")
        write_files(folder, command=command)
        _open(folder / "report.html")
        return
    found = build(folder, command=command)
    if output is None:
        typer.echo(render(found, Format(form or "table"), **look()), nl=False)
        return
    _write(found, Format(form or ("html" if show else _SUFFIXES.get(output.suffix.lower(), "table"))), output)
    if show:
        _open(output)


def theory(study: StudyArgument, root: RootOption = ROOT, form: TextFormatOption = "table") -> None:
    """Set the predicted timescales of early learning beside the measured ones."""
    from results.facts import find_study
    from results.report import Format, render_theory
    from results.report import theory as measure

    found = measure(find_study(root, study), command=command_prefix(root))
    typer.echo(render_theory(found, Format(form), **look()), nl=False)


def watch(
    study: StudyArgument,
    root: RootOption = ROOT,
    web: Annotated[bool, typer.Option("--web", help="Serve the report as a live page on 127.0.0.1.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of --web; a free one if left out.", show_default=False)
    ] = None,
    show: OpenOption = False,
) -> None:
    """Look on while a study runs. Ends with 0 when it is completed, with 75 when it was interrupted."""
    from results.facts import find_study

    if not web and (port is not None or show):
        raise UsageError(f"{'--open' if show else '--port'} is for the live page. Add --web")
    folder = find_study(root, study)
    if web:
        _serve(folder, port or 0, command_prefix(root), show)
    else:
        _look_on(folder, command_prefix(root))


def _look_on(folder: Place, command: str) -> None:
    from rich.console import Console

    from results.schema import StudyState
    from search.watching import watch as look_on

    try:
        end = look_on(folder, Console(), command=command)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_LEFT) from None
    if end.state is StudyState.INTERRUPTED:
        raise typer.Exit(EXIT_RESUMABLE)
    if not end.progress.completed:
        raise typer.Exit(EXIT_NOTHING_SUCCEEDED)


def _serve(folder: Place, port: int, command: str, show: bool) -> None:
    from results.live import LiveServer

    try:
        server = LiveServer(folder, port=port, command=command)
    except OSError as error:
        raise UsageError(
            f"the port must be free and allowed, got {port} ({error.strerror}). Leave --port out for a free one"
        ) from error
    with server:
        typer.echo(f"Live page of {folder.name}: {server.url}\nCtrl-C ends it; the study goes on.", err=True)
        if show and not open_page(server.url):
            typer.echo("There is no browser here: open the address yourself.", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("The page is no longer served.", err=True)


def _write(found: Report, form: Format, output: Path) -> None:
    from results.places import write_whole
    from results.report import render

    try:
        write_whole(output, render(found, form))
    except OSError as error:
        raise UsageError(
            f"the report must be written into a folder that is there, got {output} ({error.strerror}). Give another "
            "file with --output"
        ) from error
    typer.echo(f"Written: {output.absolute()}", err=True)


def _open(page: Path) -> None:
    opened = open_page(page.absolute().as_uri())
    typer.echo(f"{'Opened' if opened else 'There is no browser here. Open this file'}: {page.absolute()}", err=True)
