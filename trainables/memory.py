"""Memory of the device that a trial is trained on: how much it took, what a lack of it looks like, letting go of it."""

from __future__ import annotations

import errno
import gc
import re
from dataclasses import dataclass

LONGEST_MESSAGE = 200
"""Letters of a message about a lack of memory."""

_SIGNS = re.compile(
    r"out of memory|not enough memory|can(?:'t|not) allocate memory|_STATUS_ALLOC_FAILED", re.IGNORECASE
)
"""What torch, CUDA, cuBLAS, cuDNN and the operating system say, in errors that have no type of their own."""
_SOURCE = re.compile(r"^\[enforce fail at [^\]]*\][^.]*\.\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """What a process took of a GPU's memory.

    Attributes:
        peak_bytes: The most that its allocator held since the last :func:`let_go`; B. The CUDA context, some 0.5 GB a
            process, comes on top.
        total_bytes: Memory of the GPU; B.
    """

    peak_bytes: int
    total_bytes: int


def measured(device: str) -> DeviceMemory | None:
    """What this process took of its GPU's memory; None without one, or before it is in use.

    ``torch.cuda.max_memory_reserved`` counts what the caching allocator took from the GPU, used or not: that is what
    is missing for others (https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management).

    Args:
        device: ``cpu``, or a device as torch names it.
    """
    import torch  # here and below: the driver's modules are imported without torch

    if not _is_gpu_in_use(device):
        return None
    total = torch.cuda.get_device_properties(torch.device(device)).total_memory
    return DeviceMemory(peak_bytes=torch.cuda.max_memory_reserved(torch.device(device)), total_bytes=total)


def let_go(device: str) -> None:
    """Gives back to the device what nobody uses any more, and measures anew from here on.

    Args:
        device: As above.
    """
    import torch

    gc.collect()  # tensors that an exception's frames held in a cycle
    if _is_gpu_in_use(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(torch.device(device))


def _is_gpu_in_use(device: str) -> bool:
    """Whether it is a GPU of which this process has a context; where memory is short, making one may be what fails."""
    import torch

    return torch.device(device).type == "cuda" and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def shortage(error: BaseException) -> str | None:
    """What an error says about a lack of memory, in a line; None if it is about something else.

    Example:
        >>> shortage(RuntimeError("CUDA error: out of memory"))
        'CUDA error: out of memory'
        >>> shortage(ValueError("no such model")) is None
        True
    """
    text = str(error)
    lacks = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not lacks and not (isinstance(error, RuntimeError) and _SIGNS.search(text)):  # torch.OutOfMemoryError is one
        return None
    lines = [line for line in text.splitlines() if _SIGNS.search(line)] or text.splitlines() or ["no memory was left"]
    return _SOURCE.sub("", lines[0].strip())[:LONGEST_MESSAGE].rstrip(". ")
