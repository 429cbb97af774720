"""Where the checkpoints of trials are, and when they go."""

from __future__ import annotations

from collections.abc import Iterable

from results.places import Place, each, names_in, remove_tree
from results.schema import Stage
from search.history import History, Trial

FOLDER = "checkpoints"


def checkpoint_folder(folder: Place, trial: Trial) -> Place:
    """Where the newest two checkpoints of a trial are."""
    return folder / FOLDER / trial.name


def drop_checkpoints(folder: Place, trials: Iterable[Trial]) -> None:
    """Removes the checkpoints of explored trials that have ended, and of teachers; those of confirmed models stay."""
    gone = [trial for trial in trials if trial.stage is not Stage.CONFIRM and trial.state.is_final]
    each(remove_tree, [checkpoint_folder(folder, trial) for trial in gone])


def sweep(folder: Place, history: History) -> None:
    """Removes what a driver did not come to, because it was killed."""
    there = set(names_in(folder / FOLDER))
    drop_checkpoints(folder, [t for t in (*history.of(stage=Stage.TEACH), *history.of()) if t.name in there])
