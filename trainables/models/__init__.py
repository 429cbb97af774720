"""Networks by name; torch is loaded when one is built."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

from trainables.models.families import FAMILIES
from trainables.models.registry import Family, Task

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FAMILIES", "NORM_FREE", "Family", "build", "check_model", "family_of", "make"]

NORM_FREE = "-nonorm"
"""What follows a name if every norm of the network is to be an identity."""


@cache
def check_model(name: str) -> None:
    """Checks that a network of this name can be built.

    Names of ``torchvision/`` and ``timm/`` are looked up in these libraries, which takes seconds at first; others cost
    nothing.

    Args:
        name: For example ``mlp-128-128``, ``wrn-16-4``, ``wrn-16-4-nonorm`` or ``torchvision/resnet50``.

    Raises:
        ValueError: The name is unknown, and the message lists the known forms and the nearest name; or it asks for a
            network without norms that has none to leave out.
    """
    family, found = family_of(name)
    complaint = family.complaint(found)
    if complaint is not None:
        raise ValueError(f"model {name} cannot be built: {complaint}")
    if name.endswith(NORM_FREE) and not family.has_norms:
        raise ValueError(f"model {name} must have norms to leave out, got none. Use {found[0]}.")
    if name.endswith(NORM_FREE) and family.is_library:
        import torch

        # A RegNet computes its widths with tensors, which "meta" has no numbers for; it is left to build.
        with contextlib.suppress(NotImplementedError), torch.device("meta"):
            make(name, input_shape=(3, 224, 224), num_classes=family.classes)


def family_of(name: str) -> tuple[Family, re.Match[str]]:
    """The family of a name, and how the name matches its pattern.

    Raises:
        ValueError: No family has names of this form.
    """
    for family in FAMILIES:
        found = family.pattern.fullmatch(name.removesuffix(NORM_FREE))
        if found:
            return family, found
    forms = ", ".join(family.form for family in FAMILIES)
    raise ValueError(f"model must be one of {forms}, with {NORM_FREE} behind or without, got {name!r}. {_advice(name)}")


def build(
    name: str, *, input_shape: Sequence[int], num_classes: int, seed: int, vocabulary: int | None = None
) -> nn.Module:
    """A new network in float32 on the CPU; equal arguments give bit-equal parameters, on every machine with one torch.

    The global random state is left as it was.

    Args:
        name: As for :func:`check_model`.
        input_shape: Shape of one sample: (channels, height, width) of images, for example (3, 32, 32); (L,) of texts.
        num_classes: C, the number of logits.
        seed: Of the initial parameters, >= 0.
        vocabulary: Number of token ids of texts, among them 0 for the padding at a text's end; None for other data.

    Returns:
        A module from (N, *input_shape) float32, or from token ids (N, <= L) int32 or int64, to logits (N, C) float32,
        in training mode.

    Raises:
        ValueError: The name is unknown, or the network cannot read such samples.
    """
    check_model(name)
    import torch

    family, _ = family_of(name)
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also touch the accelerators' generators
        network = make(name, input_shape=input_shape, num_classes=num_classes, vocabulary=vocabulary)
        if family.is_library:
            from trainables.models.library import check_fit

            check_fit(name, network, input_shape, num_classes)
        return network
    finally:
        torch.set_rng_state(before)


def make(name: str, *, input_shape: Sequence[int], num_classes: int, vocabulary: int | None = None) -> nn.Module:
    """Like :func:`build`, but draws from the global random state on torch's default device, and tries nothing out.

    On the device ``meta`` this tells names, shapes and counts of a large network in no time.
    """
    family, found = family_of(name)
    task = Task(input_shape=tuple(input_shape), num_classes=num_classes, vocabulary=vocabulary)
    _check_readable(name, family, task)
    network = family.make(found, task)
    if name.endswith(NORM_FREE):
        from trainables.models.norm_free import without_norms

        without_norms(network)
    return network


def _check_readable(name: str, family: Family, task: Task) -> None:
    shape = "x".join(map(str, task.input_shape))
    if family.reads == "texts":
        if task.vocabulary is None:
            raise ValueError(f"model {name} reads texts, got samples of {shape} numbers. Use for example resnet-20.")
    elif task.vocabulary is not None:
        raise ValueError(f"model {name} cannot read texts. Use for example gru-128.")
    elif family.reads == "images" and len(task.input_shape) != 3:
        raise ValueError(
            f"model {name} reads images of channels x height x width, got samples of {shape} numbers. "
            "Use for example mlp-128-128."
        )


def _advice(name: str) -> str:
    prefix, _, rest = name.removesuffix(NORM_FREE).replace("/", "-", 1).partition("-")
    families = {re.split("[-/]", family.form)[0]: family for family in FAMILIES}
    for near in get_close_matches(prefix.lower(), families, n=1):
        meant = f"{near}{families[near].form[len(near)]}{rest}"
        if families[near].pattern.fullmatch(meant):
            return f"Did you mean {meant}?"
    short = {known.rpartition("/")[2].replace("_", "-"): known for family in FAMILIES for known in family.parameters}
    nearest = get_close_matches(name.removesuffix(NORM_FREE).lower().replace("_", "-"), short, n=2, cutoff=0.75)
    if nearest:
        return f"Did you mean {' or '.join(short[near] for near in nearest)}?"
    example = next(iter(families[prefix].parameters)) if prefix in families else "mlp-128-128"
    return f"Use for example {example}."
