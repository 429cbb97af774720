"""A process of the probe, as the probe sees it: told what to train, and answering in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from search.errors import ThermotuneError


class Worker:
    """A process that runs ``search.planning.timing``.

    Attributes:
        slot: 0-based number of the slot that it stands for.
    """

    def __init__(self, slot: int, gpus: float, scratch: Path) -> None:
        """Starts it.

        Args:
            slot: 0-based number of the slot that it stands for.
            gpus: Of a trial.
            scratch: Folder for its log.
        """
        self.slot = slot
        self._began = time.monotonic()
        self._ended_because: str | None = None
        self._log = scratch / f"slot-{slot}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "search.planning.timing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **visible_gpus(slot, gpus)},
                text=True,
            )

    def ask(self, task: Mapping[str, Any]) -> None:
        """Gives it something to do; a dead process is noticed when it should answer."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(task), file=self._stream(self._process.stdin), flush=True)

    def answer(self) -> dict[str, Any]:
        """Waits until it is done; with ``after_s``, the time since its start.

        Raises:
            ThermotuneError: It died, or was ended for a reason.
        """
        line = self._stream(self._process.stdout).readline()
        if line:
            return {**json.loads(line), "after_s": time.monotonic() - self._began}
        if self._ended_because is not None:
            raise ThermotuneError(self._ended_because)
        last = (self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it was killed"])[-1]
        raise ThermotuneError(
            f"the probe must be able to train the study's recipes with as many processes as there are slots, but one "
            f"ended: {last[:300]}. Lower resources.max_concurrent if memory ran out, or plan with --no-probe"
        )

    def end(self, why: str | None = None) -> None:
        """Ends it, whatever it does, and says why to those who wait for an answer."""
        self._ended_because = self._ended_because or why
        self._process.kill()
        self._process.wait()

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None, "it was opened as a pipe"
        return stream


def visible_gpus(slot: int, gpus: float) -> dict[str, str]:
    """The environment in which a process sees the GPUs that Ray would give to the trial in its slot."""
    if gpus == 0:
        return {}
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = max(1, round(gpus))
    first = slot // int(1 / gpus + 1e-9) if gpus <= 1 else slot * count
    mine = range(first, first + count)
    names = known.split(",") if known else [str(device) for device in range(first + count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(names[device] for device in mine if device < len(names))}
