"""Append-only records as immutable parquet part files: written by one process, read by any, safe to kill at any time.

A flush writes one part for every table that has rows waiting. All of them are written under temporary names, fsynced
and then renamed; the name of each says which tables have a part in the flush, and a part counts only where all of
these are there. So a reader sees all of a flush or nothing, across tables, and what a kill leaves of the records is
always all rows up to some moment.

``compact`` merges parts; the merged file names in its metadata what it replaces, so that a reader which sees both
counts every row once.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.encoding import Plain, columns, encode, to_rows, to_table
from results.errors import RecordsUnreadable
from results.schema import SCHEMA_VERSION, AnyRow, SessionRow, TrialRow

FLUSH_ROWS = 200
"""Rows that may wait in memory before ``append`` writes them by itself."""
FLUSH_AFTER_S = 5.0
"""Seconds that a row may wait in memory before the next ``append`` or ``flush_if_due`` writes it."""
FLUSH_STATE_AFTER_S = 0.25
"""The same for a change of a trial's state; several that come together share a part file."""

_TABLES: Mapping[str, str] = {"s": "sessions", "e": "epochs", "d": "decisions", "t": "trials"}
_SUPERSEDES = b"thermotune_supersedes"
_VERSION = b"thermotune_schema"
_NAME = re.compile(
    r"part-(?P<session>.+?)-(?P<part>\d{6,})(?:-(?P<tables>[sedt]+))?\.parquet|compact-(?P<compact>\d{6,})\.parquet"
)
_TEMPORARY = ".tmp"
_READ_TRIES = 20


class RecordWriter:
    """The one writer of a study's records; the caller holds the study's lock.

    Rows wait in memory until ``flush``, until ``FLUSH_ROWS`` of them wait, or until one has waited long enough
    (``FLUSH_AFTER_S``, ``FLUSH_STATE_AFTER_S``) when another one comes or somebody calls ``flush_if_due``.
    What ``flush`` returned from survives
    a kill and a power cut.

    Example:
        >>> from results.schema import SessionRow
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = RecordWriter(folder, session="s0001")
        >>> writer.append(SessionRow(study="demo", session="s0001", seq=1, reported_at=datetime.now(UTC),
        ...     state="RUNNING", host="here", pid=1, slots=4, command="thermotune", environment="{}"))
        >>> writer.close()
        >>> [row.state for row in read_rows(folder)]
        ['RUNNING']
    """

    def __init__(self, study_dir: Path, *, session: str) -> None:
        """Creates the folders and pays what pyarrow costs at first use (about 10 ms).

        Args:
            study_dir: Folder of the study; created if need be.
            session: Name of the driver session, part of every file name; ``s0001``, ...
        """
        self._study_dir = Path(study_dir)
        self._session = session
        self._due = float("inf")
        self._closed = False
        self._waiting: dict[str, list[tuple[Plain, ...]]] = {table: [] for table in _TABLES.values()}
        for folder in (table_dir(self._study_dir, table) for table in _TABLES.values()):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(f".*{_TEMPORARY}"):
                leftover.unlink(missing_ok=True)
        self._number = 1 + max(_last_number(self._study_dir, table, session) for table in _TABLES.values())
        _sync_folder(self._study_dir / "records")
        _to_parquet(SessionRow.table, [encode(_sample_session())])

    def append(self, row: AnyRow) -> None:
        """Takes a row in, and writes what waits if that is due.

        Args:
            row: Row of any table.

        Raises:
            TypeError: A value has not the type of its column; the row is not taken in.
            ValueError: A value or a metric name is not allowed, the row is not taken in; or the writer is closed.
            OSError: A write was due and failed. The row was taken in, and no waiting row is lost.
        """
        if self._closed:
            raise ValueError(f"the record writer of session {self._session} is closed ({self._study_dir})")
        self._waiting[row.table].append(encode(row))
        patience_s = FLUSH_STATE_AFTER_S if isinstance(row, TrialRow) else FLUSH_AFTER_S
        self._due = min(self._due, time.monotonic() + patience_s)
        if self.waiting >= FLUSH_ROWS:
            self.flush()
        else:
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Writes what waits if a row has waited long enough; costs next to nothing otherwise.

        Raises:
            OSError: As ``flush``.
        """
        if time.monotonic() >= self._due:
            self.flush()

    @property
    def waiting(self) -> int:
        """Rows taken in and not yet written."""
        return sum(map(len, self._waiting.values()))

    def flush(self) -> None:
        """Writes every waiting row; returns when they are on the disk.

        Raises:
            OSError: A write failed, for instance because the disk is full. All rows keep waiting, and the next flush
                writes them under the same number, so that none is lost and none comes twice.
        """
        tables = [(letter, table) for letter, table in _TABLES.items() if self._waiting[table]]
        if tables:
            name = f"part-{self._session}-{self._number:06d}-{''.join(letter for letter, _ in tables)}.parquet"
            _publish(
                {
                    table_dir(self._study_dir, table) / name: _to_parquet(table, self._waiting[table])
                    for _, table in tables
                }
            )
            self._number += 1
            self._waiting = {table: [] for table in _TABLES.values()}  # in one step: a signal may strike anywhere
        self._due = float("inf")

    def close(self) -> None:
        """Writes what waits; closing twice is allowed.

        Raises:
            OSError: As ``flush``; the writer stays open.
        """
        self.flush()
        self._closed = True


def table_dir(study_dir: Path, table: str) -> Path:
    """Folder of a table's files."""
    return Path(study_dir) / "records" / table


def part_count(study_dir: Path) -> int:
    """Part files over all tables; above about 100 a ``compact`` makes reading faster."""
    return sum(name.startswith("part-") for names in _listing(study_dir).values() for name in names)


def read_rows(study_dir: Path) -> list[AnyRow]:
    """All rows of all tables, in order of arrival.

    Args:
        study_dir: Folder of the study; a study without records gives no rows.

    Returns:
        The rows sorted by ``seq``: all up to some moment, also while the driver writes.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version.
    """
    rows = [row for table, data in read_tables(study_dir).items() for row in to_rows(table, data)]
    return sorted(rows, key=lambda row: row.seq)


def read_tables(study_dir: Path) -> dict[str, pa.Table]:
    """All tables as Arrow, each sorted by ``seq``, as they were at one moment; columns as in ``schema.arrow_schema``.

    Args:
        study_dir: Folder of the study; a study without records gives empty tables.

    Returns:
        The rows by table; columns that are newer than a file are null for its rows.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version.
    """
    return {table: _merged(table, parts) for table, parts in _live_parts(study_dir).items()}


def compact(study_dir: Path) -> None:
    """Merges the files of each table into one. The caller holds the study's lock and has no writer open.

    May be killed anywhere: until a merged file has its name the parts count, afterwards it does. Parts are removed when
    all merged files are there, and what is left over is ignored by readers and removed by the next call, as is what a
    killed flush left behind.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version; everything is left as it is.
        OSError: The disk is full or fails; no row is lost.
    """
    listing = _listing(study_dir)
    merged = {}
    for table, parts in _live_parts(study_dir).items():
        if parts and any(name.startswith("part-") for name in listing[table]):
            serials = [int(match["compact"] or 0) for match in map(_NAME.fullmatch, listing[table]) if match]
            data = _merged(table, parts)
            metadata = {**data.schema.metadata, _SUPERSEDES: json.dumps(listing[table]).encode()}
            path = table_dir(study_dir, table) / f"compact-{1 + max(serials):06d}.parquet"
            merged[path] = _bytes(data.replace_schema_metadata(metadata))
    _publish(merged)
    renewed = {path.parent.name for path in merged}
    for table, names in listing.items():
        for name in names:
            if table in renewed or name.startswith("part-"):
                (table_dir(study_dir, table) / name).unlink(missing_ok=True)
    for path in merged:
        _sync_folder(path.parent)


@dataclass(frozen=True, slots=True)
class _Part:
    path: Path
    data: pa.Table
    supersedes: frozenset[str]


def _list(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name.endswith(".parquet") and not e.name.startswith("."))
    except FileNotFoundError:
        return []


def _listing(study_dir: Path) -> dict[str, list[str]]:
    return {table: _list(table_dir(study_dir, table)) for table in _TABLES.values()}


def _live_parts(study_dir: Path) -> dict[str, list[_Part]]:
    """The files that count, by table, read while another process may write and compact."""
    for _ in range(_READ_TRIES):
        before = _listing(study_dir)
        try:
            parts = {table: [_read(table_dir(study_dir, table) / n) for n in names] for table, names in before.items()}
        except FileNotFoundError:
            continue  # compacted away under our eyes: look again
        after = _listing(study_dir)
        if all(_still_there(before[table], after[table]) for table in before):
            return _counted(parts)
    raise RecordsUnreadable(
        f"the records must stay still while they are read, but {study_dir} changed {_READ_TRIES} times. Try again"
    )


def _still_there(before: Sequence[str], after: Sequence[str]) -> bool:
    new = set(after) - set(before)
    return set(before) <= set(after) and not any(name.startswith("compact-") for name in new)


def _counted(parts: Mapping[str, Sequence[_Part]]) -> dict[str, list[_Part]]:
    """Without what a merged file replaces, and without parts of flushes that were not finished."""
    replaced = {table: frozenset[str]().union(*(part.supersedes for part in found)) for table, found in parts.items()}
    there = {table: {part.path.name for part in found} | replaced[table] for table, found in parts.items()}

    def is_whole(name: str) -> bool:
        match = _NAME.fullmatch(name)
        return all(name in there[_TABLES[letter]] for letter in (match and match["tables"]) or "")

    return {
        table: [part for part in found if part.path.name not in replaced[table] and is_whole(part.path.name)]
        for table, found in parts.items()
    }


def _merged(table: str, parts: Sequence[_Part]) -> pa.Table:
    schema = columns(table)
    if not parts:
        return pa.Table.from_batches([], schema)  # Schema.empty_table would import pandas
    conformed = [_conform(part.data, schema, part.path) for part in parts]
    return pa.concat_tables(conformed).sort_by("seq").combine_chunks()


def _read(path: Path) -> _Part:
    content = path.read_bytes()
    if not _NAME.fullmatch(path.name):
        raise RecordsUnreadable(
            f"only thermotune writes into the records, but {path} has a foreign name. Move it out of the folder"
        )
    try:
        data = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise RecordsUnreadable(
            f"a record file must be readable parquet, but {path} is damaged ({len(content)} bytes): {error}. "
            "Restore it from a copy, or move it away to go on without its rows"
        ) from error
    metadata = data.schema.metadata or {}
    version = metadata.get(_VERSION, b"").decode()
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
    return _Part(path, data, frozenset(json.loads(metadata.get(_SUPERSEDES, b"[]"))))


def _conform(data: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
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


def _last_number(study_dir: Path, table: str, session: str) -> int:
    """Number of the session's last flush with rows of a table, be its part merged by now; 0 if there is none."""
    folder = table_dir(study_dir, table)
    names = set(_list(folder))
    for name in list(names):
        if name.startswith("compact-"):
            names |= _read(folder / name).supersedes
    return max((int(m["part"]) for m in map(_NAME.fullmatch, names) if m and m["session"] == session), default=0)


def _sample_session() -> SessionRow:
    now = datetime.now(UTC)
    return SessionRow(
        study="", session="", seq=1, reported_at=now, state="", host="", pid=0, slots=0, command="", environment=""
    )


def _to_parquet(table: str, rows: list[tuple[Plain, ...]]) -> pa.Buffer:
    return _bytes(to_table(table, rows))


def _bytes(data: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(data, sink, compression="zstd")
    return sink.getvalue()


def _publish(files: Mapping[Path, pa.Buffer]) -> None:
    """Gives every content its name, after all of them are safely on the disk."""
    temporary = {path: path.with_name(f".{path.name}{_TEMPORARY}") for path in files}
    try:
        for path, content in files.items():
            with temporary[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            temporary[path].replace(path)
        for folder in {path.parent for path in files}:
            _sync_folder(folder)
    except BaseException:
        for path in files:  # also what has its name already: all of it will come again
            temporary[path].unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
