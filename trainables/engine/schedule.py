"""The learning rate over a run."""

from __future__ import annotations

import math

from trainables.recipe import Schedule


def lr_at(schedule: Schedule, base_lr: float, epoch_fraction: float, total_epochs: float) -> float:
    """Learning rate at a point of the run: linear warm-up, cosine, constant cool-down.

    Warm-up climbs from ``floor * base_lr`` to ``base_lr``; the cosine falls to ``floor * base_lr`` exactly where the
    cool-down starts (methods.md B.7: 4e-4 to 0.4 over epochs 0-2, to 4e-4 at epoch 46, constant until 50).

    Args:
        schedule: Lengths in epochs, and the floor as a share of ``base_lr``.
        base_lr: Peak learning rate.
        epoch_fraction: Epochs done, in [0, total_epochs]; 2.5 is the middle of the third epoch.
        total_epochs: Length of the run.

    Returns:
        The learning rate, in [floor * base_lr, base_lr].
    """
    fall_starts = schedule.warmup_epochs
    fall_ends = total_epochs - schedule.cooldown_epochs
    if epoch_fraction < fall_starts:
        height = epoch_fraction / fall_starts
    elif epoch_fraction >= fall_ends:
        height = 0.0
    else:
        height = (1 + math.cos(math.pi * (epoch_fraction - fall_starts) / (fall_ends - fall_starts))) / 2
    return base_lr * (schedule.floor + (1 - schedule.floor) * height)
