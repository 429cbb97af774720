"""The timed probe: what trials of a study cost on this machine, measured with as many at once as there are slots.

Every slot gets a process that trains real recipes of the study, all of them the same one at the same time: trials
that share cores, memory or a GPU slow each other, and one alone would promise too much. Where an epoch is too long,
some of its steps are timed (see ``search.planning.timing``).
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

from results.places import Place
from search.planning.agenda import agenda_of
from search.planning.costs import Cost, Measured
from search.planning.worker import Worker
from search.study import Study

SECONDS = 90.0
"""All kinds of trials together are timed for about so long, unless a few steps alone take longer."""
SECONDS_OF_A_KIND = 30.0
"""No kind is timed for longer, likewise."""
LONGEST_S = 900.0
"""A probe that takes longer is given up."""

_MEMORY = ("memory_bytes", "gpu_memory_bytes", "gpu_total_bytes")


def measure(
    study: Study, root: Place, slots: int, trained: Collection[str], say: Callable[[str], None] = lambda line: None
) -> Measured:
    """Trains a little of every kind of trial that a study has, in ``slots`` processes at once.

    Args:
        study: Its data set must be prepared.
        root: Of all studies, whose shelf has the trained teachers.
        slots: Trials at once, >= 1.
        trained: Teachers that are on the shelf, and will not be trained again.
        say: Hears what is being timed.

    Raises:
        ThermotuneError: A process died, an epoch could not be trained, or it all takes too long.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as until_the_end:
        scratch = Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="thermotune-probe-")))
        agenda = agenda_of(study, root, trained, scratch)
        say(f"starting {slots} processes")
        workers = [Worker(slot, study.resources.gpus, scratch) for slot in range(slots)]
        for worker in workers:
            until_the_end.callback(worker.end)
        limit = Timer(LONGEST_S, _give_up, [workers])
        limit.start()
        until_the_end.callback(limit.cancel)
        pool = until_the_end.enter_context(ThreadPoolExecutor(slots))
        import_s = statistics.fmean(answer["after_s"] for answer in pool.map(Worker.answer, workers))
        for config in agenda.stand_ins:
            say(f"training a stand-in for the teacher {config.publish}")
            workers[0].ask({"make": config.to_dict()})
            workers[0].answer()
        costs: dict[str, Cost] = {}
        answers: list[dict[str, Any]] = []
        seconds = min(SECONDS_OF_A_KIND, SECONDS / len(agenda.kinds))
        for number, (names, config) in enumerate(agenda.kinds, 1):
            say(f"timing {', '.join(names)} ({number} of {len(agenda.kinds)}), {slots} at once")
            for worker in workers:
                mine = replace(config, checkpoints=str(scratch / f"slot-{worker.slot}"))
                worker.ask({"time": mine.to_dict(), "seconds": seconds})
            timed = list(pool.map(Worker.answer, workers))
            costs |= dict.fromkeys(names, _mean([one["cost"] for one in timed]))
            answers += timed
        return Measured(
            costs=costs,
            source="a timed probe",
            slots=slots,
            took_s=time.monotonic() - began,
            import_s=import_s,
            **{key: max((a[key] for a in answers if a[key]), default=None) for key in _MEMORY},
        )


def _mean(timed: Sequence[Mapping[str, Any]]) -> Cost:
    """Over the slots."""
    seconds = {key: statistics.fmean(one[key] for one in timed) for key in ("epoch_s", "start_s", "save_s", "test_s")}
    return Cost(**{**timed[0], **seconds})


def _give_up(workers: Sequence[Worker]) -> None:
    why = (
        f"the probe must end within {LONGEST_S:.0f} s, and did not. Plan with the costs of an earlier study, "
        "--from STUDY, or without hours, --no-probe"
    )
    for worker in workers:
        worker.end(why)
