"""Intervals, comparisons and rankings: how much a few seeds can say."""

from results.statistics.agreement import kendall_tau
from results.statistics.comparison import LEVEL, Comparison, Outcome, compare, holm
from results.statistics.intervals import (
    SAME_DIGITS,
    MeanInterval,
    PairedDifference,
    mean_interval,
    paired_difference,
    prediction_interval,
    wilson_interval,
)
from results.statistics.ranking import first_shares, may_be_best
from results.statistics.sample_size import MOST_SEEDS, SeedsNeeded, seeds_needed

__all__ = [
    "LEVEL",
    "MOST_SEEDS",
    "SAME_DIGITS",
    "Comparison",
    "MeanInterval",
    "Outcome",
    "PairedDifference",
    "SeedsNeeded",
    "compare",
    "first_shares",
    "holm",
    "kendall_tau",
    "may_be_best",
    "mean_interval",
    "paired_difference",
    "prediction_interval",
    "seeds_needed",
    "wilson_interval",
]
