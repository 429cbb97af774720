"""Numbers as people read them: accuracy in percent, settings with three digits, times in the unit that fits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from results.statistics import MeanInterval, PairedDifference

NONE = "-"
"""What stands where there is no value."""


def metric(name: str, value: float | None) -> str:
    """A metric's value with its unit.

    Args:
        name: Metric, ``split/name``.
        value: Its value; accuracies in 0..1.

    Returns:
        For instance ``97.50 %`` or ``0.1234 nats``; ``-`` without a value.

    Example:
        >>> metric("val/accuracy", 0.975), metric("val/loss", 0.12345), metric("val/loss", None)
        ('97.50 %', '0.1235 nats', '-')
    """
    if value is None:
        return NONE
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"{100 * value:.2f} %" if name.endswith("accuracy") else f"{value:.4f} nats"


def metric_words(name: str) -> str:
    """A metric in words: ``val/accuracy`` is ``validation accuracy``."""
    split, _, quantity = name.partition("/")
    word = {"val": "validation", "train": "training"}.get(split, split)
    return f"{word} {quantity}"


def interval(name: str, mean: MeanInterval | None, *, n: bool = True) -> str:
    """A mean with its 95 % interval: ``97.50 % [97.10, 97.90], n = 5``.

    Without a spread: ``97.50 % on each of 3 seeds``. An interval shows no accuracy that is impossible: its ends stop at
    0 and 100 %.

    Args:
        name: Metric, ``split/name``.
        mean: The mean, None where there is none.
        n: Whether to say n; not where a column of its own does.
    """
    if mean is None:
        return NONE
    shown = metric(name, mean.mean)
    if mean.low is None or mean.high is None:
        if mean.n == 1:
            return shown + (", n = 1" if n else "")
        return shown + (f" on each of {mean.n} seeds" if n else "")
    low, high = (_possible(name, end, 0.0) for end in (mean.low, mean.high))
    return f"{shown} [{bare(name, low)}, {bare(name, high)}]" + (f", n = {mean.n}" if n else "")


def difference(name: str, paired: PairedDifference) -> str:
    """A difference with its unit, sign and 95 % interval: ``+0.52 percentage points, 95 % interval +0.31 to +0.73``.

    Without an interval: ``+0.28 percentage points on each of 5 seeds``. The ends stop at -100 and +100 points.
    """
    mean = f"{bare(name, paired.mean, '+')} {unit(name)}"
    if paired.low is None or paired.high is None:
        return f"{mean} on each of {paired.n} seeds"
    low, high = (_possible(name, end, -1.0) for end in (paired.low, paired.high))
    return f"{mean}, 95 % interval {bare(name, low, '+')} to {bare(name, high, '+')}"


def difference_only(name: str, paired: PairedDifference | MeanInterval) -> str:
    """A difference without its unit, for a column that says it: ``+0.52 [+0.31, +0.73]``."""
    mean = bare(name, paired.mean, "+")
    if paired.low is None or paired.high is None:
        return mean
    low, high = (_possible(name, end, -1.0) for end in (paired.low, paired.high))
    return f"{mean} [{bare(name, low, '+')}, {bare(name, high, '+')}]"


def p_value(p: float | None) -> str:
    """A p value: ``p = 0.012``, ``p < 0.001``; ``no p value`` without one."""
    if p is None:
        return "no p value"
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def setting(value: object) -> str:
    """A value of the recipe: three significant digits for a float, everything else as it is.

    Example:
        >>> setting(3.14159), setting(1.0), setting(0.00012345), setting(128), setting("sgd")
        ('3.14', '1', '0.000123', '128', 'sgd')
    """
    if isinstance(value, bool) or not isinstance(value, float):
        return NONE if value is None else str(value)
    return f"{value:.3g}"


def number(value: float | None, form: str) -> str:
    """A number in a format of Python's: ``.4f``, ``.3g``; ``-`` without one."""
    return NONE if value is None else format(value, form)


def percent(value: float | None) -> str:
    """A share of 0..1 in percent: ``2.31 %``; ``-`` without one."""
    return NONE if value is None else f"{100 * value:.2f} %"


def rough_percent(share: float) -> str:
    """A share of 0..1 in whole percent, with nothing rounded to never or always: ``less than 1 %``."""
    if 0 < share < 0.01:
        return "less than 1 %"
    return "more than 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def settings(values: Mapping[str, object]) -> str:
    """Settings in one line, by the last part of their path where that is plain.

    Example:
        >>> settings({"loss.beta": 3.14159, "optimizer.lr": 0.01})
        'beta 3.14, lr 0.01'
        >>> settings({"teacher.lr": 0.1, "optimizer.lr": 0.01})
        'teacher.lr 0.1, optimizer.lr 0.01'
    """
    names = Counter(path.rpartition(".")[2] for path in values)
    short = {path: leaf if names[leaf := path.rpartition(".")[2]] == 1 else path for path in values}
    return ", ".join(f"{short[path]} {setting(value)}" for path, value in values.items()) or NONE


def duration(seconds: float) -> str:
    """A time in the units that fit.

    Example:
        >>> duration(0.25), duration(75), duration(3725), duration(200000)
        ('0.2 s', '1 min 15 s', '1 h 02 min', '2 d 7 h')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def count(number: int, noun: str) -> str:
    """A number with its noun: ``1 trial``, ``3 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def first_line(text: str) -> str:
    """The first line of a text, cut to 160 characters."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 160 else line[:157] + "..."


def unit(name: str) -> str:
    """The unit of differences in a metric."""
    return "percentage points" if name.endswith("accuracy") else "nats"


def bare(name: str, value: float, sign: str = "") -> str:
    """A metric's value without its unit: accuracy in percent, everything else in nats; never a zero below zero.

    Args:
        name: Metric, ``split/name``.
        value: Its value; accuracies in 0..1.
        sign: ``+`` for a sign in any case.
    """
    return f"{100 * value:{sign}z.2f}" if name.endswith("accuracy") else f"{value:{sign}z.4f}"


def _possible(name: str, end: float, least: float) -> float:
    """The end of an interval, no farther than the metric goes: accuracies to 1, and down to ``least``."""
    return min(1.0, max(least, end)) if name.endswith("accuracy") else end
