"""A plan for people: a table of arms and stages, and lines below it."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from results.formats import count, duration
from search.planning.amounts import Outlook, Plan


def as_text(plan: Plan, notes: tuple[str, ...], *, width: int) -> str:
    """A plan for people.

    Args:
        plan: What to say.
        notes: Remarks on the study file.
        width: Columns of the terminal.
    """
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(f"[bold]{plan.name}[/bold]: what it will take; nothing has been started\n")
    console.print(_table(plan))
    console.print()
    for title, text in _lines(plan):
        console.print(_row(title, text))
    for note in (*plan.remarks, *notes):
        console.print(_row("note", note))
    written = console.file
    assert isinstance(written, io.StringIO)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines()) + "\n"


def _row(title: str, text: str) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=12, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(title, text)
    return grid


def _table(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", no_wrap=True)
    table.add_column("arm", overflow="fold")
    for title in ("trials", "epochs", "worst", "an epoch", "slot time", "worst"):
        table.add_column(title, justify="right", no_wrap=True)
    measured = plan.measured
    for share in plan.shares:
        cells = [share.stage.value, share.name, _number(share.trials.expected)]
        cells += [_number(share.epochs.expected), _number(share.epochs.worst)]
        if measured is not None:
            cells += [_seconds(measured.costs[share.name].epoch_s)]
            cells += [_hours(share.slot_hours.expected), _hours(share.slot_hours.worst)]
        table.add_row(*cells)
    total = ["in all", "", _number(plan.trials.expected), _number(plan.epochs.expected), _number(plan.epochs.worst)]
    if measured is not None:
        total += ["", _hours(plan.slot_hours.expected), _hours(plan.slot_hours.worst)]
    table.add_row(*total, style="bold")
    return table


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """What stands below the table: a word, and what is to be said about it."""
    low, high = plan.epochs_range
    yield "epochs", f"{_number(low)} to {_number(high)} in 8 of 10 plays of the stopping rule with made-up curves"
    if plan.wall_hours is not None and plan.wall_range is not None:
        low, high = plan.wall_range
        yield (
            "wall time",
            f"{_hours(plan.wall_hours.expected)} ({_hours(low)} to {_hours(high)}), {_worst(plan.wall_hours)}",
        )
    if plan.cpu_hours is not None:
        yield "CPU hours", f"{plan.cpu_hours.expected:.3g}, at worst {plan.cpu_hours.worst:.3g}"
    if plan.gpu_hours is not None and plan.gpu_hours.worst > 0:
        yield "GPU hours", f"{plan.gpu_hours.expected:.3g}, at worst {plan.gpu_hours.worst:.3g}"
    yield "at once", f"{count(plan.slots, 'trial')}: {plan.limit}"
    measured = plan.measured
    if measured is not None and measured.memory_bytes is not None:
        gpu = "" if measured.gpu_memory_bytes is None else f", and {_bytes(measured.gpu_memory_bytes)} of its GPU"
        yield "memory", f"{_bytes(measured.memory_bytes)} a trial{gpu}; the machine has {_bytes(plan.memory_bytes)}"
    yield "records", f"{_bytes(plan.records_bytes.expected)}, at worst {_bytes(plan.records_bytes.worst)}"
    if plan.running_bytes is not None and plan.kept_bytes is not None:
        kept = f"{_bytes(plan.kept_bytes.worst)} of confirmed models stay"
        yield "checkpoints", f"{_bytes(plan.running_bytes)} while it runs; {kept}"
    if plan.mlflow_values is not None:
        yield "MLflow", f"{_number(plan.mlflow_values.expected)} values, at worst {_number(plan.mlflow_values.worst)}"
    if measured is None:
        yield "times", "not known with --no-probe; leave it out, or take those of an earlier study with --from STUDY"
        return
    yield "times from", f"{measured.source}, {count(measured.slots, 'trial')} at once ({measured.took_s:.0f} s)"
    for basis in dict.fromkeys(cost.basis for cost in measured.costs.values()):
        names = [name for name, cost in measured.costs.items() if cost.basis == basis]
        yield "", f"{', '.join(names)}: {basis}"


def _worst(outlook: Outlook) -> str:
    return f"at worst {_hours(outlook.worst)}"


def _hours(hours: float) -> str:
    return duration(3600 * hours)


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
