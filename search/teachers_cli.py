"""The commands ``thermotune teachers ...``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from results.places import Place
from search.options import ROOT, FileArgument, RootOption, SetOption

if TYPE_CHECKING:
    from trainables.teachers import StoredTeacher

app = typer.Typer(
    no_args_is_help=True,
    help="Train, list and show teachers, which studies share.",
    epilog="Start with: thermotune teachers train digits-kd",
)

TeacherArgument = Annotated[str, typer.Argument(metavar="TEACHER", help="Its name, or the beginning of its address.")]
FormatOption = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to write it.")]


@app.command(epilog="Examples: thermotune teachers train digits-kd | thermotune teachers train mine.yaml big")
def train(
    file: FileArgument,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which; all if left out.")] = None,
    root: RootOption = ROOT,
    overrides: SetOption = None,
) -> None:
    """Train the teachers that a study file describes, unless they are on the shelf already."""
    from search.data import check_data
    from search.study_file import load
    from search.teaching import train_teachers

    study = load(file, overrides or []).study
    check_data(study)
    for line in train_teachers(study, names or [], root):
        typer.echo(line)


@app.command("list", epilog="Example: thermotune teachers list --format json")
def show_all(root: RootOption = ROOT, form: FormatOption = "table") -> None:
    """List the trained teachers of the root, the newest first."""
    from search.study import SHELF
    from trainables.teachers import Shelf

    found = Shelf(root / SHELF).all()
    if form == "json":
        typer.echo(json.dumps([_plain(teacher, root / SHELF) for teacher in found], indent=2))
    elif found:
        _table(found)
    else:
        typer.echo(f"{root} holds no teacher yet. Train some: thermotune teachers train digits-kd", err=True)


@app.command(epilog="Example: thermotune teachers show big")
def show(
    teacher: TeacherArgument,
    root: RootOption = ROOT,
    form: FormatOption = "table",
) -> None:
    """Show what a teacher is, how good it is, and where its files are."""
    from search.study import SHELF
    from search.teaching import find_teachers

    for found in find_teachers(root, teacher):
        plain = _plain(found, root / SHELF)
        if form == "json":
            typer.echo(json.dumps(plain, indent=2))
            continue
        for key, value in plain.items():
            typer.echo(f"{key:14} {json.dumps(value) if isinstance(value, dict) else value}")


@app.command(
    epilog="Example: thermotune teachers statistics big --tau1 4 --gap 0 --gap 2 | "
    "thermotune teachers statistics big --per-sample big.parquet"
)
def statistics(
    teacher: TeacherArgument,
    tau1: Annotated[float, typer.Option(help="Temperature of the true class.")] = 4.0,
    gaps: Annotated[
        list[float] | None, typer.Option("--gap", help="tau1 - tau2; may be repeated. Default: 0, 2.")
    ] = None,
    per_sample: Annotated[
        Path | None, typer.Option(help="Also write every sample's statistics to this parquet file (one gap only).")
    ] = None,
    root: RootOption = ROOT,
    form: FormatOption = "table",
) -> None:
    """Show what a teacher tells a student at given temperatures: its logits, DA, DV, IV, and flips."""
    from search.errors import UsageError
    from search.teaching import find_teachers
    from search.teaching import statistics as measure

    chosen = gaps or ([2.0] if per_sample else [0.0, 2.0])
    if per_sample is not None and len(chosen) > 1:
        raise UsageError(f"--per-sample must have one --gap, got {len(chosen)}")
    found = find_teachers(root, teacher)[0]
    rows = {f"gap {gap:g}": measure(found, root, tau1, gap, per_sample) for gap in chosen}
    if form == "json":
        typer.echo(json.dumps({"teacher": found.address, "tau1": tau1, **rows}, indent=2))
        return
    typer.echo(f"{found.name} ({found.address}), tau1 {tau1:g}; means over the training split")
    for key in next(iter(rows.values())):
        values = "  ".join(f"{name}: {row[key]:<10.4g}" for name, row in rows.items())
        typer.echo(f"{key.removeprefix('teacher/').replace('_', ' '):20} {values}")


def _plain(teacher: StoredTeacher, shelf: Place) -> dict[str, Any]:  # Any: JSON
    return {
        "address": teacher.address,
        "name": teacher.name,
        "model": teacher.recipe.model,
        "dataset": teacher.recipe.dataset,
        "parameters": teacher.parameters,
        "seed": teacher.seed,
        "epoch": teacher.epoch,
        "val/accuracy": teacher.metrics.get("val/accuracy"),
        "val/loss": teacher.metrics.get("val/loss"),
        "learns from": dict(teacher.needs),
        "trained_at": teacher.trained_at,
        "train_time_s": teacher.train_time_s,
        "versions": dict(teacher.versions),
        "recipe": teacher.recipe.model_dump(mode="json"),
        "folder": str((shelf / teacher.address).absolute()),
    }


def _table(teachers: Sequence[StoredTeacher]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    from results import formats

    columns = ("name", "address", "network", "data", "epochs", "val accuracy", "learns from", "trained (UTC)")
    table = Table(box=None, padding=(0, 1))
    for column in columns:
        table.add_column(column, no_wrap=True, justify="right" if column in ("epochs", "val accuracy") else "left")
    for t in teachers:
        accuracy = formats.metric("val/accuracy", t.metrics.get("val/accuracy", float("nan")))
        learns_from = ", ".join(t.needs) or "-"
        trained = t.trained_at[:16].replace("T", " ")
        table.add_row(t.name, t.address, t.recipe.model, t.recipe.dataset, str(t.epoch), accuracy, learns_from, trained)
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
