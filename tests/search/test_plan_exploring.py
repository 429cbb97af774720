import math
import statistics

import pytest

from results.schema import Stage
from search.planning.curves import Curves
from search.planning.exploring import barriers
from search.stopping import is_audited
from tests.search.plans import BLIND, play, study, total


def expected_survivors(trials, factor):
    """Of ``trials`` in random order at the first rung of the stopping form: the n-th is let on if among n // factor."""
    return sum(1.0 if n < factor else (n // factor) / n for n in range(1, trials + 1))


def test_random_order_leaves_as_many_as_theory_says():
    spec = study("search.trials=48", "stopping.grace_epochs=9")  # one rung before 27
    means = []
    for seed in range(200):
        epochs = total(play(spec, slots=1, curves=BLIND, seed=seed), Stage.EXPLORE, "epochs")
        means.append((epochs - 2 * 48 * 9) / (27 - 9) / 2)  # survivors of an arm
    error = statistics.stdev(means) / math.sqrt(len(means))
    assert statistics.fmean(means) == pytest.approx(expected_survivors(48, 3), abs=4 * error)


def test_trials_that_improve_survive_more_often():
    spec = study()
    blind, taught = (
        statistics.fmean(
            total(play(spec, curves=Curves(improvement=better), seed=seed), Stage.EXPLORE, "epochs")
            for seed in range(30)
        )
        for better in (0.0, 2.0)
    )
    assert taught > 1.1 * blind


def test_audited_trials_run_on():
    spec = study("stopping.audit=1.0", "search.trials=20")
    assert total(play(spec), Stage.EXPLORE, "epochs") == 2 * 20 * 27
    spec = study("stopping.audit=0.5", "search.trials=20")
    audited = sum(is_audited(0, arm, number, 0.5) for arm in spec.arms for number in range(20))
    assert total(play(spec), Stage.EXPLORE, "epochs") >= audited * 27


@pytest.mark.parametrize("mode", [("val/accuracy", "max"), ("val/loss", "min")])
def test_promotion_lets_a_third_on_and_ends(mode):
    spec = study("stopping.form=promotion", "search.trials=27", f"search.metric={mode[0]}", f"search.mode={mode[1]}")
    epochs = [total(play(spec, seed=seed), Stage.EXPLORE, "epochs") for seed in range(10)]
    # 27 to epoch 1, 9 to epoch 3, 3 to epoch 9, 1 to epoch 27, in both arms; asynchrony promotes a few more
    least = 2 * (27 + 9 * 2 + 3 * 6 + 1 * 18)
    assert all(least <= found <= 2 * least for found in epochs)


def test_brackets_stop_fewer():
    asha, hyperband = (
        total(play(study(f"stopping={{name: {name}}}"), seed=1), Stage.EXPLORE, "epochs")
        for name in ("asha", "hyperband")
    )
    assert asha < hyperband < 96 * 27


def test_median_stops_about_half():
    spec = study("stopping={name: median, grace_epochs: 26}", "search.trials=48")
    completed = [total(play(spec, curves=BLIND, seed=seed), Stage.EXPLORE, "epochs") - 96 * 26 for seed in range(50)]
    assert statistics.fmean(completed) / 96 == pytest.approx(0.55, abs=0.05)  # the first five are not judged


def test_diverging_trials_end_early():
    spec = study("stopping={name: none}", "search.trials=10")
    assert total(play(spec, curves=Curves(diverging=1.0)), Stage.EXPLORE, "epochs") == 20 * 2


def test_promotion_completes_as_many_as_are_confirmed():
    spec = study("stopping.form=promotion", "search.trials=3", "confirm.top=2")
    for seed in range(10):  # of three, one is promoted from epoch 1, and none from epoch 3: the rest is for confirm
        assert total(play(spec, seed=seed), Stage.CONFIRM, "trials") == (2 + 1) * 5


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_rounds_of_a_refined_grid_add_up_to_what_is_planned(rounds):
    spec = study(f"search.sampler.refine={rounds}", name="digits-alpha-grid")
    found = barriers(spec, "search")
    assert found == [9, 11, 13][:rounds]
    assert spec.planned_trials("search") == 9 + 2 * rounds


def test_other_samplers_never_wait():
    assert barriers(study(), "search") == []
