from dataclasses import replace

import pytest

from results.schema import Stage
from tests.search.plans import FREE, play, study, total


def test_without_stopping_everything_is_exact():
    spec = study("stopping={name: none}", "search.trials=6")
    played = play(spec)
    assert total(played, Stage.EXPLORE, "trials") == 2 * 6
    assert total(played, Stage.EXPLORE, "epochs") == 2 * 6 * 27
    assert played.wall_s[Stage.EXPLORE] == 12 / 4 * 27 * 2.0
    # two of the search arm and one of the reference, each on five seeds: 15 runs in 4 slots are 4 rounds
    assert total(played, Stage.CONFIRM, "trials") == 15
    assert played.wall_s[Stage.CONFIRM] == 4 * 27 * 2.0
    assert total(played, Stage.EXPLORE, "busy_s") == 12 * 27 * 2.0


def test_lanes_are_trained_one_after_another_and_confirmed_alone():
    spec = study("stopping={name: none}", "search.trials=4", "seeds.search=3")
    played = play(spec)
    assert total(played, Stage.EXPLORE, "epochs") == 2 * 4 * 27 * 3
    assert played.wall_s[Stage.EXPLORE] == 2 * 27 * 3 * 2.0
    assert total(played, Stage.CONFIRM, "epochs") == 15 * 27


def test_overhead_counts_once_a_trial_and_once_a_report():
    spec = study("stopping={name: none}", "search.trials=1", "confirm.top=1", "seeds.confirm=2")
    overhead = replace(FREE, turn_s=1.0, report_s=0.25)
    played = play(spec, slots=1, overhead=overhead, start_s=3.0, save_s=0.5)
    assert played.wall_s[Stage.EXPLORE] == pytest.approx(2 * (1 + 3 + 27 * (2 + 0.5 + 0.25)))


def test_short_epochs_are_reported_together():
    spec = study("stopping={name: none}", "search.trials=1")
    played = play(spec, slots=1, epoch_s=0.1, save_s=1.0)  # 2.7 s of training: three reports
    assert played.wall_s[Stage.EXPLORE] == pytest.approx(2 * (2.7 + 3))


def test_one_driver_serves_all_slots():
    spec = study("stopping={name: none}", "search.trials=50")
    played = play(spec, slots=100, epoch_s=0.0, overhead=replace(FREE, driver_s=0.1))
    assert played.wall_s[Stage.EXPLORE] == pytest.approx(100 * 0.1)


def test_a_confirmed_arm_needs_completed_trials():
    spec = study("stopping={name: none}", "search.trials=1", "confirm.top=3")
    assert total(play(spec), Stage.CONFIRM, "trials") == (1 + 1) * 5


def test_teachers_come_first_each_after_its_own():
    spec = study(name="digits-kd-baselines")
    played = play(spec)
    epochs = {name: tally.epochs for (stage, name), tally in played.tallies.items() if stage is Stage.TEACH}
    assert epochs == {"large": 27, "small": 27, "large-stopped": 9, "assistant": 27, "student": 27}
    assert played.wall_s[Stage.TEACH] == 2 * 27 * 2.0  # the large one, and then those that learn from it


def test_trained_teachers_take_nothing():
    played = play(study(name="digits-kd"), trained=("big",))
    assert played.wall_s[Stage.TEACH] == 0
    assert total(played, Stage.TEACH, "trials") == 0


def test_confirmed_trials_open_the_test_split_once():
    spec = study("stopping={name: none}", "search.trials=1", "confirm.top=1", "seeds.confirm=2")
    played = play(spec, slots=1, test_s=0.5)
    assert played.wall_s[Stage.EXPLORE] == 2 * 27 * 2.0
    assert played.wall_s[Stage.CONFIRM] == 4 * (27 * 2.0 + 0.5)


def test_a_finer_grid_waits_for_the_coarse_one_of_its_arm():
    few = ("recipe.epochs=10", "seeds.search=1")
    finer, coarse = (
        play(study(*few, f"search.sampler.refine={rounds}", name="digits-alpha-grid"), slots=6) for rounds in (1, 0)
    )
    # nine points and the reference arm's one are two rounds of six slots; two new points of the finer grid follow
    assert total(finer, Stage.EXPLORE, "trials") == 9 + 1 + 2
    assert finer.wall_s[Stage.EXPLORE] == 3 * 10 * 2.0
    assert coarse.wall_s[Stage.EXPLORE] == 2 * 10 * 2.0
