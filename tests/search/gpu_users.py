"""A trial that reports what it would take of a GPU's memory: where there is no GPU, numbers have to stand for it."""

from __future__ import annotations

import ray
from ray.tune import Trainable

from trainables.trial import PLACEHOLDER, REPORT_KEY

GIB = 2**30


class GpuUser(Trainable):
    """Ends with its first report, which says how much of a GPU Ray gave it; the very first attempt lacks memory."""

    lacking = "t0001"
    takes = 30 * GIB  # of 80: two such trials fit on a GPU
    takes_from = "t0001"

    def setup(self, config):
        self.trial = config

    def reset_config(self, new_config):
        self.setup(new_config)
        return True

    def step(self):
        if self.trial == PLACEHOLDER:
            return {}
        given = ray.get_runtime_context().get_assigned_resources()["GPU"]
        lacks = self.trial["trial"] == self.lacking and self.trial["attempt"] == 1
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
            "memory": {
                "peak_bytes": self.takes if self.trial["trial"] >= self.takes_from else GIB,
                "total_bytes": 80 * GIB,
            },
            "out_of_memory": "CUDA out of memory. Tried to allocate 2.00 GiB" if lacks else None,
        }
        return {REPORT_KEY: [report]}


class Refused(GpuUser):
    """One trial cannot be set up, on a worker that another has left; later ones need a GPU of their own."""

    lacking = ""
    takes = 60 * GIB
    takes_from = "t0008"

    def setup(self, config):
        super().setup(config)
        if config != PLACEHOLDER and config["trial"] == "t0006":
            raise ValueError("the logit norm cannot be reached")
