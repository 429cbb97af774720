"""Append-only records as immutable parquet files: written by one process, read by any, safe to kill at any time."""

from results.store.compaction import compact
from results.store.files import live_files, table_dir
from results.store.reading import part_count, read_rows, read_tables, read_to_continue
from results.store.writer import FLUSH_AFTER_S, FLUSH_ROWS, FLUSH_STATE_AFTER_S, RecordWriter

__all__ = [
    "FLUSH_AFTER_S",
    "FLUSH_ROWS",
    "FLUSH_STATE_AFTER_S",
    "RecordWriter",
    "compact",
    "live_files",
    "part_count",
    "read_rows",
    "read_tables",
    "read_to_continue",
    "table_dir",
]
