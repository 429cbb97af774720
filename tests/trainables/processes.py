"""Ranks in real processes of this machine, which stay for many calls: starting one costs seconds."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from trainables.engine.ranks import Ranks, open_store, reach_store

WAIT_S = 120.0


class RankProcesses:
    """A group of ranks with gloo, each of which waits for functions to call."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self._ends = [mine for mine, _ in pipes]
        self.processes = [
            context.Process(target=_serve, args=(rank, count, theirs)) for rank, (_, theirs) in enumerate(pipes)
        ]
        for process, (_, theirs) in zip(self.processes, pipes, strict=True):
            process.start()
            theirs.close()
        port = self._next(0)
        for end in self._ends[1:]:
            end.send(port)
        for rank in range(count):
            self._next(rank)

    def call(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        """What every rank gives for ``function(ranks, *arguments)``, at the same time; the function must be importable.

        Raises:
            Exception: What the function raised in a rank.
        """
        for end in self._ends:
            end.send((function, arguments))
        answers = [self._next(rank) for rank in range(len(self._ends))]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def _next(self, rank: int) -> Any:
        assert self._ends[rank].poll(WAIT_S), f"rank {rank} does not answer"
        try:
            return self._ends[rank].recv()
        except EOFError:  # it is dead
            return None


def member(rank: int, count: int) -> Ranks:
    """One that was never told where the others are; who does what, it knows without them."""
    ranks = Ranks.__new__(Ranks)
    ranks.rank, ranks.count, ranks.share = rank, count, None
    return ranks


@contextmanager
def in_double() -> Iterator[None]:
    """Everything is computed in float64 meanwhile, so that a wrong sum cannot pass for a rounding error."""
    as_float = torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.float = as_float  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)


def _serve(rank: int, count: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    if rank == 0:
        store = open_store("127.0.0.1")
        pipe.send(store.port)
    else:
        store = reach_store("127.0.0.1", pipe.recv())
    ranks = Ranks(rank, count, store, "cpu")
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:  # the tests are gone
            return
        try:
            pipe.send(function(ranks, *arguments))
        except Exception as error:  # of any kind: the test is to see it
            error.add_note(traceback.format_exc())
            pipe.send(error)
