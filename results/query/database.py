"""Database: the records of many studies as SQL views, safe to hand to anybody's SELECT."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from results.errors import ResultsError
from results.facts import study_dirs
from results.places import Place, each, place
from results.query.overview import make_overviews
from results.query.tables import Source, literal, make_tables, read_source
from results.query.views import make_views
from results.schema import EpochRow
from results.store.files import TRIES, unsteady
from results.store.reading import row_groups

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MEMORY_LIMIT = "512MiB"
"""What DuckDB may hold in memory; more goes to a temporary folder."""
SPILL_LIMIT = "8GiB"
"""What it may put there."""
THREADS = 4

_OF_THE_FILES = (duckdb.FatalException, duckdb.InternalException, duckdb.IOException, duckdb.SerializationException)
_Answer = TypeVar("_Answer")


class QueryError(ResultsError):
    """A query that cannot be answered, or must not be."""


class Batches:
    """The rows of an answer, piece by piece; good until the next query of its database."""

    def __init__(self, database: Database, reader: pa.RecordBatchReader) -> None:
        """Keeps the database, and with it the folder that a large answer needs.

        Args:
            database: Where the answer comes from.
            reader: Its rows.
        """
        self._database = database
        self._reader = reader
        self.schema: pa.Schema = reader.schema
        """The columns."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The pieces.

        Raises:
            QueryError: What is asked cannot be computed of some row, a file is damaged, or another query began.
            KeyboardInterrupt: Ctrl-C; the query is ended.
        """
        while (batch := self._next()) is not None:
            yield batch

    def _next(self) -> pa.RecordBatch | None:
        import pyarrow as pa

        try:
            return self._database._until_interrupted(lambda: next(self._reader, None))
        except (pa.ArrowException, OSError) as error:  # this is how DuckDB's errors come out of a reader
            raise QueryError(f"the query cannot be answered. {error}") from error


class Database:
    """The records of a root, or of some studies, as they were when it was made or last refreshed.

    The views are ``studies``, ``best``, ``trials``, ``epochs``, ``epoch_means``, ``decisions``, ``sessions`` and
    ``repeats``; ``results.query.describe`` says what is in them. Studies may run meanwhile: nothing is locked, and new
    rows show after ``refresh``. Where files that it reads were compacted away it refreshes itself.

    A query is one SELECT that reads the records and nothing else: no other file, no network, no extension, no setting,
    no Python variable.

    Example:
        >>> folder = tempfile.mkdtemp()
        >>> database = Database(folder)
        >>> database.rows("select count(*) from studies")
        [(0,)]
        >>> database.rows("select ? + 1 as three", [2])
        [(3,)]
        >>> database.arrow("select trial, state from trials").column_names
        ['trial', 'state']
    """

    def __init__(self, where: str | Place | Sequence[Place], *, loaded: bool = False) -> None:
        """Reads the small tables, and leaves the epochs in their files where these lie on this machine.

        Args:
            where: A root, here or on s3, or folders of studies, each of another name.
            loaded: Read the epochs into memory, too, so that the snapshot outlives every compaction, and leave out
                ``studies`` and ``best``: what one study's report is made from.

        Raises:
            RootUnreadable: The root is no folder, or cannot be read.
            QueryError: Two studies have folders of the same name.
        """
        self._where = where
        self._loaded = loaded
        self._reader: pa.RecordBatchReader | None = None
        self._begun = False
        self._worker = ThreadPoolExecutor(1, "query")
        self._spill = tempfile.TemporaryDirectory(prefix="thermotune-query-")
        self.refresh()

    def refresh(self) -> None:
        """Takes a new snapshot.

        Raises:
            RootUnreadable: As when it was made.
            QueryError: As when it was made.
        """
        folders = self._where if isinstance(self._where, Sequence) and not isinstance(self._where, str) else None
        folders = study_dirs(place(self._where)) if folders is None else folders  # type: ignore[arg-type]  # no sequence
        names = [folder.absolute().name for folder in folders]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise QueryError(
                f"studies that are asked together must have folders of different names, got {twice} twice. "
                "Ask them one after another"
            )
        self.damaged: dict[str, ResultsError | OSError] = {}
        """What is wrong with studies that cannot be read and are left out, by name."""
        found = dict(zip(names, each(self._source, folders), strict=True))
        self._sources = {name: source for name, source in found.items() if source is not None}
        self._connect()

    @property
    def sources(self) -> Mapping[str, Source]:
        """The studies by name, as they were."""
        return self._sources

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:  # Any: what SQL selects
        """The answer as rows.

        Args:
            sql: One SELECT in DuckDB's SQL.
            parameters: Values for its ``?``.

        Raises:
            QueryError: It is no SELECT, names what is not there, or asks for what it must not.
            KeyboardInterrupt: Ctrl-C; the query is ended.
        """
        return self._ask(sql, lambda: self._connection.execute(sql, list(parameters)).fetchall())

    def records(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:  # Any: what SQL selects
        """The answer as one mapping a row, by name of the column; otherwise as ``rows``."""

        def answer() -> list[dict[str, Any]]:
            found = self._connection.execute(sql, list(parameters))
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

        return self._ask(sql, answer)

    def arrow(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The answer as an Arrow table; otherwise as ``rows``."""
        return self._ask(sql, lambda: self._connection.sql(sql, params=list(parameters)).to_arrow_table())

    def pandas(self, sql: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
        """The answer as a data frame, if pandas is installed; otherwise as ``rows``."""
        frame: pd.DataFrame = self.arrow(sql, parameters).to_pandas()
        return frame

    def batches(self, sql: str, parameters: Sequence[object] = ()) -> Batches:
        """The answer piece by piece, for what may not fit into memory; otherwise as ``rows``."""
        self._reader = self._ask(
            sql, lambda: self._connection.sql(sql, params=list(parameters)).to_arrow_reader(_BATCH_ROWS)
        )
        return Batches(self, self._reader)

    def _source(self, folder: Place) -> Source | None:
        """A study, None if it is damaged."""
        for _ in range(TRIES):
            try:
                return read_source(folder, loaded=self._loaded)
            except FileNotFoundError:
                continue  # compacted away under our eyes: look again
            except (ResultsError, OSError) as error:
                self.damaged[folder.absolute().name] = error
                return None
        self.damaged[folder.absolute().name] = unsteady(folder)
        return None

    def _connect(self) -> None:
        sources = list(self._sources.values())
        connection = duckdb.connect(
            ":memory:",
            config={
                "threads": THREADS,
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": self._spill.name,
                "max_temp_directory_size": SPILL_LIMIT,
                "python_enable_replacements": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            make_tables(connection, sources)
            make_views(connection, sources)
            if not self._loaded:
                make_overviews(connection, sources)
        except duckdb.Error as error:
            if not self._mended(error):
                raise
            return
        files = ", ".join(literal(str(path)) for source in sources for path in source.files)
        connection.execute(f"set allowed_paths = [{files}]")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        self._connection, self._reader, self._begun = connection, None, False

    def _mended(self, error: duckdb.Error) -> bool:
        """Leaves out the studies whose files an error came from, vanished or damaged; says whether there were any."""
        if not all(path.exists() for source in self._sources.values() for path in source.files):
            self.refresh()
            return True
        if not _may_be_of_files(error):
            return False
        named = {path for source in self._sources.values() for path in source.files if str(path) in str(error)}
        for study, source in self._sources.items():
            try:
                for path in source.files:
                    if path in named or not named:
                        for _ in row_groups(path, EpochRow.table, in_pieces=True):
                            pass
            except (ResultsError, OSError) as damage:
                self.damaged[study] = damage
                self._sources = {name: other for name, other in self._sources.items() if name != study}
                self._connect()
                return True
        return False

    def _ask(self, sql: str, answer: Callable[[], _Answer]) -> _Answer:
        _check(sql)
        for _ in range(TRIES):
            self._begin()
            try:
                return self._until_interrupted(answer)
            except duckdb.Error as error:
                if not self._mended(error):
                    raise QueryError(f"the query cannot be answered. {error}") from error
        raise QueryError(f"the records must stay still for a query, but they changed {TRIES} times. Try again")

    def _begin(self) -> None:
        """Ends what the last query left open, and lets the next one write nothing: a WITH may hold an INSERT."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._begun:
            self._connection.execute("rollback")
        self._connection.execute("begin transaction read only")
        self._begun = True

    def _until_interrupted(self, answer: Callable[[], _Answer]) -> _Answer:
        """Waits for the answer in a way that Ctrl-C ends; DuckDB alone would not hear it."""
        future = self._worker.submit(answer)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():
                self._connection.interrupt()  # without effect before the query has begun
                wait([future], timeout=0.05)
            raise


_BATCH_ROWS = 50_000


def _may_be_of_files(error: duckdb.Error) -> bool:
    """Whether a damaged file may be behind an error; to look for it takes as long as to read all epochs.

    Of a torn file DuckDB says Invalid Input, as of a wrong pattern or date in a query, but names Parquet, or the file;
    a damaged footer is an error of no kind.
    """
    is_invalid_parquet = isinstance(error, duckdb.InvalidInputException) and "parquet" in str(error).casefold()
    return is_invalid_parquet or isinstance(error, _OF_THE_FILES) or type(error) is duckdb.Error


def _check(sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(f"a query must be written in DuckDB's SQL. {error}") from error
    kinds = [statement.type.name for statement in statements]
    if kinds == ["MULTI"]:
        raise QueryError(
            "a query must be one SELECT, got a PIVOT that does not say its columns. List them: ON column IN ('a', 'b')"
        )
    if kinds != ["SELECT"]:
        raise QueryError(
            f"a query must be one SELECT, got {' and '.join(kinds) or 'nothing'}. The records are only read here; "
            "to write a file use thermotune export, or send the answer into one"
        )
