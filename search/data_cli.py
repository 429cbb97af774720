"""The commands ``thermotune data ...``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from search.errors import ThermotuneError

if TYPE_CHECKING:
    from trainables.data import PackedDataset, Progress

app = typer.Typer(
    no_args_is_help=True,
    help="List, show and prepare data sets, which all studies share.",
    epilog="Start with: thermotune data list",
)

_SPLITS = ("train", "val", "test")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name that data list shows, or one of your own.")]
FormatOption = Annotated[Literal["table", "json"], typer.Option("--format", "-f", help="How to write it.")]


@app.command("list", epilog="Example: thermotune data list --format json")
def show_all(form: FormatOption = "table") -> None:
    """List the data sets that are known or prepared here."""
    from trainables.data import DATASETS, prepared

    with _explained():
        facts = [_facts(name) for name in dict.fromkeys([*DATASETS, *prepared()])]
    if form == "json":
        typer.echo(json.dumps(facts, indent=2))
    else:
        _table(facts)


@app.command(epilog="Examples: thermotune data show imagenet | thermotune data show cifar10 --check")
def show(
    name: NameArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Read the whole pack, and decode every image of a streamed set.")
    ] = False,
    form: FormatOption = "table",
) -> None:
    """Show what a data set is, whether it is prepared and from what, and how to prepare it."""
    from trainables.data import check_dataset

    with progress_bar() as progress, _explained():
        check_dataset(name)
        facts = _facts(name, progress if check else None)
    _write(facts, form)
    if check and facts["damage"]:
        raise typer.Exit(1)


@app.command(
    epilog="Examples: thermotune data prepare cifar10 | thermotune data prepare imdb --source aclImdb_v1.tar.gz | "
    "thermotune data prepare flowers --source ~/flowers"
)
def prepare(
    name: NameArgument,
    source: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder or archive to read; data show NAME says what it holds.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Prepare it again, even from another source.")] = False,
    form: FormatOption = "table",
) -> None:
    """Read a data set once and keep it as studies need it: small images and texts packed, large images listed.

    Packed images are decoded, so a broken one is found at once.

    Of listed images only headers and the ends of JPEG and PNG files are read, which finds files cut short.

    To decode all listed images too: thermotune data show NAME --check
    """
    from trainables.data import prepare as prepare_data

    with progress_bar() as progress, _explained(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            prepare_data(name, progress=progress, source=source, replace=replace)
        finally:
            for warning in caught:
                progress(f"Note: {warning.message}")
    _write(_facts(name), form)


@contextmanager
def _explained() -> Iterator[None]:
    """Turns what is wrong with data into messages for the user."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ThermotuneError(str(error)) from error


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on stderr, with the sentences above it; it vanishes at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from trainables.data import Progress

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)

        def say(sentence: str) -> None:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
            bar.reset(task, total=None, visible=False, description=sentence.partition(" ")[0])

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield Progress(say, advance)


def _facts(name: str, checking: Progress | None = None) -> dict[str, Any]:  # Any: JSON
    """What is known of a data set, here and in general; read completely where someone listens to the progress."""
    from trainables.data import data_root, source_of
    from trainables.data.integrity import UnusablePack, check_pack, folder_of, open_pack

    source, folder = source_of(name), folder_of(data_root(), name)
    pack: PackedDataset | None = None
    damage = None
    try:
        pack = open_pack(folder) if checking is None else check_pack(folder, checking)
        pack.require_files()
    except (UnusablePack, OSError, ValueError) as error:
        damage = str(error) if folder.is_dir() else None
    facts: dict[str, Any] = {
        "name": name,
        "about": source.about,
        "kind": source.kind,
        "storage": source.storage,
        "classes": source.classes,
        "sizes": None,
        "official_sizes": source.official and dict(zip(("train", "test"), source.official, strict=True)),
        "prepared": pack is not None,
        "damage": damage,
        "folder": str(folder) if folder.is_dir() else None,
        "layout": source.layout or None,
        "obtain": source.obtain,
    }
    if pack is not None:
        facts |= {
            "storage": pack.storage,
            "classes": pack.num_classes,
            "class_names": list(pack.class_names),
            "sizes": dict(pack.sizes),
            "shape": list(pack.input_shape),
            "mean": list(pack.mean),
            "std": list(pack.std),
            "vocabulary": pack.vocabulary,
            "split_seed": pack.split_seed,
            "source": pack.source,
            "digest": pack.digest,
        }
    return facts


def _write(facts: dict[str, Any], form: str) -> None:  # Any: JSON
    if form == "json":
        typer.echo(json.dumps(facts, indent=2))
        return
    lines = {"name": facts["name"], "what": f"{facts['about']} ({facts['kind']}, {_storage(facts)})"}
    if facts["classes"] is not None:
        names = facts.get("class_names", [])
        some = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        lines["classes"] = f"{facts['classes']}{': ' if names else ''}{some}"
    lines["prepared"] = facts["folder"] if facts["prepared"] else "no"
    if facts["damage"]:
        lines["damage"] = facts["damage"]
    if facts["prepared"]:
        text = facts["kind"] == "text"
        lines["splits"] = ", ".join(f"{split} {size:,}" for split, size in facts["sizes"].items())
        lines["a sample"] = " x ".join(map(str, facts["shape"])) + (" tokens, int32" if text else " pixels, uint8")
        if text:
            lines["vocabulary"] = f"{facts['vocabulary']:,} words, of the training split"
        else:
            lines["mean, std"] = "; ".join(" ".join(f"{value:.2f}" for value in facts[key]) for key in ("mean", "std"))
        lines |= {"from": facts["source"], "digest": facts["digest"]}
    else:
        if facts["official_sizes"]:
            lines["samples"] = ", ".join(f"{part} {size:,}" for part, size in facts["official_sizes"].items())
        if facts["layout"]:
            lines["--source"] = facts["layout"]
        lines["to prepare"] = facts["obtain"]
    for key, value in lines.items():
        typer.echo(f"{key:12} " + value.replace("\n", "\n" + 13 * " "))


def _storage(facts: dict[str, Any]) -> str:  # Any: JSON
    return facts["storage"] or "packed if small, else streamed"


def _table(rows: list[dict[str, Any]]) -> None:  # Any: JSON
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=None, padding=(0, 1))
    for column in ("name", "what", "classes", "train", "val", "test", "storage", "prepared"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("classes", *_SPLITS) else "left")
    for row in rows:
        sizes = row["sizes"] or row["official_sizes"] or {}
        counts = [f"{sizes[split]:,}" if split in sizes else "-" for split in _SPLITS]
        state = "damaged" if row["damage"] else row["folder"] if row["prepared"] else "-"
        table.add_row(row["name"], row["about"], str(row["classes"] or "-"), *counts, _storage(row), state)
    console = Console()
    console.width = max(console.width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
