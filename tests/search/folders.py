"""Study folders as a driver leaves them, from rows that the simulator made."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from results.places import Place, write_whole
from results.schema import AnyRow
from results.store import RecordWriter
from search.study import Study
from tests.search.simulator import Killed, drive


def write_study(root: Place, rows: Sequence[AnyRow], *studies: Study) -> Place:
    """A folder with the study, its amendments and these records."""
    folder = root / studies[0].name
    folder.mkdir(parents=True)
    for number, spec in enumerate(studies, start=1):
        write_whole(folder / ("study.yaml" if number == 1 else f"study-{number}.yaml"), spec.to_yaml())
    for session, those in groupby(sorted(rows, key=lambda row: row.seq), key=lambda row: row.session):
        writer = RecordWriter(folder, session=session)
        for row in those:
            writer.append(row)
        writer.close()
    return folder


def rows_of_killed(
    spec: Study, *, kills: Sequence[int], workers: int, to_the_end: bool = True, keep_checkpoints: bool = True
) -> list[AnyRow]:
    """The records of a study whose driver is killed at these events, one session after the other.

    Without checkpoints, every session trains again what the one before left unfinished.
    """
    rows: list[AnyRow] = []
    checkpoints: dict[str, list[dict]] = {}
    shelf: dict[str, str] = {}
    for order, dies_at in enumerate([*kills, None] if to_the_end else kills):
        try:
            drive(spec, rows, checkpoints, workers=workers, order=order, dies_at=dies_at, shelf=shelf)
        except Killed:
            if not keep_checkpoints:
                checkpoints.clear()
    return rows
