"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from results import formats
from results.statistics import mean_interval, paired_difference


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("val/accuracy", 0.975, "97.50 %"),
        ("val/accuracy", 1.0, "100.00 %"),
        ("val/loss", 0.12345, "0.1235 nats"),
        ("val/loss", None, "-"),
        ("val/loss", math.nan, "NaN"),
        ("val/loss", -math.inf, "-inf"),
        ("val/accuracy", math.inf, "inf"),
    ],
)
def test_metrics_have_their_unit(name, value, shown):
    assert formats.metric(name, value) == shown


def test_means_have_interval_and_n():
    values = [0.97, 0.975, 0.98]
    assert formats.interval("val/accuracy", mean_interval(values)) == "97.50 % [96.26, 98.74], n = 3"
    assert formats.interval("val/accuracy", mean_interval(values), n=False) == "97.50 % [96.26, 98.74]"
    assert formats.interval("val/loss", mean_interval([0.5])) == "0.5000 nats, n = 1"
    assert formats.interval("val/loss", None) == "-"


def test_differences_have_sign_unit_and_interval():
    found = paired_difference({1: 0.98, 2: 0.97}, {1: 0.97, 2: 0.965})
    text = formats.difference("test/accuracy", found)
    assert text == "+0.75 percentage points, 95 % interval -2.43 to +3.93"
    assert "nats" in formats.difference("test/loss", found)


def test_a_difference_without_spread_has_neither_interval_nor_p_value():
    found = paired_difference({1: 0.75, 2: 0.5}, {1: 0.5, 2: 0.25})
    assert formats.difference("test/accuracy", found) == "+25.00 percentage points on each of 2 seeds"
    assert formats.p_value(found.p) == "no p value"


def test_values_that_are_all_the_same_have_no_interval_of_width_zero():
    equal = mean_interval([0.9526] * 3)
    assert formats.interval("val/accuracy", equal) == "95.26 % on each of 3 seeds"
    assert formats.interval("val/accuracy", equal, n=False) == "95.26 %"
    assert formats.interval("val/accuracy", mean_interval([0.9]), n=False) == "90.00 %"


def test_no_interval_shows_an_impossible_accuracy():
    two = mean_interval([0.94, 0.96])
    assert two.high > 1
    assert formats.interval("val/accuracy", two) == "95.00 % [82.29, 100.00], n = 2"
    assert formats.interval("val/accuracy", mean_interval([0.0, 0.1])) == "5.00 % [0.00, 68.53], n = 2"
    gap = paired_difference({1: 0.9, 2: 0.7}, {1: 0.1, 2: 0.1})
    assert gap.high > 1
    assert formats.difference("test/accuracy", gap).endswith("95 % interval -57.06 to +100.00")
    assert formats.difference_only("test/accuracy", gap) == "+70.00 [-57.06, +100.00]"
    assert formats.interval("val/loss", mean_interval([0.2, 2.0])).endswith("[-10.3356, 12.5356], n = 2")


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (0.004, "less than 1 %"), (0.01, "1 %"), (0.5, "50 %"), (0.996, "more than 99 %"), (1, "100 %")],
)
def test_a_share_is_not_rounded_to_never_or_always(share, shown):
    assert formats.rough_percent(share) == shown


def test_only_the_first_line_is_shown_and_not_all_of_it():
    assert formats.first_line(" one\ntwo") == "one"
    assert formats.first_line("") == ""
    assert len(formats.first_line("x" * 500)) == 160


@pytest.mark.parametrize(
    ("p", "shown"), [(0.5, "p = 0.5"), (0.0123, "p = 0.012"), (0.0004, "p < 0.001"), (0, "p < 0.001")]
)
def test_p_values_are_not_more_exact_than_they_are(p, shown):
    assert formats.p_value(p) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3.14159, "3.14"),
        (1.0, "1"),
        (128, "128"),
        (True, "True"),
        (None, "-"),
        ("sgd", "sgd"),
        (0.000123456, "0.000123"),
    ],
)
def test_settings_have_three_digits(value, shown):
    assert formats.setting(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (3600, "1 h 00 min"),
        (86400, "1 d 0 h"),
    ],
)
def test_durations_never_show_sixty(seconds, shown):
    assert formats.duration(seconds) == shown
