"""Writing the records: rows wait a little in memory, are written together, and never twice.

A flush writes one part for every table that has rows waiting. A part counts only where all parts of its flush are
there (``files``), and a flush begins after the one before it has ended. So what a kill leaves of the records is always
all rows up to some moment. A flush that fails is written again as it was, under the same names, before anything else.

To a local folder rows are written at once, which takes about a millisecond. An object store takes tens of them, or
seconds where it is in trouble: there a thread writes, and rows wait until the store answers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from results.encoding import Plain, encode, to_table
from results.errors import ResultsError
from results.places import Place, publish
from results.schema import AnyRow, SessionRow, TrialRow
from results.store.compaction import merge_newest, remove_superfluous
from results.store.files import TABLES, drafts, newest_flush, snapshot, table_dir
from results.store.reading import part_count

FLUSH_ROWS = 200
"""Rows that may wait in memory before ``append`` writes them by itself."""
FLUSH_AFTER_S = 5.0
"""Seconds that a row may wait in memory before the next ``append`` or ``flush_if_due`` writes it."""
FLUSH_STATE_AFTER_S = 0.25
"""The same for a change of a trial's state; several that come together share a part file."""
TROUBLE_S = 600.0
"""An object store may refuse rows for so long, while a study goes on; seconds."""
MERGE_PARTS = 100
"""Part files over all tables that are merged."""
GRACE_S = 60.0
"""Files that were merged stay for those who are reading them; seconds. Who reads longer has to look again."""

Rows = dict[str, list[tuple[Plain, ...]]]


@dataclass(frozen=True, slots=True)
class _Flush:
    """Rows that are written, or failed to be: what they are and under which name does not change any more."""

    number: int
    rows: Rows

    def files(self, study_dir: Place, session: str) -> Mapping[Place, bytes]:
        letters = "".join(letter for letter, table in TABLES.items() if table in self.rows)
        name = f"part-{self.number:06d}-{session}-{letters}.parquet"
        return {
            table_dir(study_dir, table) / name: _to_parquet(table, self.rows[table])
            for table in TABLES.values()
            if table in self.rows
        }


@dataclass(frozen=True, slots=True)
class _Pending:
    """Rows in memory. It is replaced in one step, because a signal may strike anywhere."""

    flush: _Flush | None
    rows: Rows


class RecordWriter:
    """The one writer of a study's records; the caller holds the study's lock.

    Rows wait in memory until ``flush``, until ``FLUSH_ROWS`` of them wait, or until one has waited long enough
    (``FLUSH_AFTER_S``, ``FLUSH_STATE_AFTER_S``) when another one comes or somebody calls ``flush_if_due``. What is no
    longer ``waiting`` survives a kill and a power cut. Meanwhile a thread merges files when there are ``MERGE_PARTS``.

    Example:
        >>> from results.schema import SessionRow
        >>> from results.store import read_rows
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = RecordWriter(folder, session="s0001")
        >>> writer.append(SessionRow(study="demo", session="s0001", seq=1, reported_at=datetime.now(UTC),
        ...     state="RUNNING", host="here", pid=1, slots=4, command="thermotune", environment="{}"))
        >>> writer.close()
        >>> [row.state for row in read_rows(folder)]
        ['RUNNING']
    """

    def __init__(
        self,
        study_dir: Place,
        *,
        session: str,
        after: int | None = None,
        may_write: Callable[[], object] = lambda: None,
    ) -> None:
        """Creates the folders, clears away what a killed driver left, and pays what pyarrow costs at first use.

        Args:
            study_dir: Folder of the study; created if need be.
            session: Name of the driver session, part of every file name; ``s0001``, ...
            after: The newest flush of the rows that this session goes on from, as ``read_to_continue`` says; None if
                it goes on from whatever is there now.
            may_write: Called right before files get their names, from any thread; raises where this process must not
                write, or not now: ``StudyLock.confirm``.

        Raises:
            RecordsUnreadable: A file of the records is foreign.
            OSError: The folder is not writable, or the store does not answer.
        """
        self._study_dir = study_dir
        self._session = session
        self._may_write = may_write
        self._taking_in = threading.RLock()  # a watchdog may close from a thread of its own
        self._writing = threading.Lock()
        self._pending = _Pending(None, {})
        self._due = float("inf")
        self._uploading: threading.Thread | None = None
        self._trouble: tuple[float, Exception] | None = None
        self._closed = threading.Event()
        self._merging: threading.Thread | None = None
        self._merged_at = float("-inf")
        for table in TABLES.values():
            table_dir(study_dir, table).mkdir(parents=True, exist_ok=True)
        for draft in drafts(study_dir):
            draft.unlink(missing_ok=True)
        self._number = 1 + (newest_flush(snapshot(study_dir)) if after is None else after)
        remove_superfluous(study_dir)
        self._parts = part_count(study_dir)
        _to_parquet(SessionRow.table, [encode(_sample_session())])

    def append(self, row: AnyRow) -> None:
        """Takes a row in, and sees to it that what waits is written if that is due.

        Args:
            row: Row of any table.

        Raises:
            TypeError: A value has not the type of its column; the row is not taken in.
            ValueError: A value or a metric name is not allowed, the row is not taken in; or the writer is closed.
            OSError, Held: As ``flush_if_due``. The row was taken in, and no waiting row is lost.
        """
        if self._closed.is_set():
            raise ValueError(f"the record writer of session {self._session} is closed ({self._study_dir})")
        values = encode(row)
        patience_s = FLUSH_STATE_AFTER_S if isinstance(row, TrialRow) else FLUSH_AFTER_S
        with self._taking_in:
            self._pending.rows.setdefault(row.table, []).append(values)
            self._due = min(self._due, time.monotonic() + patience_s)
            if _count(self._pending.rows) >= FLUSH_ROWS:
                self._due = min(self._due, time.monotonic())
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Sees to it that what waits is written if a row has waited long enough; costs next to nothing otherwise.

        Raises:
            OSError: The disk is full, ...; or for ``TROUBLE_S`` no write to an object store has succeeded.
            Held: Another driver has taken the study over.
        """
        if self._trouble is not None:
            since, error = self._trouble
            if not isinstance(error, OSError) or time.monotonic() - since > TROUBLE_S:
                raise error
        if time.monotonic() < self._due:
            return
        if isinstance(self._study_dir, Path):
            self.flush()
        elif self._uploading is None or not self._uploading.is_alive():
            self._uploading = threading.Thread(target=self._upload, name="records-upload", daemon=True)
            self._uploading.start()

    @property
    def waiting(self) -> int:
        """Rows taken in and not yet written."""
        pending = self._pending
        return _count(pending.rows) + (_count(pending.flush.rows) if pending.flush else 0)

    def flush(self) -> None:
        """Writes every waiting row; returns when they are on the disk, or in the store.

        Raises:
            OSError: A write failed, for instance because the disk is full. All rows keep waiting, and the next flush
                writes them under the same names, so that none is lost and none comes twice.
            Held: Another driver has taken the study over.
        """
        with self._writing:
            try:
                if self._pending.flush is not None:
                    self._write(self._pending.flush)
                if (flush := self._next()) is not None:
                    self._write(flush)
            except (OSError, ResultsError):
                self._due = time.monotonic() + FLUSH_AFTER_S
                raise
            self._trouble = None
        self._merge_if_many()

    def close(self) -> None:
        """Writes what waits, and removes the files that were merged; closing twice is allowed.

        Raises:
            OSError: As ``flush``; the writer stays open.
            Held: As ``flush``.
        """
        self.flush()
        self._closed.set()
        if self._merging is not None:
            self._merging.join()
            with contextlib.suppress(OSError):  # a later session does it
                remove_superfluous(self._study_dir)

    def _next(self) -> _Flush | None:
        """The rows that wait now, as the next flush."""
        with self._taking_in:
            self._due = float("inf")
            if self._pending.rows:
                self._pending = _Pending(_Flush(self._number, self._pending.rows), {})
            return self._pending.flush

    def _write(self, flush: _Flush) -> None:
        files = flush.files(self._study_dir, self._session)
        publish(files, self._may_write)
        with self._taking_in:
            self._number = flush.number + 1  # first: no number is ever used for two flushes
            self._pending = _Pending(None, self._pending.rows)
        self._parts += len(files)

    def _upload(self) -> None:
        try:
            self.flush()
        except (OSError, ResultsError) as error:
            self._trouble = (self._trouble[0] if self._trouble else time.monotonic(), error)

    def _merge_if_many(self) -> None:
        if self._parts >= MERGE_PARTS and (self._merging is None or not self._merging.is_alive()):
            self._parts = 0
            self._merging = threading.Thread(target=self._merge, args=[self._number], name="records-merge", daemon=True)
            self._merging.start()

    def _merge(self, before: int) -> None:
        """Tidies up what was merged before, and merges the newest; what fails here is done another time."""
        with contextlib.suppress(OSError, ResultsError, _Closing):
            if time.monotonic() - self._merged_at > GRACE_S:
                self._may_write()
                remove_superfluous(self._study_dir, before=before)
        with contextlib.suppress(OSError, ResultsError, _Closing):
            merge_newest(self._study_dir, before=before, check=self._check)
        self._merged_at = time.monotonic()

    def _check(self) -> None:
        if self._closed.is_set():
            raise _Closing
        self._may_write()


class _Closing(Exception):
    """The driver ends while files are merged: they stay as they are."""


def _count(rows: Rows) -> int:
    return sum(len(rows) for rows in list(rows.values()))


def _sample_session() -> SessionRow:
    now = datetime.now(UTC)
    return SessionRow(
        study="", session="", seq=1, reported_at=now, state="", host="", pid=0, slots=0, command="", environment=""
    )


def _to_parquet(table: str, rows: list[tuple[Plain, ...]]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(to_table(table, rows), sink, compression="zstd")
    return sink.getvalue()
