import pytest

from search.planning.amounts import Outlook
from search.planning.forecast import forecast
from search.planning.storage import CHECKPOINTS_KEPT, EPOCH_BYTES, TRIAL_BYTES
from search.settings import Resources
from tests.search.plans import RANDOM, measured, study


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


def test_a_gpu_that_is_too_small_for_those_that_share_it_is_said():
    spec = study().model_copy(update={"resources": Resources(gpus=0.25)})  # of a larger machine
    tight = measured(spec, gpu_memory_bytes=3 * 2**30, gpu_total_bytes=8 * 2**30)
    assert any(
        "4 trials together need 12.0 GiB of a GPU that has 8.0 GiB" in r for r in forecast(spec, tight, slots=4).remarks
    )
    roomy = measured(spec, gpu_memory_bytes=2**30, gpu_total_bytes=8 * 2**30)
    assert not forecast(spec, roomy, slots=4).remarks
