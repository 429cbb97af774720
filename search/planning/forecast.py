"""The forecast: a study is played through many times, and what it takes is the mean."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from dataclasses import replace

from results.schema import Stage
from search.planning.amounts import Outlook, Plan, Share
from search.planning.costs import Measured
from search.planning.curves import Curves
from search.planning.overhead import Overhead
from search.planning.remarks import on_budget, warnings
from search.planning.schedule import Played, Schedule, Tally
from search.planning.storage import kept_bytes, machine_memory, mlflow_values, records_bytes, running_bytes
from search.settings import NoStopping
from search.stopping import rule_of
from search.study import Study

PLAYED_TRIALS = 10_000
"""A study is played through so often that it makes about so many trials, within :data:`FEWEST` and :data:`MOST`."""
FEWEST, MOST = 8, 200


def forecast(
    study: Study,
    measured: Measured | None,
    *,
    slots: int,
    limit: str = "",
    trained: Collection[str] = (),
    curves: Curves | None = None,
    memory_bytes: int | None = None,
) -> Plan:
    """What a study takes where the costs of its trials are known.

    Args:
        study: What is planned.
        measured: What training costs; None if that is not known.
        slots: Trials at once, >= 1.
        limit: Why not more, in words.
        trained: Teachers that are on the shelf.
        curves: Of the trials; None for those of the study's sampler.
        memory_bytes: Of the machine; None to ask it.
    """
    costs = measured.costs if measured else {}
    overhead = Overhead.at(measured.import_s if measured else None)
    schedule = Schedule(study, slots=slots, costs=costs, overhead=overhead, trained=trained)
    never = rule_of(NoStopping(), epochs=study.recipe.epochs, mode=study.search.mode)
    worst = schedule.play(never, Curves(diverging=0.0), 0)
    often = PLAYED_TRIALS // sum(tally.trials for tally in worst.tallies.values())
    curves = curves or Curves.of(study)
    played = [schedule.play(study.rule, curves, seed) for seed in range(min(MOST, max(FEWEST, often)))]
    shares = tuple(_share(key, tally, played) for key, tally in worst.tallies.items())
    walls = [(overhead.begin_s + sum(one.wall_s.values()) + overhead.end_s) / 3600 for one in (worst, *played)]
    plan = Plan(
        name=study.name,
        shares=shares,
        epochs_range=_range([sum(tally.epochs for tally in one.tallies.values()) for one in played]),
        slots=slots,
        limit=limit,
        measured=measured,
        wall_hours=Outlook(statistics.fmean(walls[1:]), walls[0]) if measured else None,
        wall_range=_range(walls[1:]) if measured else None,
        cpu_hours=None,
        gpu_hours=None,
        records_bytes=records_bytes(shares),
        running_bytes=running_bytes(study, slots, costs),
        kept_bytes=kept_bytes(study, shares, costs),
        mlflow_values=mlflow_values(study, shares, costs) if measured else None,
        memory_bytes=memory_bytes or machine_memory(),
    )
    if measured:
        cpu_hours, gpu_hours = (plan.slot_hours * held for held in (study.resources.cpus, study.resources.gpus))
        plan = replace(plan, cpu_hours=cpu_hours, gpu_hours=gpu_hours)
    return replace(plan, remarks=(*on_budget(study, plan), *warnings(study, plan)))


def _share(key: tuple[Stage, str], worst: Tally, played: Sequence[Played]) -> Share:
    tallies = [one.tallies.get(key, Tally()) for one in played]
    trials, epochs, busy_s = (
        Outlook(statistics.fmean(getattr(tally, name) for tally in tallies), getattr(worst, name))
        for name in ("trials", "epochs", "busy_s")
    )
    return Share(stage=key[0], name=key[1], trials=trials, epochs=epochs, slot_hours=busy_s * (1 / 3600))


def _range(values: Sequence[float]) -> tuple[float, float]:
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[-1]
