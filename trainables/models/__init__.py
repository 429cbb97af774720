"""Networks by name; torch is loaded when one is built."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "check_model"]


@dataclass(frozen=True, kw_only=True)
class _Family:
    form: str
    pattern: re.Pattern[str]


_FAMILIES = {
    "mlp": _Family(form="mlp-<width>-<width>...", pattern=re.compile(r"mlp(-[1-9][0-9]*)+")),
}


def check_model(name: str) -> None:
    """Checks that a network of this name can be built.

    Args:
        name: For example ``mlp-128-128``.

    Raises:
        ValueError: The name is unknown; the message lists the known forms and the nearest name.
    """
    if any(family.pattern.fullmatch(name) for family in _FAMILIES.values()):
        return
    forms = ", ".join(family.form for family in _FAMILIES.values())
    raise ValueError(f"model must be one of {forms}, got {name!r}. {_advice(name)}")


def build(name: str, *, input_shape: Sequence[int], num_classes: int, seed: int) -> nn.Module:
    """A new network in float32 on the CPU; equal arguments give bit-equal parameters, on every machine with one torch.

    The global random state is left as it was.

    Args:
        name: As for :func:`check_model`.
        input_shape: Shape of one sample, for example (1, 8, 8).
        num_classes: C, the number of logits.
        seed: Of the initial parameters, >= 0.

    Returns:
        A module from (N, *input_shape) float32 to logits (N, C) float32, in training mode.

    Raises:
        ValueError: The name is unknown.
    """
    check_model(name)
    import torch

    from trainables.models.mlp import mlp

    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also touch the accelerators' generators
        widths = [int(width) for width in name.split("-")[1:]]
        return mlp(input_shape, widths, num_classes)
    finally:
        torch.set_rng_state(before)


def _advice(name: str) -> str:
    family, _, rest = name.partition("-")
    for near in get_close_matches(family, _FAMILIES, n=1):
        if _FAMILIES[near].pattern.fullmatch(f"{near}-{rest}"):
            return f"Did you mean {near}-{rest}?"
    return "Use for example mlp-128-128."
