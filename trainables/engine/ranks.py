"""Processes that train one trial together, as each of them sees the others; plain ``torch.distributed``.

The processes are called ranks. Every rank has a copy of the networks and computes its share of every batch; gradients
are added up, so that all copies stay equal. Whoever starts the processes lets them meet: rank 0 opens a store, the
others are told its address.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # torch's stubs leave them out

from trainables.storage import PATIENCE_S

_TIMEOUT = timedelta(seconds=PATIENCE_S, minutes=10)
"""Ranks wait for each other so long: longer than rank 0 waits for a store, which it alone asks. That is the last
resort, for a rank that hangs: of one that died, the operating system tells the others at once, or whoever started it.
"""

_Value = TypeVar("_Value")


class RankLost(RuntimeError):
    """Another rank does not answer any more, so that this one cannot go on either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What one rank computes of a batch. Of a batch with fewer samples than ranks every rank computes all.

    Attributes:
        first: Its first sample in the batch, 0-based.
        stop: One after its last.
        batch: Samples of the whole batch.
        weight: With which a mean over the share counts in the mean over the batch; all ranks' add up to 1.
    """

    first: int
    stop: int
    batch: int
    weight: float

    @property
    def samples(self) -> int:
        """How many it has, >= 1."""
        return self.stop - self.first

    @property
    def copies(self) -> int:
        """How many ranks compute each of its samples."""
        return 1 if self.samples < self.batch else round(1 / self.weight)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One step of an epoch.

    Attributes:
        rows: Where its samples lie among those that this process needs in the epoch.
        share: What these are of the batch; None where one process computes all.
    """

    rows: slice
    share: Share | None


class Ranks:
    """The group, from within one of its processes. A process is in at most one group at a time.

    Attributes:
        rank: Of this process; 0 leads: it alone reads and writes files.
        count: Number of ranks.
        share: What this process computes in the present step; None outside of steps, in which ranks do all the same.
    """

    def __init__(self, rank: int, count: int, store: Store, device: torch.device | str) -> None:
        """Joins the group, and waits until all ranks have.

        Args:
            rank: 0-based.
            count: Number of ranks.
            store: The one that rank 0 opened.
            device: Where tensors are: ``cpu`` (gloo is used), or ``cuda`` (NCCL).

        Raises:
            RankLost: Not all have come in time.
        """
        self.rank = rank
        self.count = count
        self.share: Share | None = None
        backend = "gloo" if torch.device(device).type == "cpu" else "cpu:gloo,cuda:nccl"
        with _answering():
            dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=_TIMEOUT)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def leave(self) -> None:
        """Ends the group for this process, which may then join another one."""
        dist.destroy_process_group()

    # Who does what

    def share_of(self, batch: int) -> Share:
        """What this rank computes of a batch of so many samples."""
        if batch < self.count:
            return Share(first=0, stop=batch, batch=batch, weight=1 / self.count)
        here = self.part_of(batch)
        return Share(first=here.start, stop=here.stop, batch=batch, weight=(here.stop - here.start) / batch)

    def part_of(self, samples: int) -> slice:
        """Which of so many samples, in their order, this rank measures."""
        return slice(samples * self.rank // self.count, samples * (self.rank + 1) // self.count)

    @contextmanager
    def in_step(self, share: Share) -> Iterator[None]:
        """Networks see a share meanwhile."""
        self.share = share
        try:
            yield
        finally:
            self.share = None

    # What they tell each other; all ranks must call the same in the same order

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replaces a tensor by the sum of all ranks', bit-equal on all of them.

        Raises:
            RankLost: Another rank does not answer.
        """
        with _answering():
            dist.all_reduce(tensor)
        return tensor

    def mean_over_batch(self, tensor: Tensor) -> Tensor:
        """Replaces a mean over the present share, such as a gradient, by the mean over the whole batch."""
        assert self.share is not None, "there is a batch within steps only"
        return self.add_up(tensor.mul_(self.share.weight))

    def copy_first(self, tensor: Tensor) -> None:
        """Overwrites a tensor by that of rank 0."""
        with _answering():
            dist.broadcast(tensor, src=0)

    def agreed(self, value: _Value) -> _Value:
        """Any value of rank 0, with its tensors on the CPU; what other ranks give is ignored."""
        box = [value]
        with _answering():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def put_together(self, part: Tensor, samples: int) -> Tensor:
        """A tensor (N, ...) of which every rank has the rows that :meth:`part_of` names.

        Args:
            part: Rows of this rank.
            samples: N.
        """
        most = -(-samples // self.count)
        padded = part.new_zeros((most, *part.shape[1:]))
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        with _answering():
            dist.all_gather(parts, padded)
        sizes = [samples * (rank + 1) // self.count - samples * rank // self.count for rank in range(self.count)]
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])


def turns_of(
    samples: int, batch_size: int, ranks: Ranks | None, *, with_neighbours: bool
) -> tuple[slice | NDArray[np.int64], list[Turn]]:
    """Which samples of an epoch this process needs, and how they make up its steps.

    Args:
        samples: Of the epoch.
        batch_size: Of the whole batches; the last one may have fewer.
        ranks: The group; None for a process of its own.
        with_neighbours: Whether a share also needs the sample before its first one, in front (in a batch, the last one
            comes before the first); a whole batch does not.

    Returns:
        Places in the epoch's order, and the steps.
    """
    batches = [(first, min(batch_size, samples - first)) for first in range(0, samples, batch_size)]
    if ranks is None:
        return slice(None), [Turn(rows=slice(first, first + size), share=None) for first, size in batches]
    places, turns, known = [], [], 0
    for first, size in batches:
        share = ranks.share_of(size)
        before = 1 if with_neighbours and share.samples < size else 0
        places.append(first + np.arange(share.first - before, share.stop) % size)
        turns.append(Turn(rows=slice(known, known + len(places[-1])), share=share))
        known += len(places[-1])
    return np.concatenate(places), turns


def open_store(host: str) -> TCPStore:
    """Where ranks meet: a server in rank 0, at the address of its machine only, on a free port (see ``port``).

    Args:
        host: This machine's address, as the others reach it.
    """
    listening = socket.create_server((host, 0))
    return TCPStore(
        host, listening.getsockname()[1], is_master=True, wait_for_workers=False, timeout=_TIMEOUT,
        master_listen_fd=listening.detach(),
    )  # fmt: skip


def reach_store(host: str, port: int) -> TCPStore:
    """The store that rank 0 opened.

    Raises:
        RankLost: It does not answer.
    """
    with _answering():
        return TCPStore(host, port, is_master=False, timeout=_TIMEOUT)


@contextmanager
def _answering() -> Iterator[None]:
    """What torch raises when a rank is gone is a RuntimeError of no particular kind."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"another process of this trial does not answer: {error}") from error
