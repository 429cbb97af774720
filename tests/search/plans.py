"""Made-up costs, and studies played with them."""

from search.planning.costs import Cost, Measured
from search.planning.curves import Curves
from search.planning.overhead import Overhead
from search.planning.schedule import Schedule
from search.study_file import load

FREE = Overhead(begin_s=0, turn_s=0, report_s=0, driver_s=0, end_s=0)
RANDOM = Curves(improvement=0.0, diverging=0.0)
BLIND = Curves(correlation=1e-6, improvement=0.0, diverging=0.0)


def cost(**values):
    times = {"epoch_s": 2.0, "start_s": 0.0, "save_s": 0.0, "test_s": 0.0}
    return Cost(**{**times, "metrics": 5, "checkpoint_bytes": 1000, "basis": "made up", **values})


def study(*overrides, name="digits-beta"):
    return load(name, overrides).study


def costs_of(spec, **values):
    return dict.fromkeys((*spec.arms, *spec.needed_teachers), cost(**values))


def measured(spec, slots=4, **values):
    return Measured(costs=costs_of(spec), source="the test", slots=slots, **values)


def play(spec, *, slots=4, curves=RANDOM, overhead=FREE, trained=(), seed=0, **values):
    schedule = Schedule(spec, slots=slots, costs=costs_of(spec, **values), overhead=overhead, trained=trained)
    return schedule.play(spec.rule, curves, seed)


def total(played, stage, what):
    return sum(getattr(tally, what) for (its, _), tally in played.tallies.items() if its is stage)
