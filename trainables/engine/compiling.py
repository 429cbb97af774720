"""Networks compiled with ``torch.compile``; where that fails, they run as they are."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings

import torch
from torch import Tensor, nn

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


class Compiled:
    """A compiled network. Only the network is compiled, never a loss (lanes.md: compiled hooks lose their effect).

    Every process has a cache folder of its own: one that is killed while it compiles leaves broken files, which would
    be loaded by the others.
    """

    def __init__(self, module: nn.Module) -> None:
        _take_private_cache()
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
    if _CACHE not in os.environ:
        folder = tempfile.mkdtemp(prefix="thermotune-compiled-")
        os.environ[_CACHE] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
