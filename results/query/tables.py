"""The rows behind the views: the records of studies, and what each set out to do, in one DuckDB connection.

Trials, decisions and sessions are few and are read into memory. Epochs may be millions: where they lie in local files
DuckDB reads them there, only the columns and row groups that a query needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from results.encoding import columns
from results.facts import StudyFacts, load_facts
from results.lock import Holder, holder
from results.places import Place, each_file
from results.schema import ROW_TYPES, SCHEMA_VERSION, EpochRow
from results.store import live_files
from results.store.reading import row_groups

_GLOB = re.compile(r"[*?\[\]{}]")  # DuckDB would take such a path for a pattern
_SMALL = tuple(table for table in ROW_TYPES if table != EpochRow.table)
_VERSION = b"thermotune_schema"

_FACTS = {
    "study": "VARCHAR", "id": "VARCHAR", "folder": "VARCHAR", "driver": "VARCHAR", "metric": "VARCHAR",
    "mode": "VARCHAR", "temperature": "VARCHAR", "sampler": "VARCHAR", "stopping": "VARCHAR", "reference": "VARCHAR",
    "epochs": "INTEGER", "confirm_seeds": "INTEGER", "amendment": "INTEGER", "needed": "VARCHAR[]",
}  # fmt: skip
_ARMS = {"study": "VARCHAR", "arm": "VARCHAR", "is_reference": "BOOLEAN", "planned": "INTEGER", "top": "INTEGER"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A study as it was at one moment."""

    study: str
    """Name of its folder: that of the study, unless somebody copied or renamed it."""
    facts: StudyFacts
    """What it set out to do."""
    holder: Holder | None
    """Its live driver."""
    tables: dict[str, pa.Table]
    """Rows in memory, by table."""
    files: tuple[Path, ...]
    """Files of epochs that are left on the disk."""


def read_source(study_dir: Place, *, loaded: bool) -> Source:
    """Reads a study.

    Args:
        study_dir: Its folder.
        loaded: Whether epochs are read into memory, too, so that nothing depends on the files any more.

    Raises:
        StudyNotFound: There is no study in the folder.
        StudyUnreadable: Its ``study.yaml`` lacks facts.
        RecordsUnreadable: A file among its records is damaged, foreign or newer.
        FileNotFoundError: A file was compacted away: ask again.
    """
    study, facts, driver = study_dir.absolute().name, load_facts(study_dir), holder(study_dir)
    found = live_files(study_dir)
    epochs = found[EpochRow.table]
    local = [path.absolute() for path in epochs if isinstance(path, Path)]
    on_disk = not loaded and len(local) == len(epochs) and not any(_GLOB.search(str(path)) for path in local)
    on_disk = on_disk and all(map(_is_ordinary, local))
    wanted = _SMALL if on_disk else tuple(ROW_TYPES)
    return Source(
        study=study,
        facts=facts,
        holder=driver,
        tables={table: _read(study, table, found[table]) for table in wanted},
        files=tuple(local) if on_disk else (),
    )


def make_tables(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Makes ``all_trials``, ``all_epochs``, ``all_decisions`` and ``all_sessions``: the rows as they are on record.

    Args:
        connection: Where they are made.
        sources: The studies, each of another name.
    """
    for table in ROW_TYPES:
        held = [source.tables[table] for source in sources if table in source.tables]
        connection.register(f"loaded_{table}", pa.concat_tables([pa.Table.from_batches([], columns(table)), *held]))
        selected = f"select * from loaded_{table}"
        files = [str(path) for source in sources for path in source.files] if table == EpochRow.table else []
        if files:
            names = ", ".join(f'"{name}"' for name in columns(table).names)
            selected = f"select {names} from ({selected} union all by name {_reading(files)})"
        connection.execute(f"create view all_{table} as {selected}")


def make_facts(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Makes the tables ``study_facts`` and ``arm_facts``: a row a study, a row an arm.

    Args:
        connection: Where they are made.
        sources: The studies.
    """
    _facts_table(connection, "study_facts", _FACTS, map(_study_facts, sources))
    _facts_table(connection, "arm_facts", _ARMS, (row for source in sources for row in _arm_facts(source)))


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _reading(files: Sequence[str]) -> str:
    """SQL that reads files of epochs; a study goes by the name of its folder, whatever its rows say."""
    listed = ", ".join(map(literal, files))
    return (
        "select string_split(filename, '/')[-4] as study, * exclude (study) "
        f"from read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    )


def _is_ordinary(path: Path) -> bool:
    """Whether the footer is that of a file which this version or an older one wrote; if not, the store says why."""
    try:
        found = pq.read_schema(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError):
        return False
    version = (found.metadata or {}).get(_VERSION, b"").decode()
    types = dict(zip(found.names, found.types, strict=True))
    return version.isdecimal() and int(version) <= SCHEMA_VERSION and all(
        types[column.name] == column.type if column.name in types else column.nullable
        for column in columns(EpochRow.table)
    )  # fmt: skip


def _read(study: str, table: str, files: Sequence[Place]) -> pa.Table:
    """The rows of a table, under the name of the study's folder."""
    schema = columns(table)
    groups = [group for one in each_file(lambda path: list(row_groups(path, table)), files) for group in one]
    data = pa.concat_tables([pa.Table.from_batches([], schema), *groups])
    place = schema.get_field_index("study")
    return data.set_column(place, schema.field(place), _constant(study, len(data)))


def _constant(text: str, rows: int) -> pa.Array:
    """A column of one text, without the import of pandas that ``pa.repeat`` brings."""
    content = text.encode()
    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(len(content))
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(ends), pa.py_buffer(content * rows)])


def _facts_table(
    connection: duckdb.DuckDBPyConnection, name: str, types: dict[str, str], rows: Iterable[dict[str, object]]
) -> None:
    shape = json.dumps([types])
    connection.execute(
        f"create table {name} as select unnest(from_json(?, {literal(shape)}), recursive := true)",
        [json.dumps(list(rows))],
    )


def _study_facts(source: Source) -> dict[str, object]:
    facts = source.facts
    return {
        "study": source.study,
        "id": facts.id,
        "folder": str(facts.study_dir),
        "driver": str(source.holder) if source.holder else None,
        "metric": facts.metric,
        "mode": facts.mode,
        "temperature": facts.temperature,
        "sampler": facts.sampler,
        "stopping": facts.stopping,
        "reference": facts.reference,
        "epochs": facts.epochs,
        "confirm_seeds": facts.confirm_seeds,
        "amendment": facts.amendment,
        "needed": list(facts.needed),
    }


def _arm_facts(source: Source) -> Iterable[dict[str, object]]:
    facts = source.facts
    for arm in facts.arms:
        yield {
            "study": source.study,
            "arm": arm,
            "is_reference": arm == facts.reference,
            "planned": facts.planned(arm),
            "top": facts.confirmed_trials(arm),
        }
