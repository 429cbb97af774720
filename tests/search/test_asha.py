import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.schema import Verdict
from search.asha import decide, rungs

values = st.floats(-1e6, 1e6)
anything = st.floats(allow_nan=True, allow_infinity=True)


def test_rungs_grow_by_the_factor_and_stay_below_the_full_length():
    assert rungs(1, 3, 27) == (1, 3, 9)
    assert rungs(2, 4, 33) == (2, 8, 32)
    assert rungs(5, 2, 5) == ()


@pytest.mark.parametrize("mode", ["max", "min"])
def test_nobody_is_stopped_before_there_are_enough_to_compare(mode):
    worst = -1e9 if mode == "max" else 1e9
    decision = decide([0.5], worst, mode=mode, reduction_factor=3)
    assert (decision.verdict, decision.cutoff, decision.rank, decision.n) == (Verdict.CONTINUE, None, 2, 2)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_one_in_three_goes_on(mode):
    sign = 1 if mode == "max" else -1
    earlier = [sign * value for value in (1, 2, 3, 4, 5)]
    assert decide(earlier, sign * 4.5, mode=mode, reduction_factor=3).verdict == Verdict.CONTINUE
    decision = decide(earlier, sign * 3.5, mode=mode, reduction_factor=3)
    assert (decision.verdict, decision.cutoff, decision.rank, decision.n) == (Verdict.STOP, sign * 4, 3, 6)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("earlier", [[], [0.1], [0.1, 0.2, 0.3], [math.nan] * 5])
def test_trial_without_a_finite_value_always_stops(mode, value, earlier):
    assert decide(earlier, value, mode=mode, reduction_factor=3).verdict == Verdict.STOP


@pytest.mark.parametrize("mode", ["max", "min"])
@given(earlier=st.lists(anything, max_size=30), value=values, factor=st.integers(2, 4))
def test_values_that_are_not_finite_count_as_worse_than_every_finite_one(mode, earlier, value, factor):
    worst = -1e9 if mode == "max" else 1e9
    cleaned = [v if math.isfinite(v) else worst for v in earlier]
    cleaned = [min(max(v, -1e9), 1e9) for v in cleaned]
    tame = [min(max(v, -1e9), 1e9) if math.isfinite(v) else v for v in earlier]
    ours, theirs = (decide(e, value, mode=mode, reduction_factor=factor) for e in (tame, cleaned))
    assert (ours.verdict, ours.rank, ours.n) == (theirs.verdict, theirs.rank, theirs.n)


@pytest.mark.parametrize("mode", ["max", "min"])
@given(earlier=st.lists(values, min_size=3, max_size=30), value=values, factor=st.integers(2, 4))
def test_decides_as_optunas_successive_halving(mode, earlier, value, factor):
    if len(earlier) + 1 < factor:
        return
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    for old in earlier:
        trial = study.ask()
        trial.report(old, 1)
        pruner.prune(study, study._storage.get_trial(trial._trial_id))
    trial = study.ask()
    trial.report(value, 1)
    pruned = pruner.prune(study, study._storage.get_trial(trial._trial_id))
    assert (decide(earlier, value, mode=mode, reduction_factor=factor).verdict == Verdict.STOP) == pruned


@pytest.mark.parametrize("mode", ["max", "min"])
@given(earlier=st.lists(anything, max_size=30), value=values, factor=st.integers(2, 4))
def test_verdict_agrees_with_cutoff_rank_and_order_does_not_matter(mode, earlier, value, factor):
    decision = decide(earlier, value, mode=mode, reduction_factor=factor)
    assert decision == decide(sorted(earlier, key=repr), value, mode=mode, reduction_factor=factor)
    assert 1 <= decision.rank <= decision.n == len(earlier) + 1
    if decision.cutoff is not None:
        beats = value >= decision.cutoff if mode == "max" else value <= decision.cutoff
        assert beats == (decision.verdict == Verdict.CONTINUE)
