"""The nodes that a study runs on: this machine, or those of a cluster, which join and leave while it runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from results.formats import count
from search.capacity import Node, lack, parts, slots, with_share
from search.settings import Resources

LOOK_EVERY_S = 2.0
SILENT = "the head of the cluster does not answer"
SILENT_S = 10.0
"""A head that has not answered for so long is worth a word; seconds."""
LOST_S = 30.0
"""Then it is taken for lost: Ray itself ends a process 60 s after the head did, without a word; seconds."""
WAITING_S = 30.0
"""Trials that have waited for so long for a place that there should be wait for others; seconds."""

_NOT_CUSTOM = ("node:", "memory", "object_store_memory", "accelerator_type:")
_GOODBYES = {1: "left the cluster", 3: "was taken away", 4: "left the cluster, because it was idle"}
"""By Ray's number for why a node is gone; the others are losses."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The nodes of a cluster at one moment.

    Attributes:
        staying: On which trials may be started, by id.
        leaving: When nodes will be taken away, by id; seconds since 1970, or 0 where nobody knows.
        gone: How nodes ended, in words, by id.
    """

    staying: Mapping[str, Node]
    leaving: Mapping[str, float] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A node came, will go, is gone, or is left out.

    Attributes:
        node: Which.
        words: What happened to it, after its name.
        is_end: Whether it is gone.
        why: It is left out; else empty.
    """

    node: Node
    words: str
    is_end: bool = False
    why: str = ""

    def sentence(self, trials: int, fits: int) -> str:
        """For people, without a full stop.

        Args:
            trials: How many run on the node.
            fits: How many fit on all nodes now.
        """
        which = f"{count(trials, 'trial')}, which {'goes' if trials == 1 else 'go'} on"
        theirs = f" with {which} elsewhere" if trials else ""
        why = f". {self.why}" if self.why else ""
        return f"node {self.node.name} {self.words}{theirs}; {count(fits, 'trial')} at once now{why}"


class Fleet:
    """The nodes that trials run on; use it as a context manager while they run.

    Attributes:
        watched: Whether nodes may come and go.
        left_out: Why nodes must not be used, by id.
    """

    def __init__(
        self,
        resources: Resources,
        look: Callable[[], Listing],
        *,
        watched: bool,
        away: Callable[[bool], None] = lambda lost: None,
    ) -> None:
        """Looks for the first time.

        Args:
            resources: Of a trial.
            look: Lists the nodes; called every two seconds in a thread of its own, because it may hang.
            watched: Whether to look again.
            away: Called, in a thread of its own, while looking fails or hangs; at last, with True, when it has for so
                long that the cluster is taken for lost. The main thread may hang too.
        """
        self.watched = watched
        self._resources = resources
        self._look = look
        self._now = self._seen = look()
        self._away = away
        self.left_out: dict[str, str] = {}
        self._untold: list[str] = []
        self._silent_s = 0.0
        self._idle_since: float | None = None
        self._ended = threading.Event()
        self._fits: dict[float, int] = {}

    @classmethod
    def of_machine(cls, machine: Node, resources: Resources) -> Fleet:
        """One node that stays as it is."""
        return cls(resources, lambda: Listing({machine.id: machine}), watched=False)

    @classmethod
    def of_cluster(cls, resources: Resources, away: Callable[[bool], None]) -> Fleet:
        """The nodes of the connected cluster; ``away`` hears that its head does not answer."""
        return cls(resources, listing, watched=True, away=away)

    def __enter__(self) -> Fleet:
        if self.watched:
            threading.Thread(target=self._watch, daemon=True).start()
            threading.Thread(target=self._guard, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    @property
    def nodes(self) -> list[Node]:
        """On which trials may be started."""
        return [node for name, node in self._now.staying.items() if name not in self.left_out]

    @property
    def facts(self) -> dict[str, Any]:  # Any: JSON
        """What a session records about a cluster; nothing about a single machine."""
        offers = [{"name": node.name, "cpus": node.cpus, "gpus": node.gpus} for node in self.nodes]
        return {"cluster": {"nodes": offers}} if self.watched else {}

    def changes(self) -> Iterator[Change]:
        """What happened since it was asked last, to nodes that can run trials."""
        before, self._now = self._now, self._seen
        if before is not self._now:
            self._fits.clear()
            for change in compare(before, self._now):
                if parts(change.node, self._resources) and change.node.id not in self.left_out:
                    yield change
        for name in [name for name in self._untold if name in self._now.staying]:  # its worker may be faster than we
            self._untold.remove(name)
            yield Change(self._now.staying[name], "is left out", why=self.left_out[name])

    def leave_out(self, node_id: str, why: str) -> None:
        """A node must not be used any more."""
        if node_id not in self.left_out:
            self.left_out[node_id] = why
            self._untold.append(node_id)
            self._fits.clear()

    def is_leaving(self, node_id: str) -> bool:
        """Whether a node will be taken away."""
        return node_id in self._now.leaving

    def fits(self, gpus: float) -> int:
        """How many trials fit on the nodes at once, where each gets so many GPUs."""
        if gpus not in self._fits:  # asked for about ten times a second
            self._fits[gpus] = slots(self.nodes, with_share(self._resources, gpus))
        return self._fits[gpus]

    def slots(self, gpus: float) -> int:
        """How many trials to ask for at once, where each gets so many GPUs.

        On a cluster these are more than fit, if only by one: an autoscaler goes by what is asked for.
        """
        if not self.watched:
            return self.fits(gpus)
        return self._resources.max_concurrent or self.fits(gpus) + 1

    def waits_for(self, *, idle: bool) -> str | None:
        """What has to come before any trial can run; None if it should be able to.

        Args:
            idle: Whether there are trials to run, and none runs.
        """
        if not self.watched:
            return None
        if self._silent_s > SILENT_S:
            return SILENT
        if not self.fits(self._resources.gpus):
            return lack(self.nodes, self._resources)
        now = time.monotonic()
        self._idle_since = (self._idle_since or now) if idle else None
        if self._idle_since is not None and now - self._idle_since > WAITING_S:
            return "waiting for a place: all nodes seem to be in use by others"
        return None

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):  # of any kind, while the head does not answer: look again
                self._seen = self._look()
                self._silent_s = 0.0

    def _guard(self) -> None:
        """Counts by itself, for a clock goes on while this process is stopped."""
        while self._silent_s <= LOST_S:
            if self._ended.wait(LOOK_EVERY_S):
                return
            self._silent_s += LOOK_EVERY_S
            if self._silent_s > SILENT_S:
                self._away(False)
        self._away(True)


def compare(before: Listing, now: Listing) -> Iterator[Change]:
    """What happened between two moments."""
    for name, node in now.staying.items():
        if name not in before.staying:
            yield Change(node, "joined")
    for name, node in before.staying.items():
        if name in now.leaving:
            yield Change(node, f"will be taken away{_when(now.leaving[name])}")
        elif name not in now.staying:
            yield Change(node, now.gone.get(name, "was lost"), is_end=True)


def _when(deadline: float) -> str:
    return f" in {max(0.0, deadline - time.time()):.0f} s" if deadline else ""


def listing() -> Listing:
    """The nodes of the connected cluster. Takes a few milliseconds, but hangs while the head does not answer."""
    import ray
    from ray._private.state import state

    leaving = {name: ms / 1000 for name, ms in state.get_draining_nodes().items()}
    listed = sorted(ray.nodes(), key=lambda each: each["NodeID"])
    names = Counter(_name(each) for each in listed if each["Alive"])
    return Listing(
        {each["NodeID"]: _node(each, names) for each in listed if each["Alive"] and each["NodeID"] not in leaving},
        leaving,
        {each["NodeID"]: _GOODBYES.get(each["DeathReason"], "was lost") for each in listed if not each["Alive"]},
    )


def node_of(actor: Any) -> str:  # Any: Ray's handles have no type
    """The id of the node that an actor runs on; empty where Ray does not know. Takes some milliseconds."""
    from ray._private.state import actors

    return str(actors(actor._actor_id.hex()).get("Address", {}).get("NodeID", ""))


def _node(listed: Mapping[str, Any], names: Mapping[str, int]) -> Node:
    offers, name = listed["Resources"], _name(listed)
    return Node(
        listed["NodeID"],
        name if names[name] == 1 else f"{name} ({listed['NodeID'][:6]})",
        cpus=offers.get("CPU", 0.0),
        gpus=offers.get("GPU", 0.0),
        custom={
            what: amount
            for what, amount in offers.items()
            if what not in ("CPU", "GPU") and not what.startswith(_NOT_CUSTOM)
        },
        labels=dict(listed["Labels"]),
    )


def _name(listed: Mapping[str, Any]) -> str:
    """What its user calls a node, or its host; Ray's own name for it is its address."""
    given, address, host = listed["NodeName"], listed["NodeManagerAddress"], listed["NodeManagerHostname"]
    return str(host if given == address else given)
