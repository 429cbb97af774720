"""What is known of a family of networks without making one; no torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a network is made for.

    Attributes:
        input_shape: Of one sample: (channels, height, width) of images, (L,) of texts.
        num_classes: C.
        vocabulary: Number of token ids of texts; None for anything else.
    """

    input_shape: tuple[int, ...]
    num_classes: int
    vocabulary: int | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that share an architecture and a form of name.

    Attributes:
        form: How they are named, with the parts to be filled in <in brackets>.
        pattern: The same as a regular expression for the whole name.
        purpose: What it is, in a line.
        source: Where it comes from.
        reads: "anything" stands for numbers of any shape, but not texts.
        has_norms: False where no network of the family has one.
        classes: C with which ``parameters`` are counted.
        parameters: Well-known networks of the family and their numbers of parameters, for images with three channels
            or 20 000 token ids.
        complaint: What is wrong with a name of the right form, or None.
        make: Draws a network for a task that it can read.
    """

    form: str
    pattern: re.Pattern[str]
    purpose: str
    source: str
    reads: Literal["images", "texts", "anything"] = "images"
    has_norms: bool = True
    classes: int = 10
    parameters: Mapping[str, int] = field(default_factory=dict)
    complaint: Callable[[re.Match[str]], str | None] = lambda found: None
    make: Callable[[re.Match[str], Task], nn.Module]

    @property
    def is_library(self) -> bool:
        """Whether others made it, so that what it can read is known only by trying."""
        return "/" in self.form
