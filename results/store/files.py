"""Which files of the records count: told by their names alone, at one moment, while others write and compact.

A flush has a number, higher than that of every flush before it, over all sessions. It leaves one part in every table
that had rows waiting, ``part-<number>-<session>-<tables>.parquet``, where the letters name these tables. A compact
file, ``compact-<first>-<last>.parquet``, holds what its table has of all flushes from the first number to the last, and
counts in place of every other file within that range. So no file needs to be opened to know which ones count.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.errors import RecordsUnreadable
from results.places import Place, names_by_folder, reason

TABLES: Mapping[str, str] = {"s": "sessions", "e": "epochs", "d": "decisions", "t": "trials"}
"""The tables by the letter that stands for each in the names of files, in the order in which a flush writes them."""

TRIES = 20
"""So often a reader looks again when files vanish under its eyes, because a compaction has replaced them."""

_RECORDS = "records"
_NAMES = tuple(
    re.compile(pattern + r"\.parquet")
    for pattern in (
        r"compact-(?P<first>\d{6,})-(?P<last>\d{6,})",
        r"part-(?P<first>\d{6,})-(?P<session>.+)-(?P<tables>[sedt]+)",
        r"compact-(?P<old>\d{6,})",  # older studies: what it replaces stands in the file
        r"part-(?P<session>.+?)-(?P<old>\d{6,})(?:-(?P<tables>[sedt]+))?",  # older studies: every session began with 1
    )
)


@dataclass(frozen=True, slots=True, order=True)
class RecordFile:
    """What the name of a file says; sorted, they are in order of arrival.

    Attributes:
        first: First flush whose rows it has; 0 for files of older studies, which come before all others.
        last: Last flush; that of a part is its first.
        is_part: Whether it is no compact file of that kind; a compact file of an older study is a part, too.
        age: Order among files of the same number.
        name: Name of the file.
        tables: Letters of the tables that have a part in the flush; empty where the name does not say.
    """

    first: int
    last: int
    is_part: bool
    age: tuple[int, str, int]
    name: str
    tables: str

    @classmethod
    def of(cls, name: str, where: object) -> RecordFile:
        """Reads a name.

        Raises:
            RecordsUnreadable: No file of the records is called so.
        """
        match = next((m for m in (pattern.fullmatch(name) for pattern in _NAMES) if m), None)
        if match is None:
            raise RecordsUnreadable(
                f"only thermotune writes into the records, but {where}/{name} has a foreign name. Move it out of the "
                "folder"
            )
        found = match.groupdict()
        first = int(found.get("first") or 0)
        session = found.get("session") or ""
        return cls(
            first=first,
            last=int(found.get("last") or first),
            is_part=found.get("last") is None,
            age=(len(session), session, int(found.get("old") or 0)),
            name=name,
            tables=found.get("tables") or "",
        )

    def is_within(self, other: RecordFile) -> bool:
        """Whether the other is a compact file that has all of its rows."""
        return other != self and not other.is_part and other.first <= self.first and self.last <= other.last


Listing = Mapping[str, list[RecordFile]]
"""The files of each table, in order of arrival."""


def table_dir(study_dir: Place, table: str) -> Place:
    """Folder of a table's files."""
    return study_dir / _RECORDS / table


def listing(study_dir: Place) -> Listing:
    """All files of the records, also those that do not count.

    Args:
        study_dir: Folder of the study; one without records has no files.

    Returns:
        The files by table. The tables are listed one after another, so a flush in between may show in some only.

    Raises:
        RecordsUnreadable: A file has a foreign name, or a folder cannot be read.
        OSError: The object store does not answer.
    """
    with local_errors(study_dir / _RECORDS):
        names = names_by_folder(study_dir / _RECORDS)
    return {
        table: sorted(
            RecordFile.of(name, table_dir(study_dir, table))
            for name in names.get(table, ())
            if name.endswith(".parquet") and not name.startswith(".")
        )
        for table in TABLES.values()
    }


def live_files(study_dir: Place) -> Mapping[str, tuple[Place, ...]]:
    """The files that count, as they were at one moment, also while a driver writes and compacts.

    Args:
        study_dir: Folder of the study; one without records has no files.

    Returns:
        The files by table, in order of arrival. Together they have every row up to some moment once: only whole
        flushes, and nothing that a compact file replaces. A compaction may remove a file at any time; who then meets
        FileNotFoundError asks again.

    Raises:
        RecordsUnreadable: A file has a foreign name, a folder cannot be read, or the files never stay still.
        OSError: The object store does not answer.
    """
    return paths(study_dir, snapshot(study_dir))


def paths(study_dir: Place, found: Listing) -> Mapping[str, tuple[Place, ...]]:
    """Where the files of a listing lie."""
    return {table: tuple(table_dir(study_dir, table) / file.name for file in files) for table, files in found.items()}


def snapshot(study_dir: Place) -> Listing:
    """As ``live_files``, with what the names say."""
    for _ in range(TRIES):
        before = listing(study_dir)
        try:
            replaced = _replaced_in_older_studies(study_dir, before)
        except FileNotFoundError:
            continue
        after = listing(study_dir)
        new = [file for table in TABLES.values() for file in set(after[table]) - set(before[table])]
        vanished = any(set(before[table]) - set(after[table]) for table in TABLES.values())
        if not vanished and all(file.is_part for file in new):
            # A flush that was under way, and all after it, may have been seen in part: they come with the next look.
            until = min((file.first for file in new), default=None)
            return counted(before, replaced=replaced, until=until)
    raise unsteady(study_dir)


def newest_flush(found: Listing) -> int:
    """The highest number of a flush among the files; 0 if there is none."""
    return max((file.last for files in found.values() for file in files), default=0)


def counted(found: Listing, *, replaced: Iterable[tuple[str, str]] = (), until: int | None = None) -> Listing:
    """Those of the files that count.

    Args:
        found: All files.
        replaced: Table and name of files that older compact files replace.
        until: Flushes from this number on are left out; None: none are.

    Returns:
        The files without parts of flushes that were not finished or came from a driver that had lost its study, and
        without what compact files replace.
    """
    compact = {table: [file for file in files if not file.is_part] for table, files in found.items()}
    names = {table: {file.name for file in files} for table, files in found.items()}
    gone = set(replaced)
    latest: dict[int, tuple[int, str, int]] = {}
    for files in found.values():
        for file in files:
            if file.is_part and file.first:
                latest[file.first] = max(file.age, latest.get(file.first, file.age))

    def is_replaced(table: str, file: RecordFile) -> bool:
        return (table, file.name) in gone or any(file.is_within(other) for other in compact[table])

    def is_whole(file: RecordFile) -> bool:
        others = [TABLES[letter] for letter in file.tables]
        return all(file.name in names[table] or is_replaced(table, file) for table in others)

    def counts(table: str, file: RecordFile) -> bool:
        return (
            not is_replaced(table, file)
            and is_whole(file)
            and not (file.is_part and file.first and file.age != latest[file.first])
            and not (until and file.first >= until)
        )

    return {table: [file for file in files if counts(table, file)] for table, files in found.items()}


def superfluous(study_dir: Place, *, before: int | None = None) -> list[Place]:
    """The files that do not count. For the one who holds the study's lock: to others a flush may look unfinished.

    Args:
        study_dir: Folder of the study.
        before: Only files of flushes of a lower number, all of which are finished; None: all.
    """
    found = listing(study_dir)
    live = counted(found, replaced=_replaced_in_older_studies(study_dir, found))
    return [
        table_dir(study_dir, table) / file.name
        for table, files in found.items()
        for file in files
        if file not in live[table] and (before is None or file.last < before)
    ]


def drafts(study_dir: Place) -> list[Place]:
    """What a killed driver was writing; for the one who holds the study's lock."""
    return [
        study_dir / _RECORDS / folder / name
        for folder, names in names_by_folder(study_dir / _RECORDS).items()
        for name in names
        if name.startswith(".") and name.endswith(".tmp")
    ]


@contextlib.contextmanager
def local_errors(where: Place) -> Iterator[None]:
    """Says what is wrong with records on this machine that cannot be read; a store's errors may pass, and stay errors.

    Raises:
        RecordsUnreadable: No right to read them, a broken disk, a link that leads nowhere, ...
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if not isinstance(where, Path):
            raise
        remedy = "Give yourself the right to read it" if isinstance(error, PermissionError) else "Mend that"
        raise RecordsUnreadable(
            f"the records must be readable, but {error.filename or where} is not ({reason(error)}). {remedy}, "
            "then try again"
        ) from error


def unsteady(study_dir: Place) -> RecordsUnreadable:
    """What is said when files vanish again and again."""
    return RecordsUnreadable(
        f"the records must stay still while they are read, but {study_dir} changed {TRIES} times. Try again"
    )


def _replaced_in_older_studies(study_dir: Place, found: Listing) -> list[tuple[str, str]]:
    return [
        (table, name)
        for table, files in found.items()
        for file in files
        if not file.first and file.is_part and file.name.startswith("compact-")
        for name in _replaced_names(table_dir(study_dir, table) / file.name)
    ]


@lru_cache(maxsize=64)
def _replaced_names(path: Place) -> tuple[str, ...]:
    with local_errors(path):
        content = path.read_bytes()
    metadata = pq.ParquetFile(pa.BufferReader(content)).metadata.metadata or {}
    return tuple(json.loads(metadata.get(b"thermotune_supersedes", b"[]")))
