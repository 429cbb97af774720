"""What the crash tests share: a study of some seconds, the moments to strike at, and what must hold afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from results.schema import AnyRow, DecisionRow, EpochRow, TrialRow, TrialState
from search.history import History
from tests.search.commands import rows_of

STUDY = """
name: crash
recipe: {model: mlp-256-256, batch_size: 16, epochs: 27}
search: {trials: 10}
seeds: {confirm: 2}
confirm: {top: 1}
resources: {max_concurrent: WORKERS}
"""


def begun(folder: Path, session: str = "s0001") -> bool:
    """Whether a session has handed out its first trial."""
    return any(isinstance(r, TrialRow) and r.session == session for r in rows_of(folder))


def trained(folder: Path, session: str = "s0001") -> bool:
    """Whether a session has recorded its first epoch."""
    return any(isinstance(r, EpochRow) and r.session == session for r in rows_of(folder))


def assert_whole(rows: Sequence[AnyRow], epochs: int = 27) -> History:
    """Nothing is there twice, nothing is missing, and every trial has ended."""
    assert len({r.seq for r in rows}) == len(rows)
    for kind, key in (
        (DecisionRow, lambda r: (r.trial, r.rung)),
        (EpochRow, lambda r: (r.trial, r.lane, r.epoch, r.attempt)),
        (TrialRow, lambda r: (r.trial, TrialState(r.state).is_final, r.attempt, r.state, r.setback and r.seq)),
    ):
        assert max(Counter(key(r) for r in rows if isinstance(r, kind)).values()) == 1
    history = History.fold(rows)
    for trial in history.trials.values():
        assert trial.state.is_final
        assert sorted(trial.epochs) == list(range(1, trial.last_epoch + 1))
        assert (trial.state is TrialState.COMPLETED) == (trial.last_epoch == epochs)
    return history
