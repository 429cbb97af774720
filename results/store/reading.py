"""Reading the records: all rows up to some moment, once each, while a driver writes and compacts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from results.encoding import columns, to_rows
from results.errors import RecordsUnreadable
from results.places import Place, each_file
from results.schema import SCHEMA_VERSION, AnyRow
from results.store.files import TRIES, local_errors, newest_flush, paths, snapshot, unsteady

_VERSION = b"thermotune_schema"


def part_count(study_dir: Place) -> int:
    """Part files that count, over all tables; above about 100 merging them makes reading faster."""
    return sum(file.is_part for files in snapshot(study_dir).values() for file in files)


def read_rows(study_dir: Place) -> list[AnyRow]:
    """All rows of all tables, in order of arrival.

    Args:
        study_dir: Folder of the study; a study without records gives no rows.

    Returns:
        The rows sorted by ``seq``: all up to some moment, also while the driver writes.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version, or there is no right to read it.
        OSError: The object store does not answer.
    """
    return read_to_continue(study_dir)[0]


def read_to_continue(study_dir: Place) -> tuple[list[AnyRow], int]:
    """All rows in order of arrival, and the number of the newest flush among them: from there the next driver goes on.

    An object store may carry out a request of a killed driver after we looked. Its flush then has the number that the
    next driver's first one has, for which its RecordWriter has to be told this one, and does not count beside it.

    Args:
        study_dir: Folder of the study; one without records gives no rows, and 0.

    Raises:
        RecordsUnreadable: As ``read_rows``.
        OSError: The object store does not answer.
    """
    tables, newest = _read_steadily(study_dir)
    rows = [row for table, data in tables.items() for row in to_rows(table, data)]
    return sorted(rows, key=lambda row: row.seq), newest


def read_tables(study_dir: Place) -> dict[str, pa.Table]:
    """All tables as Arrow, each sorted by ``seq``, as they were at one moment; columns as in ``schema.arrow_schema``.

    Args:
        study_dir: Folder of the study; a study without records gives empty tables.

    Returns:
        The rows by table; columns that are newer than a file are null for its rows.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version, or there is no right to read it.
        OSError: The object store does not answer.
    """
    return _read_steadily(study_dir)[0]


def opened(path: Place, *, in_pieces: bool = False) -> pq.ParquetFile:
    """A file of the records, its content in memory.

    Args:
        path: The file.
        in_pieces: Leave the content of a local file on the disk: it may be larger than the memory.

    Raises:
        RecordsUnreadable: It is damaged, foreign or written by a newer version, or there is no right to read it.
        FileNotFoundError: It is gone.
        OSError: The object store does not answer.
    """
    with local_errors(path):
        stays = in_pieces and isinstance(path, Path)
        content = pa.OSFile(str(path)) if stays else pa.BufferReader(path.read_bytes())
    try:
        file = pq.ParquetFile(content)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    version = (file.metadata.metadata or {}).get(_VERSION, b"").decode()
    if not version.isdecimal():
        raise RecordsUnreadable(
            f"a record file must carry its schema version, but {path} has none: it is not from thermotune. "
            "Move it out of the folder"
        )
    if int(version) > SCHEMA_VERSION:
        raise RecordsUnreadable(
            f"this thermotune reads record schemas up to {SCHEMA_VERSION}, but {path} has schema {version}: a newer "
            "version wrote it. Update thermotune"
        )
    return file


def row_groups(path: Place, table: str, *, in_pieces: bool = False) -> Iterator[pa.Table]:
    """The rows of a file in the columns of its table, one row group after another.

    Args:
        path: The file.
        table: Its table.
        in_pieces: As ``opened``.

    Raises:
        RecordsUnreadable: As ``opened``, or it is not of that table.
        FileNotFoundError: It is gone.
        OSError: The object store does not answer.
    """
    file = opened(path, in_pieces=in_pieces)
    for number in range(file.num_row_groups):
        try:
            group = file.read_row_group(number, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
        yield _conform(group, columns(table), path)


def _read_steadily(study_dir: Place) -> tuple[dict[str, pa.Table], int]:
    """All tables, and the number of the newest flush in them; 0 if there is none."""
    for _ in range(TRIES):
        found = snapshot(study_dir)
        try:
            return _read(paths(study_dir, found)), newest_flush(found)
        except FileNotFoundError:
            continue  # compacted away under our eyes: look again
    raise unsteady(study_dir)


def _read(found: Mapping[str, Sequence[Place]]) -> dict[str, pa.Table]:
    table_of = {path: table for table, files in found.items() for path in files}
    groups = each_file(lambda path: list(row_groups(path, table_of[path])), list(table_of))
    tables = {}
    for table in found:
        mine = [group for of, read in zip(table_of.values(), groups, strict=True) if of == table for group in read]
        tables[table] = _in_order(pa.concat_tables(mine)) if mine else pa.Table.from_batches([], columns(table))
    return tables


def _in_order(data: pa.Table) -> pa.Table:
    """Sorted by ``seq``; as files are in order of arrival, this is nearly always so, and sorting would be dear."""
    seq = data.column("seq")
    sorted_already = pc.all(pc.less_equal(seq.slice(0, len(seq) - 1), seq.slice(1))).as_py()  # numpy needs pandas here
    return (data if sorted_already is not False else data.sort_by("seq")).combine_chunks()


def _damaged(path: Place, error: Exception) -> RecordsUnreadable:
    return RecordsUnreadable(
        f"a record file must be readable parquet, but {path} is damaged: {error}. "
        "Restore it from a copy, or move it away to go on without its rows"
    )


def _conform(data: pa.Table, schema: pa.Schema, path: Place) -> pa.Table:
    if data.schema.equals(schema):
        return data.replace_schema_metadata(schema.metadata)
    missing = [column.name for column in schema if not column.nullable and column.name not in data.column_names]
    if missing:
        raise RecordsUnreadable(
            f"a record file must have the columns of its table, but {path} lacks {', '.join(missing)}: it is in the "
            "wrong folder or not from thermotune. Move it away"
        )
    arrays = [
        data.column(column.name) if column.name in data.column_names else pa.nulls(len(data), column.type)
        for column in schema
    ]
    try:
        return pa.Table.from_arrays(arrays, names=schema.names).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise RecordsUnreadable(
            f"the columns of a record file must have the types of its table, but {path} differs: {error}. It is in "
            "the wrong folder or not from thermotune. Move it away"
        ) from error
