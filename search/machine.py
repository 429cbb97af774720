"""What this machine can run at once."""

from __future__ import annotations

from dataclasses import dataclass

from search.errors import Mistake
from search.settings import Resources


@dataclass(frozen=True, slots=True)
class Machine:
    """What trials may use.

    Attributes:
        cpus: CPU cores, with the limits of affinity and containers.
        gpus: CUDA devices that are visible.
    """

    cpus: int
    gpus: int

    @classmethod
    def local(cls, *, look_for_gpus: bool) -> Machine:
        """This machine. Looking for GPUs imports torch, which takes seconds."""
        from joblib import cpu_count

        if not look_for_gpus:
            return cls(cpus=cpu_count(), gpus=0)
        import torch

        return cls(cpus=cpu_count(), gpus=torch.cuda.device_count())

    def slots(self, resources: Resources) -> int:
        """How many trials fit at once, at most ``resources.max_concurrent``."""
        fits = int(self.cpus / resources.cpus + 1e-9)
        if resources.gpus > 0:
            # A trial's share of a GPU must lie on one device.
            per_device = int(1 / resources.gpus + 1e-9) if resources.gpus <= 1 else 0
            fits = min(fits, self.gpus * per_device if per_device else int(self.gpus / resources.gpus + 1e-9))
        return fits if resources.max_concurrent is None else min(fits, resources.max_concurrent)

    def mistakes(self, resources: Resources) -> list[Mistake]:
        """What of the request this machine can never give."""
        found = []
        for name, need, has in (("CPU", resources.cpus, self.cpus), ("GPU", resources.gpus, self.gpus)):
            if need > has:
                key = f"{name.lower()}s"
                found.append(
                    Mistake(
                        f"resources.{key}",
                        f"a trial needs {need:g} {name}{'s' if need != 1 else ''} on one node, largest has {has}",
                        f"Lower resources.{key}, or run on a larger machine",
                    )
                )
        return found
