"""The command ``thermotune plan``: what a study will take, said before it starts."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from search.options import ROOT, FileArgument, RootOption, SetOption

if TYPE_CHECKING:
    from search.plan import Outlook, Plan

EPILOG = (
    "Examples: thermotune plan digits-beta | thermotune plan mine.yaml -s search.trials=200 --no-probe | "
    "thermotune plan mine.yaml --from digits-beta --format json"
)

ProbeOption = Annotated[
    bool, typer.Option("--probe/--no-probe", help="Train a little of every kind of trial, to know the times.")
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="STUDY", help="Take the times from the records of this study instead."),
]
PlanFormatOption = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to write it.")]


def plan(
    file: FileArgument,
    root: RootOption = ROOT,
    overrides: SetOption = None,
    probe: ProbeOption = True,
    earlier: FromOption = None,
    form: PlanFormatOption = "table",
) -> None:
    """Say what a study will take, before anything starts: trials, epochs, hours, disk, and what runs at once.

    Expected is how the stopping rule usually works out, worst is that it stops nobody.

    Times come from a probe of less than a minute for small recipes, in as many processes as there will be trials.
    """
    from rich.console import Console

    from search.plan import plan as plan_study
    from search.study_file import load

    loaded = load(file, overrides or [])
    folder = None
    if earlier is not None:
        from results.facts import find_study

        folder = find_study(root, earlier)
    if probe or folder is not None:
        _require_data(loaded.study)
    with _spoken() as say:
        found = plan_study(loaded.study, root, probe=probe, earlier=folder, say=say)
    if form == "json":
        typer.echo(json.dumps({**as_json(found), "notes": list(loaded.remarks)}, indent=2))
    else:
        typer.echo(as_text(found, loaded.remarks, width=Console().width), nl=False)


def _require_data(study: Any) -> None:  # Any: a Study, whose module is not loaded here
    from search.data import check_data
    from search.data_cli import progress_bar

    with progress_bar() as progress:
        check_data(study, progress)


@contextlib.contextmanager
def _spoken() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done; it vanishes at the end."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("") as status:
        yield lambda line: status.update(line) if console.is_terminal else console.print(line, highlight=False)


# As JSON


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan as plain values; the keys name the units."""

    def pair(outlook: Outlook | None) -> dict[str, float] | None:
        return None if outlook is None else {"expected": outlook.expected, "worst": outlook.worst}

    measured = plan.measured
    return {
        "study": plan.name,
        "trials": pair(plan.trials),
        "epochs": pair(plan.epochs),
        "epochs_80_percent": list(plan.epochs_range),
        "arms": [
            {
                "stage": share.stage.value,
                "name": share.name,
                "trials": pair(share.trials),
                "epochs": pair(share.epochs),
                "slot_hours": pair(share.slot_hours) if measured else None,
            }
            for share in plan.shares
        ],
        "slots": plan.slots,
        "slots_limited_by": plan.limit,
        "wall_hours": pair(plan.wall_hours),
        "wall_hours_80_percent": None if plan.wall_range is None else list(plan.wall_range),
        "cpu_hours": pair(plan.cpu_hours),
        "gpu_hours": pair(plan.gpu_hours),
        "records_bytes": pair(plan.records_bytes),
        "running_checkpoints_bytes": plan.running_bytes,
        "kept_checkpoints_bytes": pair(plan.kept_bytes),
        "mlflow_values": pair(plan.mlflow_values),
        "memory_bytes": plan.memory_bytes,
        "measured": None
        if measured is None
        else {
            "source": measured.source,
            "slots": measured.slots,
            "took_s": measured.took_s,
            "import_s": measured.import_s,
            "memory_bytes_per_trial": measured.memory_bytes,
            "gpu_memory_bytes_per_trial": measured.gpu_memory_bytes,
            "costs": {
                name: {
                    "epoch_s_per_lane": cost.epoch_s,
                    "start_s_per_lane": cost.start_s,
                    "save_s": cost.save_s,
                    "metrics": cost.metrics,
                    "checkpoint_bytes": cost.checkpoint_bytes,
                    "basis": cost.basis,
                }
                for name, cost in measured.costs.items()
            },
        },
        "remarks": list(plan.remarks),
    }


# As text


def as_text(plan: Plan, notes: tuple[str, ...], *, width: int) -> str:
    """A plan for people.

    Args:
        plan: What to say.
        notes: Remarks on the study file.
        width: Columns of the terminal.
    """
    from rich.console import Console

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


def _row(title: str, text: str) -> Any:  # Any: rich renders it
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=12, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(title, text)
    return grid


def _table(plan: Plan) -> Any:  # Any: rich renders it
    from rich.table import Table

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
        slot_hours = [sum(getattr(share.slot_hours, side) for share in plan.shares) for side in ("expected", "worst")]
        total += ["", *map(_hours, slot_hours)]
    table.add_row(*total, style="bold")
    return table


def _lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """What stands below the table: a word, and what is to be said about it."""
    from results.formats import count

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
    from results.formats import duration

    return duration(3600 * hours)


def _seconds(seconds: float) -> str:
    from results.formats import duration

    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
