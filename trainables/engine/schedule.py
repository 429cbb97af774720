"""The learning rate over a run."""

from __future__ import annotations

import math

from trainables.recipe import Cosine, EpochWise, Schedule, Step


def lr_at(schedule: Schedule, base_lr: float, epoch_fraction: float, total_epochs: float) -> float:
    """Learning rate at a point of the run.

    ``cosine``: warm-up climbs from ``floor * base_lr`` to ``base_lr``; the cosine falls to ``floor * base_lr`` exactly
    where the cool-down starts (methods.md B.7: 4e-4 to 0.4 over epochs 0-2, to 4e-4 at epoch 46, constant until 50).
    ``step``: the same warm-up, then a drop at every milestone (B.7: 0.4, a tenth of it at 30, 60 and 90).
    ``epochwise``: constant within an epoch (C.4: drops at 150, 180 and 210; epoch 0 at 2e-7 of the rate).

    Args:
        schedule: Lengths in epochs.
        base_lr: Peak learning rate.
        epoch_fraction: Epochs done, in [0, total_epochs]; 2.5 is the middle of the third epoch.
        total_epochs: Length of the run.

    Returns:
        The learning rate, > 0 unless the floor is 0.
    """
    if isinstance(schedule, EpochWise):
        return base_lr * _epochwise(schedule, math.floor(epoch_fraction))
    if epoch_fraction < schedule.warmup_epochs:
        return base_lr * _above(schedule.floor, epoch_fraction / schedule.warmup_epochs)
    if isinstance(schedule, Step):
        drops = sum(epoch_fraction >= milestone for milestone in schedule.milestones)
        return base_lr * schedule.factor**drops
    return base_lr * _above(schedule.floor, _cosine(schedule, epoch_fraction, total_epochs))


def _above(floor: float, height: float) -> float:
    return floor + (1 - floor) * height


def _cosine(schedule: Cosine, epoch: float, total_epochs: float) -> float:
    falls_for = total_epochs - schedule.cooldown_epochs - schedule.warmup_epochs
    into = epoch - schedule.warmup_epochs
    return 0.0 if into >= falls_for else (1 + math.cos(math.pi * into / falls_for)) / 2


def _epochwise(schedule: EpochWise, epoch: int) -> float:
    if epoch <= schedule.warmup_epochs:
        return (epoch + 1e-6) / schedule.warmup_epochs
    drops = max(0, (epoch - schedule.hold_epochs) // schedule.step_epochs)
    return schedule.factor**drops
