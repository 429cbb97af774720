"""Where the checkpoints of trials are, and when they go."""

from __future__ import annotations

import shutil
from pathlib import Path

from results.schema import Stage
from search.history import History, Trial


def checkpoint_folder(folder: Path, trial: Trial) -> Path:
    """Where the newest two checkpoints of a trial are."""
    return folder / "checkpoints" / trial.name


def drop_checkpoints(folder: Path, trial: Trial) -> None:
    """Removes the checkpoints of an explored trial that has ended, and of a teacher; those of confirmed models stay."""
    if trial.stage is not Stage.CONFIRM and trial.state.is_final:
        shutil.rmtree(checkpoint_folder(folder, trial), ignore_errors=True)


def sweep(folder: Path, history: History) -> None:
    """Removes what a driver did not come to, because it was killed."""
    for trial in (*history.of(stage=Stage.TEACH), *history.of()):
        if checkpoint_folder(folder, trial).exists():
            drop_checkpoints(folder, trial)
