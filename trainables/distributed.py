"""A trial of several processes as Ray Tune sees it: one actor that leads, and one for each rank.

The trial's placement group must have one bundle for each rank, all alike, and nothing for the leading actor, which
computes nothing: ``PlacementGroupFactory([{}, bundle, bundle, ...])``. Ranks meet by themselves (``engine.ranks``).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import psutil
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayActorError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.session import TrialConfig, prepare_data
from trainables.storage import Folder
from trainables.trial import PLACEHOLDER, PLACEHOLDER_STEP_S, REPORT_KEY, StudyTrial

NOTICE_S = 60.0
"""Ray needs up to half a minute to notice that a machine is gone; a rank that misses another one knows it sooner."""

NODES_KEY = "nodes"
"""Key of a step's result for what Ray calls the nodes of the ranks; a list, one name for each rank."""

_NODE_DIED = re.compile(r"\bnode (?:has died|was terminated|is dead)", re.IGNORECASE)
_LOCAL = "127.0.0.1"

Report = dict[str, Any]  # Any: as TrialSession.advance gives it
Address = tuple[str, int]


class DistributedTrial(StudyTrial):
    """Shows a trial that several processes train together to Ray Tune, as :class:`StudyTrial` shows one of a single.

    All ranks are asked for the same, and rank 0 answers for them. If one is lost or fails, the others are ended, and
    the trial fails as a whole, with that error: it can go on from its checkpoint elsewhere. Between trials the
    processes stay, and know each other.
    """

    _processes: list[Any]  # Any: Ray's handles have no type
    _nodes: list[str]

    def setup(self, config: dict[str, Any]) -> None:  # Any: JSON; checked by TrialConfig
        """Starts or continues the trial of a config as ``TrialConfig.to_dict`` gives it, or ``PLACEHOLDER``.

        Raises:
            Exception: Of the first rank that failed.
        """
        self._processes = getattr(self, "_processes", [])
        self._config = None if config == PLACEHOLDER else TrialConfig.from_dict(config)
        self._failure: Report | None = None
        if self._config is not None and not self._processes:
            self._start(self._config.device)
        if self._processes:
            self._all("prepare", config)
            self._failure = self._all("take_up", config)

    def step(self) -> dict[str, Any]:
        """The next report, as :meth:`TrialSession.advance` of rank 0 gives it, under ``REPORT_KEY``; and ``NODES_KEY``.

        Raises:
            Exception: Of the first rank that failed.
        """
        if self._config is None:
            time.sleep(PLACEHOLDER_STEP_S)
            return {}
        return {REPORT_KEY: [self._failure or self._all("advance")], NODES_KEY: self._nodes}

    def cleanup(self) -> None:
        """Ends all ranks."""
        for process in self._processes:
            ray.kill(process)
        self._processes = []

    def _start(self, device: str) -> None:
        group = ray.util.get_current_placement_group()
        if group is None:
            raise RuntimeError("a trial of several processes must run in a placement group, got none. Use Ray Tune.")
        self._processes = [_process(group, rank, self.place, self.admit) for rank in range(group.bundle_count)]
        self._nodes = ray.get([process.node.remote() for process in self._processes])
        address = ray.get(self._processes[0].open_store.remote(self._on_one_node))
        self._all("join", len(self._processes), device, address)

    @property
    def _on_one_node(self) -> bool:
        return len(set(self._nodes)) == 1

    def _all(self, method: str, *arguments: object) -> Any:  # Any: what the method gives
        """What rank 0 answers, or the first rank that lacks memory; the others then wait for it in vain, and are ended.

        Raises:
            Exception: Of the first rank that failed; all are ended.
        """
        waiting = {getattr(process, method).remote(*arguments): n for n, process in enumerate(self._processes)}
        answers: dict[int, Any] = {}
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            rank = waiting.pop(ready)
            try:
                answers[rank] = ray.get(ready)
            except Exception as error:
                cause = sendable(_cause(error, list(waiting), self._on_one_node))
                self.cleanup()
                raise cause from None
            if answers[rank] is not None and answers[rank]["out_of_memory"]:
                self.cleanup()
                return answers[rank]
        return answers[0]


class RankProcess(StudyTrial):
    """One rank: an actor of Ray in a bundle of the trial's placement group."""

    def __init__(self, rank: int, place: Callable[[str], Folder], admit: Callable[..., None]) -> None:
        self._rank = rank
        self.place, self.admit = place, admit
        self.setup(PLACEHOLDER)  # Ray Tune does not drive it: what the constructor of a Trainable prepares is not used

    def node(self) -> str:
        """Ray's name for its machine."""
        name: str = ray.get_runtime_context().get_node_id()
        return name

    def open_store(self, on_one_machine: bool) -> Address:
        """Where the others reach rank 0, of which it is asked; nobody else can where all are on one machine."""
        from trainables.engine.ranks import open_store  # here and below: torch is for the ranks only

        self._store = open_store(_LOCAL if on_one_machine else ray.util.get_node_ip_address())
        return self._store.host, self._store.port

    def join(self, count: int, device: str, address: Address) -> None:
        """Meets the other ranks.

        Raises:
            RankLost: Not all have come in time.
        """
        from trainables.engine.ranks import Ranks, reach_store

        _use_network_of(_LOCAL if address[0] == _LOCAL else ray.util.get_node_ip_address())
        store = self._store if self._rank == 0 else reach_store(*address)
        self.ranks = Ranks(self._rank, count, store, device)

    def prepare(self, config: dict[str, Any]) -> None:  # Any: JSON; checked by TrialConfig
        """Packs the data of a trial on its machine. That may take hours, but no rank waits for another one yet."""
        trial = TrialConfig.from_dict(config)
        self.admit(trial.terms)
        prepare_data(trial)

    def take_up(self, config: dict[str, Any]) -> Report | None:  # Any: JSON; checked by TrialConfig
        """Turns to a trial; gives a report if memory is lacking for it."""
        self.setup(config)
        return None if self._shortage is None else self.advance()

    def advance(self) -> Report:
        """The next report."""
        report: Report = self.step()[REPORT_KEY][0]
        return report


def _process(group: PlacementGroup, rank: int, *hooks: Callable[..., Any]) -> Any:  # Any: Ray's handle
    needs = dict(group.bundle_specs[rank])
    options = {
        "num_cpus": needs.pop("CPU", 0),
        "num_gpus": needs.pop("GPU", 0),
        "resources": needs,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
    }
    return ray.remote(RankProcess).options(**options).remote(rank, *hooks)


def node_died(error: BaseException | None) -> bool:
    """Whether Ray says that a process ended because its node was lost."""
    said = str(error) if isinstance(error, RayActorError) else ""
    return isinstance(error, NodeDiedError) or _NODE_DIED.search(said) is not None


def sendable(error: Exception) -> Exception:
    """The same for the driver: what Ray raises when an actor died, it cannot send on (Ray 2.60)."""
    if isinstance(error, ActorDiedError):
        sent: Exception = RayActorError(error.actor_id, str(error), error.actor_init_failed, error.preempted)
        return sent
    return error


def _cause(error: Exception, waiting: list[Any], on_one_node: bool) -> Exception:  # Any: Ray's references have no type
    """Why it really broke off: a rank that misses another one was not the first to fail.

    With gloo it raises RankLost. With NCCL its process is ended by torch, so that of ranks on several nodes one that
    died may only have missed another: the end of a node explains both, and Ray tells it last.
    """
    from trainables.engine.ranks import RankLost

    def may_be_a_sequel(found: Exception) -> bool:
        died = isinstance(found, RayActorError) and not _with_its_node(found)
        return isinstance(found, RankLost) or (died and not on_one_node)

    deadline = time.monotonic() + NOTICE_S
    found = [error]
    while waiting and may_be_a_sequel(found[-1]):
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        try:
            ray.get(ready)
        except Exception as other:
            found.append(other)
    return min(found, key=lambda each: (not _with_its_node(each), isinstance(each, RankLost)))  # of equals the first


def _with_its_node(error: Exception) -> bool:
    """Whether a process ended, or cannot be reached, because of its node."""
    preempted = isinstance(error, RayActorError) and error.preempted
    return preempted or node_died(error) or isinstance(error, ActorUnavailableError)


def _use_network_of(host: str) -> None:
    """Gloo takes the network of the machine's name, which on many machines leads nowhere; Ray knows the right one."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            return
