"""How often the test split was looked at, and what was changed in a study after a look.

A second look is another draw: the best of several looks better than it is. Seeds or trials that are added because of
what the first showed (optional stopping) make differences by chance more frequent than the p value says.
"""

from __future__ import annotations

import re

from results.query import Amendment, StudyView
from results.schema import METRICS, Stage

_HARMLESS = re.compile(r"(budget|resources)(\..*)?")  # keys that have no say in what is measured


def openings_of(view: StudyView) -> int:
    """Rounds of confirmation that measured the test split.

    A round ends with the next explored trial, and with an amendment that has a say in what is measured.
    """
    measured = _measured(view)
    bearing = [amendment.number for amendment in _bearing(view)]
    by_session = {session.session: session.amendment or 1 for session in view.sessions}
    rounds, explored = set(), 0
    for trial in view.trials:
        explored += trial.stage is Stage.EXPLORE
        if trial.trial in measured:
            went_by = by_session.get(measured[trial.trial], 1)
            rounds.add((explored, sum(number <= went_by for number in bearing)))
    return len(rounds)


def amended_after_looking(view: StudyView) -> tuple[Amendment, ...]:
    """The amendments that have a say in what is measured, and came when the test split had been measured already."""
    looks = min(_measured(view).values(), default=None)
    return tuple(
        amendment
        for amendment in _bearing(view)
        if looks is not None and amendment.session is not None and looks < amendment.session
    )


def _measured(view: StudyView) -> dict[str, str]:
    """The session in which each confirm trial was measured on the test split; without those that never were."""
    tested = ", ".join(f'"{name}"' for name in METRICS if name.startswith("test/"))
    return dict(
        view.rows(
            f"select trial, max(session) from epochs where stage = 'confirm' and coalesce({tested}) is not null "
            "group by trial"
        )
    )


def _bearing(view: StudyView) -> list[Amendment]:
    return [a for a in view.amendments if not all(_HARMLESS.fullmatch(change.key) for change in a.changes)]
