"""What a study writes, and the memory of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from results.schema import Stage
from search.planning.amounts import NOTHING, Outlook, Share
from search.planning.costs import Cost
from search.study import Study

EPOCH_BYTES = 20
"""Of the row of an epoch of a lane in the records; parquet compresses well. Measured on digits, as the next."""
TRIAL_BYTES = 1600
"""Of the rows about a trial and the decisions on it."""
CHECKPOINTS_KEPT = 2
"""Of every trial, as trainables.checkpoint has it."""


def records_bytes(shares: Sequence[Share]) -> Outlook:
    """Size of the records."""
    return sum((share.trials * TRIAL_BYTES + share.epochs * EPOCH_BYTES for share in shares), NOTHING)


def running_bytes(study: Study, slots: int, costs: Mapping[str, Cost]) -> int | None:
    """Checkpoints of all slots at once, and of all trials that may wait at a rung; None if sizes are not known."""
    sizes = {name: cost.checkpoint_bytes for name, cost in costs.items() if cost.checkpoint_bytes is not None}
    if not sizes or len(sizes) < len(costs):
        return None
    waiting = {arm: study.planned_trials(arm) for arm in study.arms} if study.rule.pauses else {}
    paused = sum(sizes[arm] * trials for arm, trials in waiting.items())
    return CHECKPOINTS_KEPT * (slots * max(sizes.values()) + paused)


def kept_bytes(study: Study, shares: Sequence[Share], costs: Mapping[str, Cost]) -> Outlook | None:
    """Checkpoints of the confirmed models, which have one lane; None if sizes are not known."""
    total = NOTHING
    for share in shares:
        if share.stage is Stage.CONFIRM:
            size = costs[share.name].checkpoint_bytes if share.name in costs else None
            if size is None:
                return None
            total += share.trials * (CHECKPOINTS_KEPT * size / study.seeds.search)
    return total


def mlflow_values(study: Study, shares: Sequence[Share], costs: Mapping[str, Cost]) -> Outlook:
    """Rows of MLflow's metrics; those of an epoch are means over lanes."""
    total = NOTHING
    for share in shares:
        lanes = study.seeds.search if share.stage is Stage.EXPLORE else 1
        total += share.epochs * (costs[share.name].metrics / lanes)
    return total


def machine_memory() -> int:
    """Memory that processes of this machine, or container, may take together; bytes."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    total = int(psutil.virtual_memory().total)
    return min(total, int(text)) if text.isdigit() else total
