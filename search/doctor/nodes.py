"""The machines of a cluster, each looked at by a small task of its own on it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from results.places import Place, publish, reason, remedy
from search.capacity import Node
from search.doctor import hardware, software, study
from search.doctor.check import Check, Look, State, failed, in_time, ok
from search.doctor.root import FILE, clock, probe
from trainables.data import data_root

ANSWER = "answer"
"""Name of the check that fails where a machine gives none."""
ANSWER_S = 30.0
"""A machine that has not answered after so long is not used; seconds."""
LOOK_S = 20.0
"""Of these it may look for so long, so that a hanging disk is told from a hanging machine; seconds."""

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
            ("disk", partial(hardware.disks, folders)),
        ]
        if request.gpus > 0:
            looks.append(("GPU", partial(hardware.gpus, needed=True, counted=request.gpus)))
    looks.append(("root", lambda: [_shares(request, name)]))  # the likeliest to hang comes last
    deadline = time.monotonic() + LOOK_S
    checks = [check for what, look in looks for check in in_time(what, look, max(1.0, deadline - time.monotonic()))]
    return Answer(tuple(checks), time.time())


def look_at(
    nodes: Sequence[Node], root: Place, data: Sequence[str] = (), *, thorough: bool, limit_s: float = ANSWER_S
) -> list[Check]:
    """Looks at machines of the cluster that this process has joined, at all of them at once.

    Args:
        nodes: The machines.
        root: Folder of all studies.
        data: Names of the data sets that all of them need.
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
        waiting = {_ask(request, node): node for node in nodes}
        found: dict[str, list[Check]] = {node.id: [] for node in nodes}
        deadline = time.monotonic() + limit_s
        while waiting and (left := deadline - time.monotonic()) > 0:
            for reference in ray.wait(list(waiting), timeout=left)[0]:
                node = waiting.pop(reference)
                found[node.id] += _answer(reference, request, node.id)
    for reference, node in waiting.items():
        with contextlib.suppress(Exception):  # the machine may be gone
            ray.cancel(reference, force=True)
        remedy = "See whether the machine is alive and what its Ray logs say, or take it off the cluster"
        found[node.id].append(failed(ANSWER, f"none in {limit_s:g} s", remedy))
    return [replace(check, node=node.name) for node in nodes for check in found[node.id]]


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


def _answer(reference: Any, request: Request, node: str) -> Iterator[Check]:  # Any: as above
    """The checks of a machine that has answered, its clock, and whether what it wrote came here."""
    import ray

    came = time.time()
    try:
        answer = ray.get(reference)
    except Exception as error:  # Ray wraps whatever happens there, and what happens to the machine
        if "ModuleNotFoundError" in str(error):
            remedy = "Install thermotune on this machine, or at least what it needs, for the Python that Ray runs on"
            yield failed("packages", f"thermotune cannot be imported ({_last_line(error)})", remedy)
        else:
            remedy = "See the logs of Ray on this machine, or take it off the cluster"
            yield failed(ANSWER, _last_line(error), remedy)
        return
    for check in answer.checks:
        yield _returned(request, node) if (check.name, check.state) == ("root", State.OK) else check
    if request.thorough:
        yield clock("clock", answer.time - came, "its clock")


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
    file, root = request.probe / FILE, request.probe.parent
    share = (
        f"Mount the driver's file system at {root} on this machine, or use a root that all have: s3://bucket/prefix"
        if isinstance(root, Path)
        else remedy(root)
    )
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        there = "is another folder" if root.exists() else "does not exist"
        return failed("root", f"{root} {there} on this machine: what the driver writes is not there", share)
    except OSError as error:
        return failed("root", f"{root} cannot be read ({reason(error)})", share)
    if content != request.content:
        return failed("root", f"{root} gives a file another content than the driver wrote", share)
    try:
        publish({request.probe / name: content})
    except OSError as error:
        give = "Give Ray's user on this machine the right to write there, the same user as on the driver's"
        return failed("root", f"{root} can be read, but not written ({reason(error)})", give)
    return ok("root", f"{root} is shared with the driver")


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
