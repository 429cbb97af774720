"""Plain values of a recipe: what they are, when two are the same, and exact sums of decimals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeGuard

Scalar = float | int | bool | str
"""A value of a recipe that a study may search or set."""

TOLERANCE = 1e-9
"""Relative difference below which a number that went through other hands is still the same."""

LONGEST_SHOWN = 300
"""Characters of the longest value that a message shows."""


def is_number(value: object) -> TypeGuard[float | int]:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(number: float) -> bool:
    """Whether a number is one that a float can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond all floats
        return False


def is_same(value: object, other: object) -> bool:
    """Whether two values are equal, and both or neither of them true or false: ``true`` is not ``1``."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def decimal(number: float) -> Decimal:
    """The number as it is written: sums of such are exact, where 0.1 + 0.1 + 0.1 is 0.30000000000000004."""
    return Decimal(repr(float(number)))


def written(value: object) -> str:
    """A value as a study file writes it, in one line: ``{log: [0.01, 10.0]}``; what is very long ends in dots."""
    text = _in_one_line(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _in_one_line(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_in_one_line(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_in_one_line, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
