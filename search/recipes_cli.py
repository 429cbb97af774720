"""The commands ``thermotune recipes ...``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from trainables.recipe_library import PackagedRecipe

app = typer.Typer()

NameArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="For example tampering/resnet50-imagenet.")]
ListFormat = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to write it.")]
ShowFormat = Annotated[
    Literal["table", "yaml", "json"],
    typer.Option("--format", "-f", help="How to write it; yaml is the bare recipe, for a study file."),
]


@app.callback(invoke_without_command=True, epilog="Example: thermotune recipes show tampering/resnet50-imagenet")
def recipes(context: typer.Context) -> None:
    """List and show the packaged recipes: settings of the papers, and where each value comes from."""
    if context.invoked_subcommand is None:
        show_all()


@app.command("list", epilog="Example: thermotune recipes list")
def show_all(form: ListFormat = "table") -> None:
    """List the packaged recipes and what they are for."""
    from trainables.recipe_library import purposes

    found = purposes()
    if form == "json":
        typer.echo(json.dumps(found, indent=2))
        return
    width = max(map(len, found))
    for name, purpose in found.items():
        typer.echo(f"{name:{width}}  {purpose}")


@app.command(
    epilog="Examples: thermotune recipes show tampering/resnet50-imagenet | "
    "thermotune recipes show tampering/resnet50-imagenet --format yaml >> mine.yaml"
)
def show(name: NameArgument, form: ShowFormat = "table") -> None:
    """Show every value of a packaged recipe, where it comes from, and what the paper measured with it."""
    import yaml

    from search.errors import UsageError
    from trainables.recipe_library import load

    try:
        found = load(name)
    except ValueError as error:
        raise UsageError(f"RECIPE {error}") from error
    if form == "yaml":
        plain = {"recipe": dict(found.values)}
        typer.echo(yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=120), nl=False)
    elif form == "json":
        typer.echo(json.dumps(_plain(found), indent=2))
    else:
        _table(found)


def _plain(found: PackagedRecipe) -> dict[str, object]:
    values = _values(found)
    return {
        "name": found.name,
        "purpose": found.purpose,
        "source": found.source,
        "published": [number.model_dump() for number in found.published],
        "recipe": found.recipe.model_dump(mode="json"),
        "origins": {path: {"from": kind, "reason": reason} for path, _, kind, reason in values},
    }


def _table(found: PackagedRecipe) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{found.name}[/bold]  {escape(found.purpose)}", highlight=False)
    console.print(f"source: {found.source}", highlight=False, markup=False)
    for result in found.published:
        text = f"published: {result.metric} {100 * result.value:.5g} %, {result.setting}"
        console.print(text, highlight=False, markup=False)
    for teacher in found.recipe.names:
        console.print(f"needs: a network called {teacher} under teachers", highlight=False, markup=False)
    console.print()
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for column in ("value", "setting", "from"):
        table.add_column(column, no_wrap=True)
    notes: list[str] = []
    for path, value, kind, reason in _values(found):
        if reason and reason not in notes:
            notes.append(reason)
        table.add_row(path, escape(value), kind + (f" ({notes.index(reason) + 1})" if reason else ""))
    console.print(table, highlight=False)
    console.print()
    for number, note in enumerate(notes, start=1):
        console.print(Padding(f"({number}) {escape(note)}", (0, 1)), highlight=False)


def _values(found: PackagedRecipe) -> Iterator[tuple[str, str, str, str]]:
    """Every value of the recipe: dotted path, text, kind and reason of its origin."""
    from trainables.values import flatten

    for path, value in flatten(found.recipe.model_dump(mode="json")).items():
        origin = found.origins[path]
        yield path, json.dumps(value) if not isinstance(value, str) else value, origin.kind, origin.reason
