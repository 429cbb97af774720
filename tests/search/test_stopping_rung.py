"""Rung: against lists that are sorted anew for every question."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.stopping import Rung

MODES = ("max", "min")
few = st.sampled_from([-1.5, 0.0, 0.25, 0.5, 1e300, math.nan, math.inf, -math.inf])  # many equals
anything = st.one_of(few, st.floats())


def rung_of(values):
    rung = Rung()
    for i, value in enumerate(values):
        rung.add(f"t{i:04d}", value)
    return rung


def key(value, mode):
    """Smaller is better."""
    if not math.isfinite(value):
        return math.inf
    return -value if mode == "max" else value


@pytest.mark.parametrize("mode", MODES)
@given(earlier=st.lists(anything, max_size=30), value=anything)
def test_rank_counts_those_that_are_better(mode, earlier, value):
    better = sum(key(other, mode) < key(value, mode) for other in earlier)
    assert rung_of(earlier).rank(value, mode) == better + 1


@pytest.mark.parametrize("mode", MODES)
@given(values=st.lists(anything, max_size=30))
def test_nth_best_reads_off_the_sorted_list(mode, values):
    rung = rung_of(values)
    assert len(rung) == len(values)
    worst = -math.inf if mode == "max" else math.inf
    best_first = [v if math.isfinite(v) else worst for v in sorted(values, key=lambda v: key(v, mode))]
    assert [rung.nth_best(n, mode) for n in range(1, len(values) + 1)] == best_first


@given(values=st.lists(anything, max_size=20), probe=anything, data=st.data())
def test_order_of_arrival_changes_no_rank_and_no_place_in_the_list(values, probe, data):
    shuffled = data.draw(st.permutations(values))
    one, other = rung_of(values), rung_of(shuffled)
    for mode in MODES:
        assert one.rank(probe, mode) == other.rank(probe, mode)
        places = range(1, len(values) + 1)
        assert [one.nth_best(n, mode) for n in places] == [other.nth_best(n, mode) for n in places]


@pytest.mark.parametrize("mode", MODES)
@given(values=st.lists(anything, max_size=30))
def test_places_number_the_finite_trials_with_the_earlier_of_equals_first(mode, values):
    rung = rung_of(values)
    in_order = sorted((i for i, v in enumerate(values) if math.isfinite(v)), key=lambda i: key(values[i], mode))
    assert [rung.place(f"t{i:04d}", mode) for i in in_order] == list(range(1, len(in_order) + 1))


class Waiting:
    """The trials that wait, in order of arrival."""

    def __init__(self):
        self.values = {}

    def best(self, mode):
        return min(self.values, key=lambda trial: key(self.values[trial], mode), default=None)


@pytest.mark.parametrize("mode", MODES)
@given(data=st.data())
def test_best_waiting_is_the_earliest_of_the_best_that_wait(mode, data):
    rung, model = Rung(), Waiting()
    for i, value in enumerate(data.draw(st.lists(anything, min_size=1, max_size=20))):
        waits = math.isfinite(value) and data.draw(st.booleans())
        rung.add(f"t{i:04d}", value, waits=waits)
        if waits:
            model.values[f"t{i:04d}"] = value
        if model.values and data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(sorted(model.values)))
            data.draw(st.sampled_from([rung.promote, rung.leave]))(gone)
            del model.values[gone]
        assert rung.best_waiting(mode) == model.best(mode)


def test_who_left_or_went_on_still_counts_with_its_value():
    rung = Rung()
    rung.add("left", 0.9, waits=True)
    rung.add("on", 0.8, waits=True)
    rung.leave("left")
    rung.promote("on")
    assert (len(rung), rung.rank(0.7, "max"), rung.value_of("left"), rung.best_waiting("max")) == (2, 3, 0.9, None)


def test_leaving_where_one_does_not_wait_changes_nothing():
    rung = Rung()
    rung.add("one", 0.9, waits=True)
    rung.add("other", 0.9)
    rung.leave("other")
    rung.leave("stranger")
    assert rung.best_waiting("max") == "one"


def test_nobody_meets_a_rung_twice():
    rung = rung_of([0.5])
    with pytest.raises(ValueError, match="a trial meets a rung once, but t0000 came again with"):
        rung.add("t0000", 0.7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nobody_waits_without_a_finite_value(value):
    with pytest.raises(ValueError, match="must have a finite value, but t0001 has"):
        Rung().add("t0001", value, waits=True)


def test_only_who_waits_is_promoted():
    rung = rung_of([0.5])
    for trial in ("t0000", "t0009"):
        with pytest.raises(ValueError, match=f"waits at the rung can be promoted, and {trial} does not"):
            rung.promote(trial)


@pytest.mark.parametrize("n", [0, 3, -1])
def test_there_is_no_nth_best_beyond_those_that_came(n):
    with pytest.raises(IndexError, match=rf"n must be in 1\.\.2, the values at the rung, got {n}"):
        rung_of([0.5, 0.6]).nth_best(n, "max")
