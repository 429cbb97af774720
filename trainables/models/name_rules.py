"""What is wrong with names that have the form of a family, but no network; importing this loads no torch.

Numbers in a name are bounded: with more layers than any paper has, a network takes minutes to be made, and with far
wider ones it fits no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

MAX_DEPTH = 1202
"""The deepest network of He et al. 2016 (arXiv 1512.03385, section 4.2)."""
MAX_WIDTH = 16_384
"""Two such layers make 1 GiB of parameters."""


def widths_of(form: str) -> Callable[[re.Match[str]], str | None]:
    """All numbers are at most ``MAX_WIDTH``."""

    def complaint(found: re.Match[str]) -> str | None:
        for number in re.findall("[0-9]+", found[0]):
            if float(number) > MAX_WIDTH:  # of any number of digits
                return f"the widths of {form} must be at most {MAX_WIDTH:,}, got {number}. Use smaller ones."
        return None

    return complaint


def depth_of(form: str, rest: int) -> Callable[[re.Match[str]], str | None]:
    """Depths are 6n + rest with n >= 1, and at most ``MAX_DEPTH``; the other numbers are widths."""

    def complaint(found: re.Match[str]) -> str | None:
        if float(found["depth"]) > MAX_DEPTH:
            deepest = MAX_DEPTH - (MAX_DEPTH - rest) % 6
            return f"the depth of {form} must be at most {MAX_DEPTH}, got {found['depth']}. Use {deepest} or less."
        depth = int(found["depth"])
        if depth < 6 + rest or depth % 6 != rest:
            nearest = max(round((depth - rest) / 6), 1) * 6 + rest
            return f"the depth of {form} must be 6n + {rest}, got {depth}. Use {nearest}."
        return widths_of(form)(found)

    return complaint


def known_to(library: str) -> Callable[[re.Match[str]], str | None]:
    """The library has a network of this name; to look it up loads the library."""

    def complaint(found: re.Match[str]) -> str | None:
        from trainables.models.library import names

        if found["name"] in names(library):
            return None
        near = get_close_matches(found["name"].partition(".")[0], names(library), n=1)  # timm's tags tell weights apart
        advice = f"Did you mean {library}/{near[0]}?" if near else "Its documentation lists them."
        return f"{library} must know the network, got {found['name']!r}. {advice}"

    return complaint
