"""The commands ``thermotune query``, ``export`` and ``status``: what is on record, over all studies of a root."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.address import AddressOption, JobServer, address_of
from search.errors import UsageError
from search.options import ROOT, RootOption, StudyArgument, TextFormatOption
from search.terminal import command_prefix, look

if TYPE_CHECKING:
    import pyarrow as pa

    from results.places import Place
    from results.query import Database
    from results.query.database import Batches

QUERY_EPILOG = (
    "Examples: thermotune query 'select study, trial, value from best where leads' | "
    """thermotune query digits-beta 'select "loss.beta", value from trials order by value desc limit 5' | """
    "thermotune query --schema"
)
EXPORT_EPILOG = (
    "Examples: thermotune export digits-beta --format parquet | "
    "thermotune export digits-beta --format csv --table trials --output trials.csv"
)
STATUS_EPILOG = (
    "Examples: thermotune status | thermotune status digits-beta | "
    "thermotune status digits-beta --address http://head:8265"
)

MOST_ROWS = 200
"""Rows of a table on a terminal; the other formats have no limit."""

EXIT_CTRL_C = 130

WordsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[STUDY] SELECT", help="One SELECT in quotes; - reads it from stdin. All studies, or one."),
]
AnswerFormatOption = Annotated[
    Literal["table", "json", "csv", "markdown"] | None,
    typer.Option("--format", "-f", help="How to write it.", show_default="table on a terminal, else csv"),
]


def query(
    words: WordsArgument = None,
    root: RootOption = ROOT,
    form: AnswerFormatOption = None,
    schema: Annotated[bool, typer.Option("--schema", help="List the views with their columns and units.")] = False,
) -> None:
    """Ask the records of all studies, or of one, in SQL (DuckDB's); only one SELECT, and nothing but the records.

    CSV puts a ' before text that a spreadsheet would take for a formula. Times are UTC.
    """
    from results.query import QueryError

    form = form or ("table" if sys.stdout.isatty() else "csv")
    given = list(words or [])
    sql = "" if schema else _statement(given)
    if len(given) > 1:
        raise UsageError(f"a query must be one word in quotes, after a study or alone, got {' '.join([*given, sql])}")
    database = _database(root, given[0] if given else None)
    try:
        if schema:
            _show_schema(database, form)
        else:
            _answer(database, sql, form)
    except QueryError as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        typer.echo("\nthermotune: the query was stopped", err=True)
        raise typer.Exit(EXIT_CTRL_C) from None


def export(
    study: StudyArgument,
    root: RootOption = ROOT,
    form: Annotated[Literal["parquet", "csv", "json"], typer.Option("--format", "-f", help="How to write it.")] = "csv",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the files, or with --table a file.", show_default="STUDY-export"
        ),
    ] = None,
    table: Annotated[
        Literal["trials", "epochs", "decisions", "sessions"] | None,
        typer.Option("--table", help="Only this one.", show_default="all four"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
) -> None:
    """Write the records of a study into files, as query shows them, with the meaning of every column."""
    from results.export import export_study
    from results.facts import find_study

    folder = find_study(root, study)
    for path in export_study(folder, form, output or Path(f"{study}-export"), table=table, force=force):
        typer.echo(path)


def status(
    study: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="All of the root if left out.")] = None,
    root: RootOption = ROOT,
    address: AddressOption = None,
    form: TextFormatOption = "table",
) -> None:
    """Show where a study stands, or all studies of the root; with a job server its jobs, or the job of a study."""
    where = address_of(address)
    if isinstance(where, JobServer):
        from search.jobs.jobs import NoJob

        try:
            _status_of_jobs(where.url, study, root, form)
            return
        except NoJob:
            if address is not None:
                raise
            typer.echo(f"{where.url} knows no job of {study}; this is by the records in {root}.", err=True)
    from results.facts import find_study
    from results.report import Format, render_status, render_statuses, statuses
    from results.report import status as status_of

    command, shown = command_prefix(root), look()
    if study is None:
        text = render_statuses(statuses(root, command=command), Format(form), **shown)
        _say_if_missing(root)
    else:
        text = render_status(status_of(find_study(root, study), command=command), Format(form), **shown)
    typer.echo(text, nl=False)


def _status_of_jobs(url: str, study: str | None, root: Place, form: str) -> None:
    from results.report import Format
    from search.jobs import jobs, server, standing

    there = server.JobServer(url)
    if study is None:
        typer.echo(standing.render_jobs(there.jobs(), url, Format(form), look()), nl=False)
        return
    job = jobs.find(there, study, None if root == ROOT else root)
    typer.echo(standing.sentence(job), err=True)
    typer.echo(standing.render_study(there, job, Format(form), look()), nl=False)


def _statement(words: list[str]) -> str:
    """Takes the SQL off the words; what is left is a study."""
    if not words:
        raise UsageError("a query needs a SELECT in quotes. For example: thermotune query 'select * from best'")
    sql = words.pop()
    return sys.stdin.read() if sql == "-" else sql


def _database(root: Place, study: str | None) -> Database:
    """All studies, or one; says which are left out because they are damaged."""
    from results.facts import find_study
    from results.query import Database

    database = Database(root if study is None else [find_study(root, study)])
    for name, error in database.damaged.items():
        if study is not None:
            raise error
        typer.echo(f"warning: {name} is left out: {str(error).splitlines()[0]}", err=True)
    if study is None:
        _say_if_missing(root)
    return database


def _say_if_missing(root: Place) -> None:
    if not root.exists():
        typer.echo(f"there is no folder {root} yet", err=True)


def _answer(database: Database, sql: str, form: str) -> None:
    from results.query.writing import csv_pieces, json_pieces
    from results.report import Format, render_answer

    batches = database.batches(sql)
    if form in ("csv", "json"):
        for piece in (csv_pieces if form == "csv" else json_pieces)(batches.schema, batches):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    shown, rows = _first_rows(batches, MOST_ROWS if form == "table" else None)
    typer.echo(render_answer(shown, Format(form), **look()), nl=False)
    if len(shown) < rows:
        typer.echo(f"{len(shown)} of {rows} rows are shown; --format csv writes them all", err=True)


def _first_rows(batches: Batches, most: int | None) -> tuple[pa.Table, int]:
    """The first rows of an answer, and how many there are; only these are held in memory."""
    import pyarrow as pa

    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if most is None or rows < most:
            kept.append(batch.slice(0, None if most is None else most - rows))
        rows += len(batch)
    return pa.Table.from_batches(kept, batches.schema), rows


def _show_schema(database: Database, form: str) -> None:
    import pyarrow as pa

    from results.query import describe
    from results.query.writing import csv_pieces, json_pieces
    from results.report import Format, render_schema

    found = describe(database)
    if form not in ("csv", "json"):
        typer.echo(render_schema(found, Format(form), **look()), nl=False)
        return
    names = ("view", "name", "type", "meaning")
    batch = pa.RecordBatch.from_arrays(
        [pa.array([getattr(column, name) for column in found], pa.string()) for name in names], names=list(names)
    )
    for piece in (csv_pieces if form == "csv" else json_pieces)(batch.schema, [batch]):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
