"""Answers of SQL as CSV and JSON, piece by piece.

Times are written as ``2026-11-20T10:00:00.000000Z``. In JSON, NaN and infinity are null. In CSV every text stands in
quotes and null is nothing at all; a text that a spreadsheet would take for a formula (it begins with ``=``, ``+``,
``-``, ``@``, a tab or a line end) gets a ``'`` in front of it, a number never.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = r"^[=+\-@\t\r\n]"
_INT64 = 2**63


def csv_pieces(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """An answer as CSV: a line of names, then the rows; UTF-8.

    Args:
        schema: Its columns.
        batches: Its rows.
    """
    from pyarrow import csv

    names = [re.sub(_FORMULA, r"'\g<0>", name) for name in schema.names]
    empty = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in schema.types], names=schema.names)
    for number, batch in enumerate(_after(empty, batches)):
        columns = [
            _inert(column) if pa.types.is_string(column.type) else column for column in map(_simple, batch.columns)
        ]
        sink = pa.BufferOutputStream()
        csv.write_csv(pa.Table.from_arrays(columns, names), sink, csv.WriteOptions(include_header=number == 0))
        yield sink.getvalue().to_pybytes()


def json_pieces(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """An answer as a JSON list of objects, one a line; UTF-8. Of columns of one name the last one stays.

    Args:
        schema: Its columns.
        batches: Its rows.
    """
    before = "[\n"
    for batch in batches:
        values = [_simple(column, nested=True).to_pylist() for column in batch.columns]
        for row in zip(*values, strict=True):
            fields = {name: _finite(value) for name, value in zip(schema.names, row, strict=True)}
            yield (before + json.dumps(fields, ensure_ascii=False, allow_nan=False)).encode()
            before = ",\n"
    yield b"[]\n" if before == "[\n" else b"\n]\n"


def cells(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:  # Any: texts, numbers, None
    """Rows of texts, numbers, truth values and None, for tables."""
    return list(zip(*(_simple(column).to_pylist() for column in batch.columns), strict=True))


def _after(first: pa.RecordBatch, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from batches


def _simple(column: pa.Array, *, nested: bool = False) -> pa.Array:
    """A column of texts, numbers or truth values; with ``nested`` lists and structures stay what they are."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind):
        return column
    if pa.types.is_timestamp(kind):
        texts = pc.cast(column.cast(pa.timestamp("us")), pa.string())
        return pc.replace_substring_regex(texts, pattern=r"^(\S+) (\S+)$", replacement=r"\1T\2Z")
    if pa.types.is_decimal(kind):
        return _numbers(column.to_pylist(), whole=kind.scale == 0)
    if pa.types.is_nested(kind):
        if nested:
            return column
        return pa.array(
            [None if v is None else json.dumps(_finite(v), default=str) for v in column.to_pylist()], pa.string()
        )
    return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())


def _numbers(values: list[Decimal | None], *, whole: bool) -> pa.Array:
    """Sums of integers come as decimals of 38 digits."""
    if whole and all(value is None or -_INT64 <= value < _INT64 for value in values):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _inert(column: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(column, pattern=_FORMULA, replacement=r"'\0")


def _finite(value: Any) -> Any:  # Any: whatever an Arrow cell holds
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value if value is None or isinstance(value, (str, int)) else str(value)
