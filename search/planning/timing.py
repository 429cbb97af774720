"""Inside a process of the probe: trains a recipe for a while, and says what a whole epoch takes."""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from results.formats import count
from results.places import place
from search.planning.agenda import FEW_STEPS, few_samples
from search.planning.costs import EVALUATION, Cost, seconds_of_test, training_samples
from trainables.data import prepare
from trainables.recipe import Recipe
from trainables.session import TrialConfig, TrialSession
from trainables.values import with_values


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """A few epochs on some of the training samples.

    Attributes:
        build_s: Until they could begin.
        epochs_s: Each of the epochs, all lanes together.
        save_s: Mean time of a checkpoint.
        checkpoint_bytes: Size of the last one.
        metrics: Values on record for an ordinary epoch; the first and the last may have more.
    """

    build_s: float
    epochs_s: list[float]
    save_s: float
    checkpoint_bytes: int
    metrics: int

    @property
    def epoch_s(self) -> float:
        """An epoch after the first, which warms up; the first where there is no other."""
        return statistics.fmean(self.epochs_s[1:] or self.epochs_s)


def timed(config: TrialConfig, seconds: float) -> dict[str, Any]:
    """Trains a recipe for about so long, and says what an epoch of all its samples takes.

    Two short epochs warm up, and tell how much of a whole one there is time for.

    Args:
        config: With a folder for checkpoints.
        seconds: After which no other epoch is begun; but two short ones are trained in any case.

    Returns:
        ``cost``, the fields of a ``costs.Cost``, and the memory of this process as in ``costs.Measured``.

    Raises:
        RuntimeError: Not even one epoch could be trained.
    """
    recipe = Recipe.model_validate(config.recipe)
    data = prepare(recipe.dataset)
    size, few, evaluated = training_samples(recipe, data), few_samples(recipe, data), EVALUATION * data.sizes["val"]
    began = time.monotonic()
    short = longer = _train(config, few, epochs=2, seconds=seconds / 2)
    left = seconds - (time.monotonic() - began)
    weight = short.epoch_s / (few + evaluated)
    epoch_s = weight * (size + evaluated)
    basis = f"{FEW_STEPS} steps and the share of evaluation by rule of thumb"
    if few == size or epoch_s <= left:
        longer = _train(config, size, epochs=recipe.epochs, seconds=left)
        epoch_s = longer.epoch_s
        basis = count(max(1, len(longer.epochs_s) - 1), "whole epoch")
    elif short.epoch_s < seconds / 2:
        fits = (left / 3 / weight - evaluated) / recipe.batch_size
        more = min(size, max(3 * few, int(fits) * recipe.batch_size))
        longer = _train(config, more, epochs=2, seconds=left / 2)
        slope = (longer.epoch_s - short.epoch_s) / (more - few)
        slope = slope if slope > 0 else longer.epoch_s / (more + evaluated)
        epoch_s = longer.epoch_s + slope * (size - more)
        steps = [math.ceil(samples / recipe.batch_size) for samples in (few, more, size)]
        basis = f"{steps[0]} and {steps[1]} of {steps[2]} steps, and evaluation"
    lanes = len(config.seeds)
    cost = Cost(
        epoch_s=epoch_s / lanes,
        start_s=(longer.build_s + max(0.0, longer.epochs_s[0] - longer.epoch_s)) / lanes,
        save_s=longer.save_s,
        test_s=seconds_of_test(epoch_s / lanes, recipe, data),
        metrics=longer.metrics,
        checkpoint_bytes=longer.checkpoint_bytes,
        basis=basis,
    )
    return {"cost": asdict(cost), **_memory(config.device)}


def _train(config: TrialConfig, samples: int, *, epochs: int, seconds: float) -> _Timing:
    """At least one epoch, then others up to a number of them, or of seconds."""
    assert config.checkpoints is not None
    began = time.monotonic()
    Path(config.checkpoints).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.checkpoints) as folder:
        recipe = with_values(config.recipe, {"train_samples": samples})
        session = TrialSession(replace(config, recipe=recipe, checkpoints=folder), place)
        build_s = time.monotonic() - began
        epochs_s: list[float] = []
        saves_s: list[float] = []
        metrics: list[int] = []
        while not epochs_s or (len(epochs_s) < epochs and time.monotonic() - began < seconds):
            before = time.monotonic()
            report = session.advance()
            if not report["epochs"]:
                raise RuntimeError(f"no epoch could be trained: {report['divergence']}")
            epochs_s.append(sum(row["epoch_time_s"] for row in report["epochs"]))
            saves_s.append(max(0.0, time.monotonic() - before - epochs_s[-1]))
            metrics.append(len(report["epochs"][-1]["metrics"]))
            if report["finished"] or report["divergence"]:
                break
        newest = sorted(Path(folder).glob("*.pt"))[-1:]
        return _Timing(
            build_s=build_s,
            epochs_s=epochs_s,
            save_s=statistics.fmean(saves_s),
            checkpoint_bytes=sum(file.stat().st_size for file in newest),
            metrics=min(metrics),
        )


def _memory(device: str) -> dict[str, int | None]:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found: dict[str, int | None] = dict.fromkeys(("gpu_memory_bytes", "gpu_total_bytes"))
    found["memory_bytes"] = kilobytes if sys.platform == "darwin" else kilobytes * 1024
    if device == "cuda":
        import torch

        found["gpu_memory_bytes"] = torch.cuda.max_memory_reserved()
        found["gpu_total_bytes"] = torch.cuda.get_device_properties(0).total_memory
    return found


def _serve(tasks: Iterator[str], reply: Callable[[dict[str, Any]], None]) -> None:
    import torch

    import trainables.engine.train  # noqa: F401  # all else that a trial needs

    torch.set_num_interop_threads(1)  # as trainables.trial does
    reply({})
    for line in tasks:
        task = json.loads(line)
        if "make" in task:
            session = TrialSession(TrialConfig.from_dict(task["make"]), place)
            while not session.advance()["finished"]:
                pass
            reply({})
        else:
            reply(timed(TrialConfig.from_dict(task["time"]), task["seconds"]))


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    _serve(iter(sys.stdin.readline, ""), lambda answer: print(json.dumps(answer), file=answers, flush=True))
