"""What counts as used of a budget, against what is known of the trials that used it."""

import pytest

from search.budget import Meter
from tests.search.test_setbacks import GIB, begin, report, taken_up

HOUR = 3600.0


def hour(trial, epoch, **values):
    """A report of an epoch that took an hour."""
    found = report(trial, epoch, **values)
    return {**found, "epochs": [{**lane, "epoch_time_s": HOUR} for lane in found["epochs"]]}


def gpu_hours(conductor):
    return Meter(conductor.study, conductor.history, "s0009").gpu_hours


@pytest.mark.parametrize(("gpus", "hours"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0), (2.0, 2.0)])
def test_gpu_hours_are_those_of_the_gpus_that_a_trial_holds(gpus, hours):
    conductor = taken_up([], gpus=gpus)
    trial = begin(conductor)
    conductor.report(trial.name, hour(trial, 1))
    assert gpu_hours(conductor) == pytest.approx(hours)


def test_gpu_hours_follow_the_share_that_each_attempt_was_given():
    rows = []
    conductor = taken_up(rows, gpus=0.25)
    first, early = begin(conductor), begin(conductor)
    conductor.report(early.name, hour(early, 1))
    half = {"peak_bytes": 40 * GIB, "total_bytes": 80 * GIB}
    conductor.report(first.name, hour(first, 1, memory=half, out_of_memory="CUDA out of memory"))
    again = begin(conductor)
    assert (again.name, again.gpu_share) == (first.name, 1.0)
    conductor.report(early.name, hour(early, 2))  # it keeps what it has
    conductor.report(again.name, hour(again, 2, attempt_start=1))
    assert gpu_hours(conductor) == pytest.approx(0.25 + 0.25 + 0.25 + 1.0)
    conductor.records.flush()
    assert gpu_hours(taken_up(rows, gpus=0.25)) == pytest.approx(1.75)
