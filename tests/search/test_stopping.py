"""The stopping rules: tables of hand-made cases, and what must hold for any values."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.schema import Verdict
from search import settings
from search.stopping import Rung, is_audited, rule_of
from search.stopping.hyperband import Hyperband
from tests.search.test_stopping_rung import MODES, anything, rung_of

EPOCHS = 27
values = st.floats(-1e6, 1e6, allow_subnormal=False)
RULES = {
    "asha": settings.Asha(),
    "asha by halves": settings.Asha(reduction_factor=2),
    "promotion": settings.Asha(form="promotion"),
    "hyperband": settings.Hyperband(),
    "median": settings.Median(),
    "none": settings.NoStopping(),
}


def rule(section, mode="max", epochs=EPOCHS):
    return rule_of(section, epochs=epochs, mode=mode)


def said(section, earlier, value, mode="max"):
    """Decides about ``value``; in mode min about its mirror image, and mirrors the cut-off back."""
    sign = 1 if mode == "max" else -1
    found = rule(section, mode).decide(rung_of([sign * v for v in earlier]), sign * value)
    return found.verdict.value, None if found.cutoff is None else sign * found.cutoff, found.rank, found.n


# Where they meet


@pytest.mark.parametrize(
    ("section", "epochs", "rungs"),
    [
        (settings.Asha(), 27, (1, 3, 9)),
        (settings.Asha(), 28, (1, 3, 9, 27)),
        (settings.Asha(grace_epochs=2, reduction_factor=4), 33, (2, 8, 32)),
        (settings.Asha(grace_epochs=5, reduction_factor=2), 5, ()),
        (settings.Asha(form="promotion"), 27, (1, 3, 9)),
        (settings.Median(), 5, (1, 2, 3, 4)),
        (settings.Median(grace_epochs=3, interval_epochs=4), 12, (3, 7, 11)),
        (settings.Median(grace_epochs=3, interval_epochs=4), 11, (3, 7)),
        (settings.NoStopping(), 27, ()),
    ],
)
def test_rungs_lie_below_the_full_length(section, epochs, rungs):
    found = rule(section, epochs=epochs)
    assert found.rungs() == rungs
    assert found.bracket(17) == 0


def test_later_brackets_meet_later_and_the_last_never():
    found = rule(settings.Hyperband())
    assert [found.rungs(bracket) for bracket in range(4)] == [(1, 3, 9), (3, 9), (9,), ()]


@pytest.mark.parametrize("name", RULES)
def test_only_the_promotion_form_pauses(name):
    assert rule(RULES[name]).pauses == (name == "promotion")


# What they compare


@pytest.mark.parametrize("name", RULES)
def test_score_is_the_newest_value_but_the_median_rules_best_so_far(name):
    curve = [0.3, 0.8, math.nan, 0.5]
    assert rule(RULES[name], "max").score(curve) == (0.8 if name == "median" else 0.5)
    assert rule(RULES[name], "min").score(curve) == (0.3 if name == "median" else 0.5)


@pytest.mark.parametrize("mode", MODES)
def test_best_so_far_of_nothing_finite_is_no_number(mode):
    assert math.isnan(rule(settings.Median(), mode).score([math.nan, math.inf, -math.inf]))


# What they say


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("section", "earlier", "value", "expected"),
    [
        # fewer than reduction_factor: nobody is stopped
        (settings.Asha(), [], 0.5, ("CONTINUE", None, 1, 1)),
        (settings.Asha(), [0.5], -1e9, ("CONTINUE", None, 2, 2)),
        # one in three goes on, two in six; equals go on together
        (settings.Asha(), [0.9, 0.8], 0.7, ("STOP", 0.9, 3, 3)),
        (settings.Asha(), [0.9, 0.8], 0.95, ("CONTINUE", 0.95, 1, 3)),
        (settings.Asha(), [0.9, 0.8], 0.9, ("CONTINUE", 0.9, 1, 3)),
        (settings.Asha(), [1, 2, 3, 4, 5], 4.5, ("CONTINUE", 4.5, 2, 6)),
        (settings.Asha(), [1, 2, 3, 4, 5], 5.5, ("CONTINUE", 5, 1, 6)),
        (settings.Asha(), [1, 2, 3, 4, 5], 3.5, ("STOP", 4, 3, 6)),
        (settings.Asha(reduction_factor=2), [1, 2, 3], 2.5, ("CONTINUE", 2.5, 2, 4)),
        (settings.Asha(reduction_factor=2), [1, 2, 3], 1.5, ("STOP", 2, 3, 4)),
        # diverged ones count, and any finite value beats them
        (settings.Asha(), [math.nan, math.inf], 0.1, ("CONTINUE", 0.1, 1, 3)),
        (settings.Asha(), [math.nan] * 4 + [0.9], 0.1, ("CONTINUE", 0.1, 2, 6)),
        (settings.Hyperband(), [0.9, 0.8], 0.7, ("STOP", 0.9, 3, 3)),
        # the promotion form pauses the best and the worst
        (settings.Asha(form="promotion"), [], 0.5, ("PAUSE", None, 1, 1)),
        (settings.Asha(form="promotion"), [0.9, 0.8, 0.7], 0.1, ("PAUSE", None, 4, 4)),
        # the median of those before, once there are enough of them
        (settings.Median(), [1, 2, 3, 4], -1e9, ("CONTINUE", None, 5, 5)),
        (settings.Median(), [1, 2, 3, 4, 5], 3, ("CONTINUE", 3, 3, 6)),
        (settings.Median(), [1, 2, 3, 4, 5], 2.9, ("STOP", 3, 4, 6)),
        (settings.Median(min_trials=4), [1, 2, 3, 4], 2.4, ("STOP", 2.5, 3, 5)),
        (settings.Median(min_trials=1), [1], 0.9, ("STOP", 1, 2, 2)),
        (settings.Median(), [1, math.nan, math.nan, math.nan, 5], -1e9, ("CONTINUE", None, 3, 6)),
        (settings.Median(), [1, 2, math.nan, 4, 5], 1.5, ("STOP", 2, 4, 6)),
    ],
)
def test_decides_as_by_hand(mode, section, earlier, value, expected):
    assert said(section, earlier, value, mode) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("earlier", [[], [0.1], [0.1, 0.2, 0.3], [math.nan] * 7])
def test_trial_without_a_finite_value_always_stops(mode, name, value, earlier):
    finite = sum(map(math.isfinite, earlier))
    assert said(RULES[name], earlier, value, mode) == ("STOP", None, finite + 1, len(earlier) + 1)


@pytest.mark.parametrize("mode", MODES)
@given(earlier=st.lists(anything, max_size=30), value=values, factor=st.integers(2, 4))
def test_cutoff_and_rank_of_asha_are_read_off_the_sorted_values(mode, earlier, value, factor):
    decision = rule(settings.Asha(reduction_factor=factor), mode).decide(rung_of(earlier), value)
    sign = 1 if mode == "max" else -1
    scores = sorted([*(sign * v if math.isfinite(v) else -math.inf for v in earlier), sign * value], reverse=True)
    assert (decision.rank, decision.n) == (scores.index(sign * value) + 1, len(scores))
    if len(scores) < factor:
        assert (decision.verdict, decision.cutoff) == (Verdict.CONTINUE, None)
        return
    cutoff = scores[len(scores) // factor - 1]
    assert decision.cutoff == (sign * cutoff if math.isfinite(cutoff) else None)
    assert (decision.verdict is Verdict.CONTINUE) == (sign * value >= cutoff)


@pytest.mark.parametrize("name", RULES)
@given(earlier=st.lists(anything, max_size=20), value=anything)
def test_smaller_is_better_mirrors_larger_is_better(name, earlier, value):
    assert said(RULES[name], earlier, value, "max") == said(RULES[name], earlier, value, "min")


@pytest.mark.parametrize("name", RULES)
@given(earlier=st.lists(anything, max_size=12), value=anything, data=st.data())
def test_order_of_arrival_does_not_matter(name, earlier, value, data):
    shuffled = data.draw(st.permutations(earlier))
    assert said(RULES[name], earlier, value) == said(RULES[name], shuffled, value)


# Promotion


def waiting(*arrivals):
    rung = Rung()
    for trial, value in arrivals:
        rung.add(trial, value, waits=math.isfinite(value))
    return rung


@pytest.mark.parametrize("mode", MODES)
def test_best_waiting_is_promoted_once_there_are_enough(mode):
    found = rule(settings.Asha(form="promotion"), mode)
    sign = 1 if mode == "max" else -1
    rung = waiting(("a", sign * 0.9), ("b", sign * 0.8))
    assert found.promotable(rung) is None
    rung.add("c", sign * 0.7, waits=True)
    assert found.promotable(rung) == "a"
    rung.promote("a")
    assert found.promotable(rung) is None  # b is the second of three
    for trial in "def":
        rung.add(trial, sign * 0.1, waits=True)
    assert found.promotable(rung) == "b"


@pytest.mark.parametrize("mode", MODES)
def test_of_equals_only_as_many_are_promoted_as_there_is_room_for(mode):
    found = rule(settings.Asha(form="promotion"), mode)
    rung = waiting(*((name, 0.1) for name in "abcdef"))
    promoted = []
    while (trial := found.promotable(rung)) is not None:
        promoted.append(trial)
        rung.promote(trial)
    assert promoted == ["a", "b"]


def test_diverged_trials_make_room_but_are_not_promoted():
    rung = waiting(("nan", math.nan), ("inf", math.inf), ("fine", 0.2))
    assert rule(settings.Asha(form="promotion")).promotable(rung) == "fine"


@pytest.mark.parametrize("name", [name for name in RULES if name != "promotion"])
def test_other_rules_promote_nobody(name):
    assert rule(RULES[name]).promotable(waiting(*((name, 0.1) for name in "abcdef"))) is None


# Brackets


@pytest.mark.parametrize(
    ("section", "epochs", "weights"),
    [
        (settings.Hyperband(), 27, (27, 12, 6, 4)),  # a round of the paper with eta = 3 and R = 27
        (settings.Hyperband(), 81, (81, 34, 15, 8, 5)),  # with R = 81
        (settings.Hyperband(reduction_factor=2, brackets=2), 8, (8, 6)),
        (settings.Hyperband(grace_epochs=30), 27, (1,)),
    ],
)
def test_brackets_weigh_as_in_the_paper(section, epochs, weights):
    found = rule(section, epochs=epochs)
    assert isinstance(found, Hyperband)
    assert found.weights == weights


@pytest.mark.parametrize("section", [settings.Hyperband(), settings.Hyperband(brackets=3, reduction_factor=2)])
@given(start=st.integers(0, 10**9), count=st.integers(1, 400))
def test_any_run_of_trials_is_dealt_by_weight(section, start, count):
    found = rule(section)
    assert isinstance(found, Hyperband)
    dealt = Counter(found.bracket(number) for number in range(start, start + count))
    for bracket, weight in enumerate(found.weights):
        assert abs(dealt[bracket] - count * weight / sum(found.weights)) < 4
    assert set(dealt) <= set(range(len(found.weights)))


def test_more_brackets_than_rungs_allow_are_refused():
    with pytest.raises(ValueError, match=r"brackets must be at most 4 with 27 epochs, .* got 5\. Leave it out"):
        rule(settings.Hyperband(brackets=5))


# Audit


def test_everybody_or_nobody_is_audited_at_the_ends():
    assert all(is_audited(0, "search", number, 1.0) for number in range(100))
    assert not any(is_audited(0, "search", number, 0.0) for number in range(100))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_audited_share_is_what_was_asked_for(share):
    drawn = sum(is_audited(seed, "search", number, share) for seed in range(10) for number in range(1000))
    assert abs(drawn - 10_000 * share) < 4 * math.sqrt(10_000 * share * (1 - share))


def test_a_larger_share_audits_the_same_trials_and_more():
    small, large = ({n for n in range(500) if is_audited(3, "search", n, share)} for share in (0.1, 0.3))
    assert small < large


def test_seeds_and_arms_draw_independently():
    one, seed, arm = (
        [is_audited(*key, number, 0.5) for number in range(4000)] for key in ((0, "a"), (1, "a"), (0, "b"))
    )
    for other in (seed, arm):
        alike = sum(x == y for x, y in zip(one, other, strict=True))
        assert abs(alike - 2000) < 4 * math.sqrt(1000)
