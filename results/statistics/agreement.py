"""How far two rankings of the same things agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b (Biometrika 33, 1945), which allows for ties: how far two rankings of the same things agree.

    Args:
        a: Values, none of them NaN; only their order counts.
        b: As many others, of the same things.

    Returns:
        -1..1; None where one side has fewer than two different values, so that it ranks nothing.

    Raises:
        ValueError: The two differ in length, or a value is NaN.

    Example:
        >>> kendall_tau([1, 2, 3, 4], [1, 3, 2, 4])
        0.6666666666666666
    """
    if len(a) != len(b):
        raise ValueError(f"two rankings must be of the same things, got {len(a)} and {len(b)} values")
    if any(map(math.isnan, (*a, *b))):
        raise ValueError("values must not be NaN, which has no rank")
    agreement = pairs_a = pairs_b = 0
    for (x, y), (u, v) in itertools.combinations(zip(a, b, strict=True), 2):
        order_a, order_b = (x > u) - (x < u), (y > v) - (y < v)
        agreement += order_a * order_b
        pairs_a += abs(order_a)
        pairs_b += abs(order_b)
    return agreement / math.sqrt(pairs_a * pairs_b) if pairs_a and pairs_b else None
