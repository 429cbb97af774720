import json
import math
import statistics
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from results.errors import StudyNotFound
from results.schema import Stage
from search import plan_cli
from search.errors import UsageError
from search.machine import Machine
from search.plan import (
    CHECKPOINTS_KEPT,
    EPOCH_BYTES,
    TRIAL_BYTES,
    Curves,
    Outlook,
    Overhead,
    Simulation,
    forecast,
    plan,
    slots_limit,
)
from search.probe import Cost, Measured, kind_of, middle_recipe, recorded, timed
from search.settings import Resources
from search.stopping import is_audited
from search.study_file import load
from tests.search.commands import thermotune
from trainables.session import TrialConfig

FREE = Overhead(begin_s=0, turn_s=0, report_s=0, driver_s=0, end_s=0)
RANDOM = Curves(improvement=0.0, diverging=0.0)
BLIND = Curves(correlation=1e-6, improvement=0.0, diverging=0.0)


def cost(**values):
    known = {"epoch_s": 2.0, "start_s": 0.0, "save_s": 0.0, "metrics": 5, "checkpoint_bytes": 1000, "basis": "made up"}
    return Cost(**{**known, **values})


def study(*overrides, name="digits-beta"):
    return load(name, overrides).study


def costs_of(spec, **values):
    return dict.fromkeys((*spec.arms, *spec.needed_teachers), cost(**values))


def measured(spec, slots=4, **values):
    return Measured(costs=costs_of(spec), source="the test", slots=slots, **values)


def play(spec, *, slots=4, curves=RANDOM, overhead=FREE, trained=(), seed=0, **values):
    return Simulation(
        spec,
        slots=slots,
        rule=spec.rule,
        costs=costs_of(spec, **values),
        curves=curves,
        overhead=overhead,
        trained=trained,
        seed=seed,
    ).play()


def total(played, stage, what):
    return sum(getattr(tally, what) for (its, _), tally in played.tallies.items() if its is stage)


# Arithmetic


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


# Rules


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


# The forecast


def test_the_worst_case_stops_nobody():
    spec = study()
    found = forecast(spec, measured(spec), slots=4)
    assert found.trials.worst == 96 + 15
    assert found.epochs.worst == (96 + 15) * 27
    assert found.epochs.expected < 0.5 * found.epochs.worst
    low, high = found.epochs_range
    assert low < found.epochs.expected < high
    assert found.wall_hours.expected < found.wall_hours.worst


def test_devices_are_counted_as_they_are_held():
    spec = study("resources.cpus=2", "stopping={name: none}", "search.trials=2")
    found = forecast(spec, measured(spec), slots=2, curves=RANDOM)
    slots = sum(share.slot_hours.expected for share in found.shares)
    assert found.cpu_hours.expected == pytest.approx(2 * slots)
    assert found.gpu_hours == Outlook(0, 0)


def test_disk_and_mlflow_follow_from_rows_and_models():
    spec = study("stopping={name: none}", "search.trials=2", "seeds.search=2")
    found = forecast(spec, measured(spec), slots=3, curves=RANDOM)
    explored, confirmed = 4 * 27 * 2, 15 * 27
    assert found.records_bytes.worst == (4 + 15) * TRIAL_BYTES + (explored + confirmed) * EPOCH_BYTES
    assert found.mlflow_values.worst == 5 * (explored / 2 + confirmed)
    assert found.running_bytes == CHECKPOINTS_KEPT * 3 * 1000
    assert found.kept_bytes.worst == CHECKPOINTS_KEPT * 15 * 1000 / 2  # one lane of two


def test_without_a_measurement_there_are_epochs_but_no_times():
    found = forecast(study(), None, slots=4)
    assert found.epochs.expected > 0
    assert found.wall_hours is found.cpu_hours is found.mlflow_values is found.kept_bytes is None


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("budget.trials=200", "suffices in any case"),
        ("budget.trials=50", "does not suffice: 111 expected"),
        ("budget.wall_hours=0.25", "should suffice, but not if no trial is stopped early"),
    ],
)
def test_the_budget_is_judged(budget, said):
    spec = study(budget)
    assert any(
        budget.partition("=")[0] in remark and said in remark
        for remark in forecast(spec, measured(spec), slots=4).remarks
    )


def test_memory_that_does_not_suffice_is_said():
    spec = study()
    tight = forecast(spec, measured(spec, memory_bytes=3 * 2**30), slots=4, memory_bytes=8 * 2**30)
    assert any("4 trials of 3.0 GiB hardly fit in 8.0 GiB" in remark for remark in tight.remarks)
    assert not forecast(spec, measured(spec, memory_bytes=2**30), slots=4, memory_bytes=8 * 2**30).remarks


def test_costs_of_another_concurrency_are_remarked_upon():
    spec = study()
    assert any("measured with 2 trials at once" in r for r in forecast(spec, measured(spec, slots=2), slots=4).remarks)


@pytest.mark.parametrize(
    ("resources", "why"),
    [
        (Resources(cpus=2), "there are 8 CPU cores, and a trial takes 2"),
        (Resources(gpus=0.5), "there are 2 GPUs, and a trial takes 0.5"),
        (Resources(max_concurrent=3), "resources.max_concurrent is 3"),
        (Resources(max_concurrent=30), "there are 8 CPU cores, and a trial takes 1"),
    ],
)
def test_what_limits_the_slots_is_said(resources, why):
    assert slots_limit(Machine(cpus=8, gpus=2), resources) == why


# What costs are taken from


def test_arms_that_cost_the_same_are_timed_once():
    spec = study()
    kinds = {kind_of(middle_recipe(spec, arm)) for arm in spec.arms}
    assert len(kinds) == 1


def test_arms_of_other_losses_and_networks_are_timed_apart():
    spec = study(name="digits-kd")
    assert len({kind_of(middle_recipe(spec, arm)) for arm in spec.arms}) == 3


def test_the_middle_meets_what_is_required():
    spec = study("require=loss.beta > 0.9")  # the arm that has beta 1 needs a point, too
    assert middle_recipe(study(), "search").loss.beta < 0.9 < middle_recipe(spec, "search").loss.beta


# The command


@pytest.fixture
def command(tmp_path):
    app = typer.Typer()
    app.command(epilog=plan_cli.EPILOG)(plan_cli.plan)
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--root", str(tmp_path)])


def test_plan_without_a_probe(command):
    done = command("digits-beta", "--no-probe", "--format", "json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["trials"] == {"expected": 111.0, "worst": 111.0}
    assert said["wall_hours"] is None


def test_plan_as_text_says_what_is_not_known(command):
    done = command("digits-beta", "--no-probe", "-s", "budget.trials=10")
    assert "not known with --no-probe" in done.stdout
    assert "budget.trials 10 does not suffice" in done.stdout


def test_an_unknown_earlier_study_is_a_mistake_of_the_user(command):
    assert isinstance(command("digits-beta", "--from", "nobody").exception, StudyNotFound)


def test_help_has_examples(command):
    assert "thermotune plan digits-beta" in command("--help").stdout


@pytest.mark.slow
def test_probe_of_a_small_study(tmp_path):
    spec = study("resources.max_concurrent=2", "recipe.epochs=4", "search.trials=6", name="digits-kd")
    found = plan(spec, tmp_path)
    assert found.slots == 2
    assert set(found.measured.costs) == {"big", "nokd", "kd", "kd-ats"}
    for known in found.measured.costs.values():
        assert 0.0005 < known.epoch_s < 2
        assert "whole epochs" in known.basis
        assert known.checkpoint_bytes > 10_000
        assert known.metrics >= 5
    assert found.measured.memory_bytes > 50 * 2**20
    assert found.measured.took_s < 60
    assert not (tmp_path / "teachers").exists(), "the probe keeps its stand-ins to itself"
    text = plan_cli.as_text(found, (), width=100)
    assert "kd-ats" in text
    assert "wall time" in text
    json.dumps(plan_cli.as_json(found))


@pytest.mark.slow
def test_steps_and_evaluation_add_up_to_an_epoch(tmp_path):
    recipe = middle_recipe(study("recipe.batch_size=8", "recipe.epochs=3"), "search")
    config = TrialConfig(
        trial="probe",
        recipe=recipe.model_dump(mode="json"),
        seeds=(0,),
        return_at=(1, 2, 3),
        checkpoints=str(tmp_path),
    )
    whole = timed(config, seconds=60)
    part = timed(config, seconds=whole["epoch_s"])
    assert whole["basis"] == "2 whole epochs"
    assert "of 135 steps, and evaluation" in part["basis"]
    assert 0.5 < part["epoch_s"] / whole["epoch_s"] < 2  # others use the machine, too


@pytest.mark.slow
def test_records_of_a_study_tell_the_times_of_the_next(tmp_path):
    root = tmp_path / "root"
    small = ("-s", "search.trials=4", "-s", "recipe.epochs=3", "-s", "resources.max_concurrent=2")
    done = thermotune(root, "submit", "digits-beta", *small)
    assert done.returncode == 0, done.stderr
    found = recorded(study("search.trials=100"), root / "digits-beta")
    assert set(found.costs) == {"search", "baseline"}
    assert all(0.0005 < known.epoch_s < 2 for known in found.costs.values())
    assert found.slots == 2
    with pytest.raises(UsageError, match="has none like that of search, baseline"):
        recorded(study("recipe.model=mlp-16"), root / "digits-beta")
    text = plan_cli.as_text(forecast(study(), found, slots=2), (), width=100)
    assert "the records of digits-beta" in text
