"""The machines of a cluster, each looked at by a small task of its own on it."""

from __future__ import annotations

import contextlib
import queue
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from results.places import AT_ONCE, Place, publish, reason, remedy
from search.capacity import Node
from search.doctor import hardware, software, study
from search.doctor.check import Check, Look, State, failed, in_time, ok
from search.doctor.root import FILE, clock, probe
from search.doctor.writing import named
from trainables.data import data_root

ANSWER = "answer"
"""Name of the check that fails where a machine gives none."""
ANSWER_S = 120.0
"""What has not answered after so long does not answer; seconds. A machine that has just come must fetch our code, and
read torch from a cold disk; of a dead one Ray itself says so sooner."""
LOOK_S = 20.0
"""Of these it may look for so long, so that a hanging disk is told from a hanging machine; seconds."""
LATE_S = 10.0
"""After so long, and then as often, it is said who is waited for; seconds."""
TICK_S = 0.2
"""A signal is seen within so long; seconds."""

Meanwhile = Callable[[str], None]
"""Called several times a second while machines are waited for, with what to show; what it raises ends the looking."""

_REMEDY = "See whether the machine is alive and what its Ray logs say, or take it off the cluster"
_SEES_GPUS = {"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}}  # a task that takes no GPU still sees them


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a machine is to look at.

    Attributes:
        probe: A folder in the root, with the driver's file in it.
        content: Of that file.
        versions: The driver's.
        data: Names of data sets, with the driver's digests; None where the driver has none.
        thorough: Look at disk, memory and GPUs too, for the doctor.
        gpus: That Ray counts on the machine.
    """

    probe: Place
    content: bytes
    versions: Mapping[str, str]
    data: Mapping[str, str | None] = field(default_factory=dict)
    thorough: bool = False
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a machine found.

    Attributes:
        checks: All of them, without the machine's name.
        time: When it was done, by its own clock; seconds since 1970.
    """

    checks: tuple[Check, ...]
    time: float


def look(request: Request, name: str) -> Answer:
    """Everything that is looked at on a machine of the cluster; runs there.

    Args:
        request: What to look at.
        name: Of the file that the machine leaves in the root.
    """
    looks: list[tuple[str, Look]] = [
        ("versions", lambda: software.same(software.versions(), request.versions)),
        *(("data", partial(_data, dataset, digest)) for dataset, digest in request.data.items()),
    ]
    if request.thorough:
        folders = {"data sets": data_root(), "temporary files": hardware.ray_folder()}
        looks += [
            ("packages", software.installed),
            ("memory", hardware.compute),
            ("ports", hardware.loopback),
            ("disk", partial(hardware.disks, folders)),
        ]
        if request.gpus > 0:
            looks.append(("GPU", partial(hardware.gpus, needed=True, counted=request.gpus)))
    looks.append(("root", lambda: [_shares(request, name)]))  # the likeliest to hang comes last
    deadline = time.monotonic() + LOOK_S
    checks = [check for what, look in looks for check in in_time(what, look, max(1.0, deadline - time.monotonic()))]
    return Answer(tuple(checks), time.time())


def look_at(
    nodes: Sequence[Node],
    root: Place,
    data: Sequence[str],
    meanwhile: Meanwhile,
    *,
    thorough: bool,
    limit_s: float = ANSWER_S,
) -> list[Check]:
    """Looks at machines of the cluster that this process has joined, at all of them at once.

    Args:
        nodes: The machines.
        root: Folder of all studies.
        data: Names of the data sets that all of them need.
        meanwhile: Shows what is waited for.
        thorough: Look at disk, memory and GPUs too.
        limit_s: A machine that has not answered by then failed; seconds.

    Returns:
        The checks of every machine, each with its name.

    Raises:
        OSError: The driver itself cannot write to the root.
    """
    import ray

    with probe(root) as folder:
        content = secrets.token_hex(16).encode()
        publish({folder / FILE: content})
        request = Request(
            probe=folder,
            content=content,
            versions=software.versions(),
            data={name: study.digest_of(name) for name in data},
            thorough=thorough,
        )
        asked = {node.id: _ask(request, node) for node in nodes}
        futures = {name: reference.future() for name, reference in asked.items()}
        names = {node.id: node.name for node in nodes}
        try:
            found = collect(futures, names, partial(_read, request), meanwhile, limit_s)
        finally:
            for name, future in futures.items():
                if not future.done():  # it must not write to the root later
                    with contextlib.suppress(Exception):  # the machine may be gone
                        ray.cancel(asked[name], force=True)
    return [replace(check, node=node.name) for node in nodes for check in found[node.id]]


def collect(
    asked: Mapping[str, Future[Answer]],
    names: Mapping[str, str],
    read: Callable[[str, Future[Answer], float], Iterable[Check]],
    meanwhile: Meanwhile,
    limit_s: float,
) -> dict[str, list[Check]]:
    """The checks of machines as they answer. What a slow root takes to read counts neither as silence nor as lateness.

    Args:
        asked: What will hold the answer or the error, by the machine's id.
        names: What to call the machines, by id.
        read: Makes checks of an id, of what came from there, and of when it came, in seconds since 1970; in a thread.
        meanwhile: As in ``look_at``.
        limit_s: As in ``look_at``.

    Returns:
        By id; one failed check for a machine that did not answer.
    """
    came: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()
    for node, future in asked.items():
        future.add_done_callback(partial(_note, came, node))
    silent = dict.fromkeys(asked)
    reading: dict[str, Future[list[Check]]] = {}
    began = time.monotonic()
    shown, show_next = "looking at the machines of the cluster", began + LATE_S
    with ThreadPoolExecutor(AT_ONCE) as readers:
        while silent and (now := time.monotonic()) < began + limit_s:
            if now >= show_next:
                shown, show_next = _waiting([names[node] for node in silent], len(asked)), now + LATE_S
            meanwhile(shown)
            with contextlib.suppress(queue.Empty):
                node, at = came.get(timeout=TICK_S)
                del silent[node]
                reading[node] = readers.submit(lambda node, at: list(read(node, asked[node], at)), node, at)
    none = failed(ANSWER, f"none in {limit_s:g} s", _REMEDY)
    return {node: [none] if node in silent else reading[node].result() for node in asked}


def _note(came: queue.SimpleQueue[tuple[str, float]], node: str, answer: Future[Answer]) -> None:
    """In the thread in which the answer arrives."""
    came.put((node, time.time()))


def _waiting(late: Sequence[str], of: int) -> str:
    return f"waiting for {named(late, of)} to answer; one that has just come needs a minute or two"


def _ask(request: Request, node: Node) -> Any:  # Any: Ray's reference
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    see = {"runtime_env": _SEES_GPUS} if request.thorough and node.gpus else {}
    task = ray.remote(look).options(
        num_cpus=0,  # beside the trials of other studies
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        **see,
    )
    return task.remote(replace(request, gpus=node.gpus), node.id)


def _read(request: Request, name: str, answer: Future[Answer], came: float) -> Iterator[Check]:
    """The checks of a machine that has answered, its clock, and whether what it wrote came here."""
    from ray.exceptions import NodeDiedError, TaskUnschedulableError

    try:
        found = answer.result()
    except Exception as error:  # Ray wraps whatever happens there, and what happens to the machine
        if isinstance(error, (NodeDiedError, TaskUnschedulableError)):
            yield failed(ANSWER, "none, and Ray counts the machine as lost by now", _REMEDY)
        elif "ModuleNotFoundError" in str(error):
            remedy = "Install thermotune on this machine, or at least what it needs, for the Python that Ray runs on"
            yield failed("packages", f"thermotune cannot be imported ({_last_line(error)})", remedy)
        else:
            yield failed(ANSWER, _last_line(error), _REMEDY)
        return
    for check in found.checks:
        yield _returned(request, name) if (check.name, check.state) == ("root", State.OK) else check
    if request.thorough:
        yield clock("clock", found.time - came, "its clock")


def _returned(request: Request, node: str) -> Check:
    """On the driver's machine: whether it finds what a machine says it wrote."""
    root = request.probe.parent
    try:
        if (request.probe / node).read_bytes() == request.content:
            return ok("root", f"{root} is shared with the driver")
        why = "with another content"
    except OSError as error:
        why = reason(error)
    remedy = "Mount it so that files appear everywhere at once (NFS: without nocto, actimeo of a few seconds)"
    return failed("root", f"what this machine writes to {root} does not reach the driver ({why})", remedy)


def _data(name: str, digest: str | None) -> list[Check]:
    return [study.data(name, digest, on_node=True)]


def _shares(request: Request, name: str) -> Check:
    """On a machine: whether it finds the driver's file in the root, with its content, and can write beside it."""
    root = request.probe.parent
    try:
        found = reads(request.probe, request.content)
    except OSError as error:
        return failed("root", f"{root} cannot be read ({reason(error)})", _share(root))
    if found.state is State.FAILED:
        return found
    try:
        publish({request.probe / name: request.content})
    except OSError as error:
        give = "Give Ray's user on this machine the right to write there, the same user as on the driver's"
        return failed("root", f"{root} can be read, but not written ({reason(error)})", give)
    return found


def reads(folder: Place, content: bytes) -> Check:
    """On a machine: whether it finds the driver's file in a folder of the root, with its content.

    Raises:
        OSError: It cannot be read, though it may be there.
    """
    root = folder.parent
    try:
        found = (folder / FILE).read_bytes()
    except FileNotFoundError:
        there = "is another folder" if root.exists() else "does not exist"
        return failed("root", f"{root} {there} on this machine: what the driver writes is not there", _share(root))
    if found != content:
        return failed("root", f"{root} gives a file another content than the driver wrote", _share(root))
    return ok("root", f"{root} is shared with the driver")


def _share(root: Place) -> str:
    if isinstance(root, Path):
        return (
            f"Mount the driver's file system at {root} on this machine, or use a root that all have: s3://bucket/prefix"
        )
    return remedy(root)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
