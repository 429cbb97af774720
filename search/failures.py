"""What happened to an attempt at a trial that broke off: from an exception of Ray to a setback with words for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from results.environment import mask
from results.schema import Setback

LONGEST_ERROR = 8000
"""Letters of a traceback that are kept: its beginning and its end say most."""
LONGEST_REASON = 200

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(r"Failure # \d+ \(occurred at [^)]*\)\n")
_IN_CREATION = "The actor died because of an error raised in its creation task, "
_EXIT = "Worker exit type:"
_GUESSES = "Some common causes include"
_NODE_FULL = "killed due to the node running low on memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt broke off.

    Attributes:
        setback: Of which kind it is.
        reason: What happened, a sentence without a full stop.
        error: The traceback, or what Ray said; None where there is nothing more to say than the reason.
    """

    setback: Setback
    reason: str
    error: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a TrialRow that hold it, but for ``reason``."""
        return {"setback": self.setback, "error": self.error}


def failure_of(error: BaseException | None, text: str, node: str | None) -> Failure:
    """What an error means that ended an attempt.

    A worker that cannot be reached is taken for one whose node is lost: of a process that died, its node tells.

    Args:
        error: What Ray raised in the driver; None where it could not be kept.
        text: The same as text.
        node: Where the worker was; None where that is not known.
    """
    from ray import exceptions  # the conductor knows this module, and no Ray

    from trainables.distributed import node_died

    said = mask(_HEADING.sub("", _COLOR.sub("", text)).strip())
    cause = getattr(error, "cause", None) or error  # of a trial of several processes, what happened to one of them
    its_node = "its node" if node is None else f"its node {node}"
    if isinstance(error, exceptions.RayTaskError):  # its processes may be on other nodes than the worker that leads
        its_node = "one of its nodes"
    if getattr(cause, "preempted", False):
        return Failure(setback=Setback.MOVE, reason=f"{its_node} was taken away by the cluster")
    is_actor = isinstance(cause, exceptions.RayActorError)
    if node_died(cause):
        return Failure(setback=Setback.MOVE, reason=f"{its_node} was lost")
    if isinstance(cause, exceptions.ActorUnavailableError):
        return Failure(setback=Setback.MOVE, reason=f"{its_node} could not be reached any more")
    if isinstance(cause, exceptions.OutOfMemoryError) or _NODE_FULL in said:
        used = said.partition("\n")[0]  # what follows lists command lines of others
        return _crash("its worker was ended by Ray, because the memory of its node was nearly full", used)
    if is_actor and _IN_CREATION not in said:
        exit_detail = said[said.find(_EXIT) :].partition(_GUESSES)[0] if _EXIT in said else said
        return _crash("its worker process was killed, perhaps for lack of memory, or broke down", exit_detail.strip())
    if not said:
        return _crash("its worker was lost", said)
    return _crash(said.splitlines()[-1].strip(), said.removeprefix(_IN_CREATION))


def _crash(reason: str, said: str) -> Failure:
    short = reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 3]}..."
    return Failure(setback=Setback.CRASH, reason=short, error=_bounded(said) or None)


def _bounded(text: str) -> str:
    if len(text) <= LONGEST_ERROR:
        return text
    head, tail = LONGEST_ERROR // 4, LONGEST_ERROR * 3 // 4
    return f"{text[:head]}\n... {len(text) - head - tail} letters left out ...\n{text[-tail:]}"
