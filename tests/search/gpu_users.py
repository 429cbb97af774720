"""A trial that reports what it would take of a GPU's memory: where there is no GPU, numbers have to stand for it."""

from __future__ import annotations

import ray
from ray.tune import Trainable

from trainables.trial import PLACEHOLDER, REPORT_KEY

GIB = 2**30
TAKES = {"peak_bytes": 30 * GIB, "total_bytes": 80 * GIB}
"""Two such trials fit on a GPU."""


class GpuUser(Trainable):
    """Ends with its first report, which says how much of a GPU Ray gave it; the very first attempt lacks memory."""

    def setup(self, config):
        self.trial = config

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        if self.trial == PLACEHOLDER:
            return {}
        given = ray.get_runtime_context().get_assigned_resources()["GPU"]
        lacks = self.trial["trial"] == "t0001" and self.trial["attempt"] == 1
        rows = [
            {"epoch": epoch, "lane": 0, "seed": 0, "epoch_time_s": 0.1, "metrics": {"val/accuracy": 0.9, "gpu": given}}
            for epoch in range(1, self.trial["recipe"]["epochs"] + 1)
        ]
        report = {
            "trial": self.trial["trial"],
            "attempt": self.trial["attempt"],
            "attempt_start": 0,
            "epochs": [] if lacks else rows,
            "divergence": None,
            "finished": not lacks,
            "memory": TAKES,
            "out_of_memory": "CUDA out of memory. Tried to allocate 2.00 GiB" if lacks else None,
        }
        return {REPORT_KEY: [report]}
