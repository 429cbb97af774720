"""Networks compiled with ``torch.compile``; where that fails, they run as they are."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_PREFIX = "thermotune-compiled-"


def compiled(modules: Sequence[nn.Module]) -> list[Callable[[Tensor], Tensor]]:
    """The networks of a run, compiled at their first call. Those of earlier runs in this process are forgotten.

    Only networks are compiled, never losses: a compiled loss with a gradient of its own would silently lose it. Every
    process has a cache folder of its own, because one that is killed while it compiles leaves broken files, which
    others would load.
    """
    import torch._dynamo

    torch._dynamo.reset()  # it keeps a few graphs for each piece of code, and would stop compiling without a word
    _take_private_cache()
    return [_Compiled(module) for module in modules]


class _Compiled:
    """A compiled network."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._call = torch.compile(module)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (N, C) for inputs (N, ...); the first call of a shape compiles."""
        from torch._dynamo.exc import TorchDynamoException
        from torch._inductor.exc import InductorError

        try:
            logits: Tensor = self._call(inputs)
        except (TorchDynamoException, InductorError) as error:
            cause = str(error).strip().splitlines()[0]
            warnings.warn(f"the network is not compiled, because that failed: {cause}", RuntimeWarning, stacklevel=2)
            self._call = self._module
            logits = self._module(inputs)
        return logits


def _take_private_cache() -> None:
    if _CACHE in os.environ:
        return
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(left, ignore_errors=True)  # its process was killed
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    os.environ[_CACHE] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
