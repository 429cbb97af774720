"""A study's records as files for other programs: one file a table, with the meaning of every column beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from results.errors import ResultsError
from results.places import Place
from results.query import VIEWS, Column, Database, describe
from results.query.writing import csv_pieces, json_pieces
from results.schema import ROW_TYPES

Form = Literal["parquet", "csv", "json"]


class ExportRefused(ResultsError):
    """The files cannot be written where they are asked for."""


def export_study(
    study_dir: Place, form: Form, output: Path, *, table: str | None = None, force: bool = False
) -> tuple[Path, ...]:
    """Writes what the views ``trials``, ``epochs``, ``decisions`` and ``sessions`` show of a study.

    Each file appears whole or not at all. In a folder a ``README.md`` lists the columns with their units; parquet files
    carry them in the metadata of their columns, too, and their times have the zone UTC.

    Args:
        study_dir: Folder of the study.
        form: Format of the files.
        output: Folder for them, made if need be; for a single table a file, where the name ends with the format.
        table: Only this one of the four.
        force: Replace files that are there.

    Returns:
        The files, the tables first.

    Raises:
        ResultsError: The study cannot be read.
        ExportRefused: A file is there already and ``force`` is not given, or the place cannot be written to.
    """
    database = Database([study_dir])
    for error in database.damaged.values():
        raise error
    if table is not None and output.suffix == f".{form}":
        targets, readme = {table: output}, None
    elif output.suffix in (".parquet", ".csv", ".json"):
        raise ExportRefused(
            f"a file as output must hold one table and end with .{form}, got {output}. Name the table with --table, "
            "or give a folder"
        )
    else:
        targets = {name: output / f"{name}.{form}" for name in ([table] if table else ROW_TYPES)}
        readme = output / "README.md"
    there = [path for path in (*targets.values(), readme) if path is not None and path.exists()]
    if there and not force:
        raise ExportRefused(f"an export must not overwrite, but {there[0]} is there. Replace it with --force")
    columns = {name: describe(database, name) for name in targets}
    try:
        for name, path in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _whole(path) as file:
                _write(database, name, columns[name], form, file)
        if readme is not None:
            with _whole(readme) as file:
                file.write(_readme(study_dir.absolute().name, form, columns).encode())
    except OSError as error:
        raise ExportRefused(
            f"the place of an export must be writable, but {error.filename or output} is not ({error.strerror}). "
            "Choose another with --output"
        ) from error
    return (*targets.values(), *([readme] if readme else []))


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name when all of it is on the disk."""
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        draft = Path(file.name)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            draft.chmod(0o666 & ~_umask())  # what a plain open would have given
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _umask() -> int:
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _write(database: Database, view: str, columns: tuple[Column, ...], form: Form, file: IO[bytes]) -> None:
    order = "session" if view == "sessions" else "seq"
    reader = database.batches(f"select * from {view} order by {order}")
    if form != "parquet":
        for piece in (csv_pieces if form == "csv" else json_pieces)(reader.schema, reader):
            file.write(piece)
        return
    schema = pa.schema(
        [
            pa.field(field.name, _with_zone(field.type), metadata={"doc": column.meaning})
            for field, column in zip(reader.schema, columns, strict=True)
        ]
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def _with_zone(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind


def _readme(study: str, form: Form, columns: dict[str, tuple[Column, ...]]) -> str:
    lines = [f"# Records of the study {study}", ""]
    lines += ["Every row counts: epochs that a restart made void are left out. Times are UTC."]
    if form == "csv":
        lines += [
            "",
            "Text stands in quotes, null is nothing at all. A ' stands before text that a spreadsheet would take for a "
            "formula. Numbers are not rounded; nan and inf are values of diverged trials.",
        ]
    if form == "json":
        lines += ["", "Numbers are not rounded; NaN and infinity, values of diverged trials, are null."]
    for view, known in columns.items():
        lines += ["", f"## {view}.{form}", "", f"{VIEWS[view].capitalize()}.", ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| {_md(c.name)} | {c.type} | {_md(c.meaning)} |" for c in known]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("_", "\\_")
