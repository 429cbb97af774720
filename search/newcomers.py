"""Nodes that join a cluster while a study runs on it: each is looked at, and one that is unfit is left out."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from search.capacity import Node

TIDY_S = 5.0
"""At the end of a study a look has so long to clear away what it wrote; seconds."""

Inspection = Callable[[Sequence[Node], Callable[[str], None]], Mapping[str, str]]
"""Says of nodes why they must not be used, by id; of none that may. Calls its second argument several times a second
while it waits; what that raises ends it."""


class Newcomers:
    """Looks at nodes that joined, in threads, because a node may be slow to answer.

    A trial may well start on a node before it has answered, for Ray places it as soon as there is room.

    Attributes:
        left_out: Ids of the nodes that must not be used.
        doubtful: Ids of those that have not answered yet.
    """

    def __init__(self, inspect: Inspection) -> None:
        """Nobody has come yet.

        Args:
            inspect: Looks at nodes; an exception from it is taken for no objection.
        """
        self.left_out: set[str] = set()
        self.doubtful: set[str] = set()
        self._inspect = inspect
        self._answers: queue.SimpleQueue[tuple[Sequence[Node], Mapping[str, str]]] = queue.SimpleQueue()
        self._looks: list[threading.Thread] = []
        self._ended = threading.Event()

    def came(self, nodes: Sequence[Node]) -> None:
        """Has nodes looked at that joined just now."""
        self.doubtful.update(node.id for node in nodes)
        self._looks = [look for look in self._looks if look.is_alive()]
        self._looks.append(threading.Thread(target=self._look, args=(nodes,), daemon=True))
        self._looks[-1].start()

    def unfit(self) -> Iterator[tuple[Node, str]]:
        """The nodes of which it became known, since it was asked last, that they are to be left out; and why."""
        with contextlib.suppress(queue.Empty):
            while True:
                nodes, why = self._answers.get_nowait()
                self.doubtful.difference_update(node.id for node in nodes)
                self.left_out.update(why)
                yield from ((node, why[node.id]) for node in nodes if node.id in why)

    def suspects(self, ids: Collection[str]) -> bool:
        """Whether what went wrong on nodes may be their fault; without an id, on some node that nobody knows."""
        doubted = self.doubtful | self.left_out
        return not doubted.isdisjoint(ids) if ids else bool(self.doubtful)

    def close(self) -> None:
        """Ends the looks that are under way."""
        self._ended.set()
        for look in self._looks:
            look.join(TIDY_S)

    def _look(self, nodes: Sequence[Node]) -> None:
        why: Mapping[str, str] = {}
        with contextlib.suppress(Exception):  # the cluster or the root may be away, which others notice
            why = self._inspect(nodes, self._meanwhile)
        self._answers.put((nodes, why))

    def _meanwhile(self, shown: str) -> None:
        if self._ended.is_set():
            raise TimeoutError("the study has ended")
