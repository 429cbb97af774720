"""What is to be said about a plan: whether the budget suffices, and what will hardly go well."""

from __future__ import annotations

from collections.abc import Iterator

from results.formats import count
from search.planning.amounts import Plan
from search.study import Study

_GIB = 2**30


def on_budget(study: Study, plan: Plan) -> Iterator[str]:
    """Whether the study fits its budget, a sentence for each limit."""
    budget = study.budget
    for key, limit, outlook in (
        ("wall_hours", budget.wall_hours, plan.wall_hours),
        ("gpu_hours", budget.gpu_hours, plan.gpu_hours),
        ("trials", budget.trials, plan.trials),
    ):
        if limit is None:
            continue
        if outlook is None:
            yield f"budget.{key} {limit:g}: whether it suffices is not known without a measurement"
        elif outlook.worst <= limit:
            yield f"budget.{key} {limit:g} suffices in any case"
        elif outlook.expected <= limit:
            yield f"budget.{key} {limit:g} should suffice, but not if no trial is stopped early ({outlook.worst:.3g})"
        else:
            yield (
                f"budget.{key} {limit:g} does not suffice: {outlook.expected:.3g} expected. The study will stop there, "
                "and can be resumed with more"
            )


def warnings(study: Study, plan: Plan) -> Iterator[str]:
    """What speaks against running the study here like this, a sentence each."""
    measured = plan.measured
    if measured is None:
        return
    if measured.slots != plan.slots:
        yield (
            f"costs were measured with {count(measured.slots, 'trial')} at once, but {plan.slots} will run here; "
            "those that share a machine slow each other"
        )
    if measured.memory_bytes and plan.slots * measured.memory_bytes > plan.memory_bytes:
        yield (
            f"{plan.slots} trials of {measured.memory_bytes / _GIB:.1f} GiB hardly fit in "
            f"{plan.memory_bytes / _GIB:.1f} GiB of memory; lower resources.max_concurrent"
        )
    shared = int(1 / study.resources.gpus + 1e-9) if 0 < study.resources.gpus < 1 else 1
    on_device = min(shared, plan.slots)
    on_gpu, of_gpu = on_device * (measured.gpu_memory_bytes or 0), measured.gpu_total_bytes
    if of_gpu and on_gpu > of_gpu:
        yield (
            f"{count(on_device, 'trial')} together need {on_gpu / _GIB:.1f} GiB of a GPU that has "
            f"{of_gpu / _GIB:.1f} GiB; raise resources.gpus"
        )
