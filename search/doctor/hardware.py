"""Cores, memory, disks, GPUs and sockets of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from results.environment import graphics_cards
from search.doctor.check import Check, failed, ok, warning

ROOM_BYTES = 5 * 2**30
"""Less free space than this is said: checkpoints and data sets take some."""
LEAST_ROOM_BYTES = 256 * 2**20
"""With less a study would stop at once."""
MEMORY_BYTES = 2 * 2**30
"""Free memory that the driver and a few workers take together (torch alone takes about 0.4 GiB in each)."""
SHARED_MEMORY_BYTES = 512 * 2**20
"""Of /dev/shm, where Ray keeps its objects and image decoders hand over their batches."""

_SHARED_MEMORY = Path("/dev/shm")
_LONGEST_SOCKET_PATH = 107
_RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"


def compute() -> Iterator[Check]:
    """How many cores and how much memory there are, and whether processes can share some of it."""
    from joblib import cpu_count

    yield ok("cores", str(cpu_count()))
    memory = psutil.virtual_memory()
    total, free = min(memory.total, _memory_limit()), min(memory.available, _memory_limit())
    found = f"{_size(total)}, {_size(free)} of them free"
    if free < MEMORY_BYTES:
        yield warning("memory", found, "End other programs, or lower resources.max_concurrent in the study file")
    else:
        yield ok("memory", found)
    if _SHARED_MEMORY.is_dir():
        yield from shared_memory(shutil.disk_usage(_SHARED_MEMORY).free)


def shared_memory(free: int) -> Iterator[Check]:
    """Whether ``/dev/shm`` has room; containers often get 64 MiB."""
    if free < SHARED_MEMORY_BYTES:
        yield warning(
            "shared memory",
            f"{_size(free)} free in {_SHARED_MEMORY}, so that Ray uses slow files in their place",
            "Start the container with --shm-size=2g, or clear the folder",
        )
    else:
        yield ok("shared memory", f"{_size(free)} free in {_SHARED_MEMORY}")


def disks(folders: Mapping[str, Path]) -> Iterator[Check]:
    """Whether the disks of some folders have room; a folder need not exist yet.

    Args:
        folders: By what they are for.
    """
    for purpose, folder in folders.items():
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(there).free
        found = f"{_size(free)} free for {purpose} ({folder})"
        if free < LEAST_ROOM_BYTES:
            yield failed("disk", found, "Clear the disk, or choose another one")
        elif free < ROOM_BYTES:
            yield warning("disk", found, "Clear the disk, or choose another one, before long studies")
        else:
            yield ok("disk", found)


def gpus(*, needed: bool, counted: float | None = None) -> Iterator[Check]:
    """Whether torch can compute on the GPUs of this machine; imports torch, and a first sum takes a second each.

    Args:
        needed: Whether the study wants GPUs.
        counted: How many Ray counts on this machine; None where no Ray runs yet.
    """
    import torch

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = graphics_cards()
    if usable == 0:
        yield from _no_gpu(cards, [str(one.message) for one in said], needed=needed or bool(counted))
        return
    names = []
    for place in range(usable):
        about = torch.cuda.get_device_properties(place)
        names.append(f"{about.name} with {_size(about.total_memory)}")
        try:
            torch.ones(8, device=f"cuda:{place}").sum().item()
        except RuntimeError as error:
            problem = str(error).strip().splitlines()[0]
            yield failed("GPU", f"torch {torch.__version__} cannot compute on {names[-1]}: {problem}", _OTHER_TORCH)
            return
    if counted is not None and counted != usable:
        found = f"Ray counts {counted:g}, but torch can use {usable}"
        remedy = f"Start Ray on this machine with --num-gpus={usable}"
        yield (failed if counted > usable else warning)("GPU", found, remedy)
        return
    yield ok("GPU", f"{', '.join(names)}; torch {torch.__version__}")


_OTHER_TORCH = "Install a torch that fits the driver (https://pytorch.org/get-started), or a newer driver"


def _no_gpu(cards: list[str], said: list[str], *, needed: bool) -> Iterator[Check]:
    import torch

    bad = failed if needed else warning
    if cards and torch.version.cuda is None:
        found = f"there is {', '.join(cards)}, but torch {torch.__version__} was built without CUDA"
        yield bad("GPU", found, "Install a torch with CUDA: https://pytorch.org/get-started")
    elif cards:
        why = said[0].splitlines()[0] if said else f"CUDA {torch.version.cuda} finds none it may use"
        remedy = "See that CUDA_VISIBLE_DEVICES does not hide it" if "CUDA_VISIBLE_DEVICES" in os.environ else ""
        yield bad("GPU", f"there is {', '.join(cards)}, but torch cannot use it: {why}", remedy or _OTHER_TORCH)
    elif needed:
        yield failed("GPU", "none", "Set resources.gpus to 0 in the study file, or run on a machine with a GPU")
    else:
        yield ok("GPU", "none; trials train on the CPU")


def sockets() -> Iterator[Check]:
    """Whether Ray can start: its processes talk over the loopback device and files in the temporary folder."""
    yield from loopback()
    folder = ray_folder()
    if len(f"{folder}{_RAY_SOCKET}") > _LONGEST_SOCKET_PATH:
        most = _LONGEST_SOCKET_PATH - len(_RAY_SOCKET)
        yield failed(
            "temporary folder",
            f"{folder} has {len(str(folder))} letters, and Ray's sockets leave room for {most}",
            "Set RAY_TMPDIR to a shorter path, for example /tmp",
        )


def loopback() -> Iterator[Check]:
    """Whether processes of this machine can open ports and talk over them, as those of a trial do."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            pass
    except OSError as error:
        yield failed("ports", f"no connection to 127.0.0.1 ({error.strerror})", "Bring the loopback device up")
    else:
        yield ok("ports", "connections to 127.0.0.1 work; Ray takes free ones")


def ray_folder() -> Path:
    """Where a Ray that is started here keeps its sockets and logs."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _memory_limit() -> int:
    """What a container may use; bytes."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no limit is the word max
        return 2**63


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count < 10 * 2**30 else f"{count / 2**30:.0f} GiB"
