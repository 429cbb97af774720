"""What a data set says while it is packed: sentences, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Progress:
    """Two listeners; the default hears nothing. Calling it says a sentence, so a plain callable may stand for it.

    Attributes:
        say: Called with a sentence when something begins that takes time.
        advance: Called with (done, total), in samples or files, while it goes on.
    """

    say: Callable[[str], None] = _ignore
    advance: Callable[[int, int], None] = _ignore

    def __call__(self, sentence: str) -> None:
        """Says a sentence."""
        self.say(sentence)

    def over(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items as they are, each counted when it has been used."""
        for done, item in enumerate(items, start=1):
            yield item
            self.advance(done, total)
