"""How many seeds a comparison needs: against scipy.stats, by simulation and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from results.statistics import MOST_SEEDS, seeds_needed

effects = st.floats(0.05, 30)


def shown(effect, n, level):
    """Whether a sample of n with just this mean and spread has a p value below the level."""
    sample = np.arange(n) - (n - 1) / 2
    return stats.ttest_1samp(sample / sample.std(ddof=1) + effect, 0).pvalue < level


@pytest.mark.parametrize("effect", [0.3, 0.8, 1.2, 4.0])
@pytest.mark.parametrize("compared", [1, 3])
def test_the_smallest_number_is_found_that_shows_it(effect, compared):
    n = seeds_needed(0.001 * effect, 0.001, compared=compared).as_it_is
    assert shown(effect, n, 0.05 / compared)
    assert n == 2 or not shown(effect, n - 1, 0.05 / compared)


@pytest.mark.parametrize("effect", [0.35, 0.8, 1.2, 4.0])
@pytest.mark.parametrize("compared", [1, 3])
def test_the_chance_is_that_of_the_noncentral_t(effect, compared):
    def power(n):
        critical = stats.t.ppf(1 - 0.05 / compared / 2, n - 1)
        return stats.nct(n - 1, effect * math.sqrt(n)).sf(critical)

    n = seeds_needed(-0.02 * effect, 0.02, compared=compared).likely
    assert power(n) >= 0.8
    assert n == 2 or power(n - 1) < 0.8


def test_so_many_seeds_show_it_in_80_percent_of_studies_and_the_smaller_number_in_half():
    needed = seeds_needed(0.0056, 0.0048)
    rng = np.random.default_rng(0)
    found = {
        n: np.mean(stats.ttest_1samp(rng.normal(0.0056, 0.0048, (20_000, n)), 0, axis=1).pvalue < 0.05)
        for n in (needed.as_it_is, needed.likely, needed.likely - 1)
    }
    assert found[needed.likely] > 0.79
    assert found[needed.likely - 1] < 0.81
    assert 0.4 < found[needed.as_it_is] < 0.7


@given(effects, st.integers(1, 9))
def test_more_certainty_takes_more_seeds(effect, compared):
    one, several = seeds_needed(effect, 1.0), seeds_needed(effect, 1.0, compared=compared)
    for needed in (one, several):
        assert needed.likely is None or 2 <= needed.as_it_is <= needed.likely <= MOST_SEEDS
    assert several.as_it_is is None or one.as_it_is <= several.as_it_is


@given(effects, st.sampled_from([2.0**-10, 0.25, 8.0]))
def test_neither_unit_nor_sign_counts(effect, unit):
    assert seeds_needed(effect, 1.0) == seeds_needed(-effect * unit, unit)


def test_what_is_too_small_to_chase_has_no_number():
    needed = seeds_needed(0.0, 0.01)
    assert (needed.as_it_is, needed.likely) == (None, None)
    assert seeds_needed(0.25, 1.0).as_it_is == 64
    assert seeds_needed(0.25, 1.0).likely is None


@pytest.mark.parametrize(("mean", "sd"), [(0.1, 0.0), (0.1, -1.0), (0.1, math.nan), (math.nan, 1.0), (math.inf, 1.0)])
def test_a_spread_is_above_zero_and_the_mean_finite(mean, sd):
    with pytest.raises(ValueError, match="spread must be above 0"):
        seeds_needed(mean, sd)
