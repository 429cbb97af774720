"""The plan of a study: what it will take on this machine, before anything of it has started."""

from __future__ import annotations

from collections.abc import Callable

from results.formats import count
from results.places import Place
from search.capacity import Node, slots, this_machine, unfit
from search.errors import StudyFileError
from search.folder import trained_teachers
from search.planning.amounts import Plan
from search.planning.forecast import forecast
from search.planning.probe import measure
from search.planning.recorded import recorded
from search.settings import Resources
from search.study import Study


def plan(
    study: Study,
    root: Place,
    *,
    probe: bool = True,
    earlier: Place | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Says what a study will take on this machine; nothing of it is started.

    Args:
        study: Its data set must be prepared where times are asked for.
        root: Of all studies; teachers that are trained already are taken from there.
        probe: Whether to measure what training costs.
        earlier: Folder of a study whose records say that instead; None for none.
        say: Hears what is being done.

    Raises:
        StudyFileError: No trial fits on this machine.
        UsageError: The earlier study trained nothing like this one.
        ThermotuneError: The recipes cannot be trained here.
    """
    resources = study.resources
    machine = this_machine(look_for_gpus=resources.gpus > 0)
    if mistakes := unfit(machine, resources):
        raise StudyFileError(mistakes)
    at_once = slots([machine], resources)
    measured, trained = None, {}
    if probe or earlier is not None:
        trained = trained_teachers(study, root / study.name)
        measured = recorded(study, earlier, trained) if earlier else measure(study, root, at_once, trained, say)
    return forecast(study, measured, slots=at_once, limit=slots_limit(machine, resources), trained=trained)


def slots_limit(machine: Node, resources: Resources) -> str:
    """What there are not more slots for."""
    if resources.max_concurrent is not None:
        alone = slots([machine], resources.model_copy(update={"max_concurrent": None}))
        if resources.max_concurrent <= alone:
            return f"resources.max_concurrent is {resources.max_concurrent}"
    on_cpus = slots([machine], Resources(cpus=resources.cpus))
    if resources.gpus > 0 and slots([machine], resources) < on_cpus:
        return f"there are {count(int(machine.gpus), 'GPU')}, and a trial takes {resources.gpus:g}"
    return f"there are {count(int(machine.cpus), 'CPU core')}, and a trial takes {resources.cpus:g}"
