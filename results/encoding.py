"""Rows to Arrow and back, without the import of pandas that ``pyarrow.array`` and ``to_pylist`` bring (0.5 s).

A row is checked and turned into plain values when it is taken in, so that one bad row is refused at once and can
never keep the rows behind it from being written.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa

from results.schema import METRICS, AnyRow, EpochRow, arrow_schema, from_record, to_record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT_RANGE = {pa.int32(): (-(2**31), 2**31 - 1), pa.int64(): (-(2**63), 2**63 - 1)}

Plain = str | int | float | None
"""A value of a column as it is stored: text, integer (also microseconds since 1970, UTC), float or null."""

columns = cache(arrow_schema)
"""``schema.arrow_schema``, computed once a table."""


def encode(row: AnyRow) -> tuple[Plain, ...]:
    """The row's values in the order of its table's columns.

    Args:
        row: A row of any table.

    Returns:
        One plain value a column.

    Raises:
        TypeError: A value has not the type of its column, or a required one is missing.
        ValueError: A metric is unknown, a time has no time zone, or an integer does not fit.
    """
    if isinstance(row, EpochRow) and (unknown := set(row.metrics) - set(METRICS)):
        raise ValueError(
            f"metrics must be among {', '.join(METRICS)}; got {', '.join(sorted(unknown))} (trial {row.trial}, "
            f"epoch {row.epoch}). Add the metric to results/schema.py first"
        )
    record = to_record(row)
    return tuple(_plain(row.table, column, record.get(column.name)) for column in columns(row.table))


def _plain(table: str, column: pa.Field, value: object) -> Plain:
    where = f"column {column.name} of table {table}"
    if value is None:
        if not column.nullable:
            raise TypeError(f"{where} must not be empty")
        return None
    if column.type == pa.string():
        if not isinstance(value, str):
            raise TypeError(f"{where} must be text, got {value!r}")
        return str(value)
    if column.type == pa.float64():
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{where} must be a number, got {value!r}")
        return float(value)  # type: ignore[arg-type]  # whatever is no number raises the TypeError we want
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{where} must carry a time zone, got {value.isoformat()}")
        return (value - _EPOCH) // _MICROSECOND
    integer = operator.index(value)  # type: ignore[arg-type]  # as above
    low, high = _INT_RANGE[column.type]
    if not low <= integer <= high:
        raise ValueError(f"{where} must be in {low}..{high}, got {integer}")
    return integer


def to_table(table: str, rows: Sequence[tuple[Plain, ...]]) -> pa.Table:
    """Encoded rows as an Arrow table with the table's schema.

    Args:
        table: Name of the table.
        rows: What ``encode`` gave, at least one row.

    Returns:
        The Arrow table, rows in the order given.
    """
    schema = columns(table)
    arrays = [_array(values, column.type) for values, column in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Plain], arrow: pa.DataType) -> pa.Array:
    present = np.array([value is not None for value in values])
    mask = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    if arrow == pa.string():
        texts = [b"" if value is None else str(value).encode() for value in values]
        ends = np.cumsum([0, *map(len, texts)])
        return pa.Array.from_buffers(
            arrow, len(values), [mask, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(texts))]
        )
    dtype = {pa.float64(): np.float64, pa.int32(): np.int32}.get(arrow, np.int64)
    numbers = np.array([0 if value is None else value for value in values], dtype=dtype)
    return pa.Array.from_buffers(arrow, len(values), [mask, pa.py_buffer(numbers)])


def to_rows(table: str, data: pa.Table) -> list[AnyRow]:
    """The rows of an Arrow table of the records.

    Args:
        table: Name of the table.
        data: Arrow table with at least the required columns.

    Returns:
        One row each, in the order of the data.
    """
    names = data.column_names
    lists = [_values(data.column(name)) for name in names]
    return [from_record(table, dict(zip(names, values, strict=True))) for values in zip(*lists, strict=True)]


def _values(column: pa.ChunkedArray) -> list[object]:
    if not pa.types.is_timestamp(column.type):
        values: list[object] = column.to_pylist()
        return values
    ticks = column.cast(pa.int64()).to_pylist()
    return [None if tick is None else _EPOCH + tick * _MICROSECOND for tick in ticks]
