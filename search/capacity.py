"""How many trials fit on the nodes of a cluster, or of this machine. Pure: nodes are values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from search.errors import Mistake
from search.settings import Resources

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Node:
    """What a node offers to trials, whether or not somebody uses it at present.

    Attributes:
        id: Ray's name for it.
        name: Of its machine, for people.
        cpus: CPU cores, with the limits of affinity and containers.
        gpus: CUDA devices.
        custom: Amounts of custom resources.
        labels: Of the node.
    """

    id: str
    name: str
    cpus: float
    gpus: float = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def this_machine(*, look_for_gpus: bool) -> Node:
    """The machine that this process runs on. Looking for GPUs imports torch, which takes seconds."""
    import socket

    from joblib import cpu_count

    gpus = 0
    if look_for_gpus:
        import torch

        gpus = torch.cuda.device_count()
    return Node("", socket.gethostname(), cpu_count(), gpus)


def slots(nodes: Iterable[Node], resources: Resources) -> int:
    """How many trials fit on the nodes at once, were they empty; at most ``resources.max_concurrent``."""
    if resources.strategy == "single":
        fits = sum(parts(node, resources) for node in nodes)
    else:
        fits = sum(parts(node, resources) for node in nodes) // resources.ranks
    return fits if resources.max_concurrent is None else min(fits, resources.max_concurrent)


def bundle(resources: Resources) -> dict[str, float]:
    """What one process of a trial takes, in Ray's words; a trial of strategy ddp takes one for each rank."""
    ranks = resources.ranks
    amounts = {"CPU": resources.cpus / ranks, "GPU": resources.gpus / ranks}
    return {**amounts, **{name: amount / ranks for name, amount in resources.custom.items()}}


def parts(node: Node, resources: Resources) -> int:
    """How many processes of trials fit on a node: whole trials, or ranks with strategy ddp."""
    if not has_labels(node, resources):
        return 0
    need = bundle(resources)
    gpus = need.pop("GPU")
    fits = [int(have(node, name) / amount + _ROUNDING) for name, amount in need.items()]
    if gpus > 0:  # a share of a GPU must lie on one device
        fits.append(int(node.gpus) * int(1 / gpus + _ROUNDING))
    return min(fits)


def have(node: Node, name: str) -> float:
    """How much a node offers of a resource in Ray's words."""
    return {"CPU": node.cpus, "GPU": node.gpus}.get(name, node.custom.get(name, 0.0))


def has_labels(node: Node, resources: Resources) -> bool:
    """Whether a node has the labels that trials want."""
    return all(matches(node.labels.get(key), wanted) for key, wanted in resources.labels.items())


def matches(value: str | None, wanted: str) -> bool:
    """Whether a node's label is as wanted, by the rules of Ray's label selectors.

    Args:
        value: The label; None if the node has none of the name.
        wanted: ``a``, ``!a``, ``in(a,b)`` or ``!in(a,b)``.
    """
    rule = re.fullmatch(r"(!?)(?:in\((.*)\)|(.*))", wanted)
    assert rule is not None, "the pattern takes any text"
    names = rule[2].split(",") if rule[2] is not None else [rule[3]]
    return (value in names) is not bool(rule[1])


def with_share(resources: Resources, gpus: float) -> Resources:
    """The same, but with so many GPUs for a trial."""
    return resources if gpus == resources.gpus else resources.model_copy(update={"gpus": gpus})


def unfit_here(resources: Resources) -> list[Mistake]:
    """What a trial needs that this machine can never give. Takes seconds where GPUs are asked for."""
    return unfit(this_machine(look_for_gpus=resources.gpus > 0), resources)


def unfit(machine: Node, resources: Resources) -> list[Mistake]:
    """What a trial needs that a machine can never give."""
    found = []
    for name, need in bundle(resources).items():
        if need * resources.ranks > have(machine, name) + _ROUNDING:
            key = {"CPU": "cpus", "GPU": "gpus"}.get(name, f"custom.{name}")
            problem = f"a trial needs {_amount(name, need * resources.ranks)}, this machine has {have(machine, name):g}"
            found.append(Mistake(f"resources.{key}", problem, f"Lower resources.{key}, or run on a larger machine"))
    if not has_labels(machine, resources):
        problem = f"a trial needs a node with {_labels(resources)}, this machine has other labels"
        found.append(Mistake("resources.labels", problem, "Leave resources.labels out, or run on a cluster"))
    return found


def lack(nodes: Collection[Node], resources: Resources) -> str:
    """For what trials wait that fit on none of the nodes, for people."""
    need = bundle(resources)
    names = [name for name, amount in need.items() if amount]
    wanted = _all({name: need[name] * resources.ranks for name in names})
    waiting = f"waiting for {'a node' if resources.ranks == 1 else 'nodes'} with {wanted}"
    if resources.labels:
        waiting += f" and {_labels(resources)}"
    there = "is 1 node" if len(nodes) == 1 else f"are {len(nodes)} nodes"
    labelled = [node for node in nodes if has_labels(node, resources)]
    if not labelled:
        return f"{waiting}; there {there}" + (", none with such labels" if nodes else "")
    if resources.ranks > 1:
        together = _all({name: sum(have(node, name) for node in labelled) for name in names})
        return f"{waiting}; there {there}, with together {together}"
    nearest = max(labelled, key=lambda node: sum(min(1.0, have(node, name) / need[name]) for name in names))
    which = "" if len(nodes) == 1 else f"the nearest is {nearest.name} "
    return f"{waiting}; there {there}, {which}with {_all({name: have(nearest, name) for name in names})}"


def _labels(resources: Resources) -> str:
    names = ", ".join(f"{key}={value}" for key, value in resources.labels.items())
    return f"the label{'s' if len(resources.labels) > 1 else ''} {names}"


def _all(amounts: Mapping[str, float]) -> str:
    return " and ".join(_amount(name, amount) for name, amount in amounts.items())


def _amount(name: str, amount: float) -> str:
    return f"{amount:g} {name}{'s' if name in ('CPU', 'GPU') and amount > 1 else ''}"
