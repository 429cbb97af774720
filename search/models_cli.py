"""The command ``thermotune models``: the networks as a user sees them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from search.errors import UsageError

if TYPE_CHECKING:
    from trainables.models import Family

_VOCABULARY = 20_000
_MAX_SAMPLE = 2**22  # numbers: more than an image of 1024 x 1024 in colour, which is the largest that a recipe can have
_MAX_CLASSES = 100_000

NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Build this one and show its size; all forms if left out.")
]
ShapeOption = Annotated[
    str | None,
    typer.Option("--input-shape", help="Of one sample: 3x32x32 for images, 256 for texts. Default: as is usual."),
]
ClassesOption = Annotated[
    int | None, typer.Option("--classes", min=1, max=_MAX_CLASSES, help="Number of logits. Default: as is usual.")
]
VocabularyOption = Annotated[
    int, typer.Option("--vocabulary", min=2, max=2**31 - 1, help="Number of token ids, for texts.")
]


def models(
    name: NameArgument = None,
    input_shape: ShapeOption = None,
    classes: ClassesOption = None,
    vocabulary: VocabularyOption = _VOCABULARY,
) -> None:
    """List the networks with their sizes and sources, or build one and show its size."""
    from rich.console import Console

    if name is None:
        typer.echo(describe(width=Console().width), nl=False)
        return
    try:
        shape = None if input_shape is None else _numbers(input_shape)
        typer.echo(describe_one(name, input_shape=shape, num_classes=classes, vocabulary=vocabulary), nl=False)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UsageError(f"model {name} must be possible on this machine, but fails: {reason}. Use another.") from error


def describe(width: int) -> str:
    """All families of networks as text; loads no torch.

    Args:
        width: Columns of the terminal.
    """
    from trainables.models import FAMILIES, NORM_FREE

    lines = []
    for family in FAMILIES:
        sizes = ", ".join(f"{known} {size / 1e6:.3g}M" for known, size in family.parameters.items())
        lines += [
            fill(f"{family.form}: {family.purpose}", width, subsequent_indent="  "),
            fill(f"reads {family.reads}; {family.source}", width, initial_indent="  ", subsequent_indent="  "),
            fill(
                f"parameters for {family.classes} classes: {sizes}",
                width,
                initial_indent="  ",
                subsequent_indent="    ",
            ),
            "",
        ]
    lines.append(fill(f"With {NORM_FREE} behind its name, a network has an identity in place of every norm.", width))
    return "\n".join(lines) + "\n"


def describe_one(name: str, *, input_shape: Sequence[int] | None, num_classes: int | None, vocabulary: int) -> str:
    """One network as text; it is certain to read such samples.

    One of a library is built and tried out; of others, shapes and counts are told without memory for their numbers.

    Args:
        name: As in a recipe.
        input_shape: Of one sample; None for what is usual in the family.
        num_classes: Likewise.
        vocabulary: Number of token ids; counts only if it reads texts.

    Raises:
        ValueError: There is no such network, or it cannot read such samples.
    """
    import torch

    from trainables.models import build, check_model, family_of, make

    check_model(name)
    family, _ = family_of(name)
    shape = input_shape or _usual_shape(family)
    classes = num_classes or family.classes
    words = vocabulary if family.reads == "texts" else None
    if family.is_library:
        network = build(name, input_shape=shape, num_classes=classes, seed=0)
    else:
        with torch.device("meta"):
            network = make(name, input_shape=shape, num_classes=classes, vocabulary=words)

    from trainables.models.norm_free import norms

    kinds = Counter(type(norm).__name__ for _, norm in norms(network))
    samples = "x".join(map(str, shape))
    lines = {
        "network": name,
        "reads": f"texts of {samples} tokens, {words} token ids" if words else f"{family.reads} of {samples}",
        "logits": classes,
        "parameters": f"{sum(parameter.numel() for parameter in network.parameters()):,}",
        "buffers": f"{sum(buffer.numel() for buffer in network.buffers()):,}",
        "norms": ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none",
        "source": family.source,
    }
    return "".join(f"{key:12} {value}\n" for key, value in lines.items())


def _usual_shape(family: Family) -> tuple[int, ...]:
    if family.reads == "texts":
        return (256,)
    return (3, 224, 224) if family.is_library else (3, 32, 32)


def _numbers(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        raise ValueError(f"--input-shape must be numbers joined by x, got {text!r}. Use for example 3x32x32, or 256.")
    product = math.prod(map(float, text.split("x")))  # of any number of digits
    if product > _MAX_SAMPLE:
        raise ValueError(
            f"--input-shape must hold at most {_MAX_SAMPLE:,} numbers, got {text}. Use for example 3x224x224."
        )
    return tuple(map(int, text.split("x")))
