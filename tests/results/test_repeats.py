"""What a driver counts while it runs, and what is read from its records later: the same, wherever it was killed."""

from __future__ import annotations

import random

import pytest

from results.query import StudyView
from results.schema import SessionRow
from search.history import History
from tests.search.folders import write_study
from tests.search.simulator import Killed, drive, study

RULES = {
    "asha": ("stopping.grace_epochs=1",),
    "promotion": ("stopping.form=promotion",),
    "hyperband": ("stopping={name: hyperband, audit: 0.3}",),
}


def killed_often(seed, spec):
    """Rows of a study whose driver dies often, and loses the newest checkpoints of some trials each time."""
    rng = random.Random(seed)
    rows, checkpoints = [], {}
    for session in range(30):
        try:
            drive(
                spec,
                rows,
                checkpoints,
                workers=3,
                order=seed * 100 + session,
                dies_at=rng.randrange(20, 160) if session < 29 else None,
            )
            break
        except Killed:
            for trial in [name for name in checkpoints if rng.random() < 0.8]:
                keep = rng.randrange(checkpoints[trial][-1]["epoch"])
                checkpoints[trial] = [row for row in checkpoints[trial] if row["epoch"] <= keep]
                if not checkpoints[trial]:
                    del checkpoints[trial]
    return rows


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(3))
def test_history_and_view_agree(tmp_path, seed, rule):
    spec = study(
        *RULES[rule], "search.sampler=random", "search.trials=9", f"seeds.search={1 + seed % 2}", "seeds.confirm=2"
    )
    rows = killed_often(seed, spec)
    history = History.fold(rows)
    view = StudyView(write_study(tmp_path, rows, spec))
    repeats = [(r.trial, r.session, r.first_epoch, r.last_epoch) for r in history.repeats]
    assert repeats
    assert [(r.trial, r.session, r.from_epoch, r.to_epoch) for r in view.repeated] == repeats
    for trial in view.trials:
        known = history.trials[trial.trial]
        assert (trial.state, trial.attempt, trial.epochs) == (known.state, known.attempt, known.last_epoch)
    assert view.wall_s == pytest.approx(history.wall_time_s(without=""))
    # A trial that is handed out again without a pause has lost a worker or a driver.
    assert sum(t.restarts for t in view.trials) > 0
    assert len({row.session for row in rows if isinstance(row, SessionRow)}) > 3
