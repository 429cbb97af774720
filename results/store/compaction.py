"""Merging the files of the records, so that reading stays fast however many flushes a study has had.

A merge takes the newest parts of a table, and with them older compact files as long as these cover no more flushes
than what is being merged: sizes at least double from file to file, so there are few of them, and a row is rewritten
about as often as the logarithm of the number of flushes. A compact file that covers ``FULL_FLUSHES`` is left alone.

Killed anywhere, a merge loses nothing and repeats nothing: until the compact file has its name the files that it was
made from count, from then on it does (``files``). These are removed later, because somebody may be reading them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from results.encoding import columns
from results.places import Place, each_file, publish
from results.store.files import RecordFile, snapshot, superfluous, table_dir
from results.store.reading import row_groups

FULL_FLUSHES = 10_000
"""A compact file that covers so many flushes, of at most some 200 rows each, is not merged again."""
ROW_GROUP_ROWS = 32_768
"""Rows that a reader of compact files can skip at once, by the range of ``seq``, ``attempt`` and others among them."""


def compact(study_dir: Place) -> None:
    """Merges the files of each table into one, and removes what does not count. The caller holds the study's lock.

    For studies that nobody drives: a driver's ``RecordWriter`` merges on its own.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version; everything is left as it is.
        OSError: The disk is full or fails; no row is lost.
    """
    remove_superfluous(study_dir)
    for table, files in snapshot(study_dir).items():
        if any(file.is_part for file in files):
            merge(study_dir, table, files)
    remove_superfluous(study_dir)


def merge_newest(study_dir: Place, *, before: int, check: Callable[[], object]) -> None:
    """Merges the newest files of each table, while the driver goes on writing.

    Args:
        study_dir: Folder of the study.
        before: Only flushes of a lower number take part, all of which are finished.
        check: Called now and then, and before a merged file can appear; what it raises ends the work.

    Raises:
        RecordsUnreadable: A file is damaged, foreign or written by a newer version.
        OSError: The disk is full or fails, or the store does not answer; no row is lost.
    """
    for table, files in snapshot(study_dir).items():
        newest = worth_merging([file for file in files if file.last < before])
        if newest:
            merge(study_dir, table, newest, check)


def worth_merging(files: Sequence[RecordFile]) -> Sequence[RecordFile]:
    """The newest files of a table that are better merged now; empty if there is at most one part."""
    number = len(files)
    while number and files[number - 1].is_part:
        number -= 1
    if len(files) - number < 2:
        return ()
    last = files[-1].last
    while number and (covered := files[number - 1].last - files[number - 1].first + 1) < FULL_FLUSHES:
        if covered > last - files[number].first + 1:
            break
        number -= 1
    return files[number:]


def merge(
    study_dir: Place, table: str, files: Sequence[RecordFile], check: Callable[[], object] = lambda: None
) -> None:
    """Writes the compact file of some files of a table, between whose flushes there are no others.

    Args:
        study_dir: Folder of the study.
        table: The table.
        files: In order of arrival.
        check: As ``merge_newest``.
    """
    folder = table_dir(study_dir, table)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, columns(table), compression="zstd") as writer:
        every = itertools.chain.from_iterable(row_groups(folder / file.name, table) for file in files)
        for group in _regrouped(every):
            check()
            writer.write_table(group)
    name = f"compact-{files[0].first:06d}-{files[-1].last:06d}.parquet"
    publish({folder / name: sink.getvalue()}, check)


def remove_superfluous(study_dir: Place, *, before: int | None = None) -> None:
    """Removes files that do not count: what compact files replace, and what flushes of killed drivers left behind.

    Args:
        study_dir: Folder of the study.
        before: Only files of flushes of a lower number, all of which are finished; None: all.

    Raises:
        OSError: The store does not answer, ...
    """
    each_file(lambda path: path.unlink(missing_ok=True), superfluous(study_dir, before=before))


def _regrouped(groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in groups of ``ROW_GROUP_ROWS``, the last one smaller."""
    held: list[pa.Table] = []
    rows = 0
    for group in groups:
        held.append(group)
        rows += len(group)
        if rows >= ROW_GROUP_ROWS:
            together = pa.concat_tables(held)
            for start in range(0, rows - ROW_GROUP_ROWS + 1, ROW_GROUP_ROWS):
                yield together.slice(start, ROW_GROUP_ROWS)
            rows %= ROW_GROUP_ROWS
            held = [together.slice(len(together) - rows)]
    if rows:
        yield pa.concat_tables(held)
