"""Where values stand: on linear and logarithmic axes, within a range that a few bad ones do not squash."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

_TAIL = 5.0  # values further below the median than so many times the best lies above it are drawn at the edge
_FENCE = 1.5  # interquartile ranges from a quartile to Tukey's inner fence
_FEWEST_FOR_QUARTILES = 8  # values; of fewer the quartiles say little


def position(value: float, log: bool) -> float:
    """Where a value stands on a linear or logarithmic axis."""
    return math.log10(value) if log else value


def log_ticks(low: float, high: float) -> list[float]:
    """Exponents of the ticks between two exponents: 1, 3, 10, 30 ...; powers of ten only over many decades."""
    steps = (1.0,) if high - low > 4 else (1.0, 3.0)
    places = [e + math.log10(s) for e in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    inside = [p for p in places if low - 1e-9 <= p <= high + 1e-9]
    return inside if len(inside) >= 2 else sorted({low, *inside, high})


def without_tail(values: Sequence[float], metric: str) -> list[float]:
    """The values without those far on the bad side of their median, which would squash the rest."""
    limit = _tail_limit(values, metric)
    sign = -1 if metric.endswith("loss") else 1
    return [v for v in values if sign * (v - limit) >= 0]


def without_tail_ends(values: Sequence[float], metric: str) -> tuple[float, float]:
    """Lowest and highest value for a scale of colours, without a tail on the bad side.

    Beyond what squashes an axis, Tukey's outliers (1.5 interquartile ranges outside the quartiles) count as tail: on a
    scale of colours the usual values need all the shades.
    """
    if not values:
        return 0.0, 1.0
    sign = -1 if metric.endswith("loss") else 1
    limits = [_tail_limit(values, metric)]
    if len(values) >= _FEWEST_FOR_QUARTILES:
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
        if upper > lower:
            limits.append(lower - _FENCE * (upper - lower) if sign > 0 else upper + _FENCE * (upper - lower))
    limit = max(limits, key=lambda v: sign * v)
    usual = [v for v in values if sign * (v - limit) >= 0]
    return min(usual), max(usual)


def _tail_limit(values: Sequence[float], metric: str) -> float:
    sign = -1 if metric.endswith("loss") else 1
    if len(values) < 3:
        return -sign * math.inf
    middle = statistics.median(values)
    spread = max(sign * (v - middle) for v in values)
    return middle - sign * _TAIL * spread


def value_range(values: Sequence[float]) -> list[float] | None:
    """Axis range around the finite values, with some room; None without any."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    pad = 0.08 * (high - low) or 0.02 * abs(high) or 1.0
    return [low - pad, high + pad]


def within(values: Sequence[float], span: Sequence[float], symbol: str) -> tuple[list[float], list[str]]:
    """Values with those off the scale moved to its edge, and their markers: triangles point to where these are."""
    margin = 0.015 * (span[1] - span[0])
    shown = [min(span[1] - margin, max(span[0] + margin, v)) for v in values]
    return shown, ["triangle-down" if v < span[0] else "triangle-up" if v > span[1] else symbol for v in values]
