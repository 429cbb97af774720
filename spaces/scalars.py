"""Plain values of a recipe: what they are, when two are the same, and exact sums of decimals."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeGuard

Scalar = float | int | bool | str
"""A value of a recipe that a study may search or set."""

TOLERANCE = 1e-9
"""Relative difference below which a number that went through other hands is still the same."""


def is_number(value: object) -> TypeGuard[float | int]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_same(value: object, other: object) -> bool:
    """Whether two values are equal, and both or neither of them true or false: ``true`` is not ``1``."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def decimal(number: float) -> Decimal:
    """The number as it is written: sums of such are exact, where 0.1 + 0.1 + 0.1 is 0.30000000000000004."""
    return Decimal(repr(float(number)))


def written(value: object) -> str:
    """A value as a study file writes it, in one line: ``{log: [0.01, 10.0]}``."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
