"""How often the test split was looked at, and what was changed after a look."""

from __future__ import annotations

import pytest
import yaml

from results.report import build
from results.report.openings import openings_of
from tests.results.synthetic import Study

VALUES = [0.91, 0.92, 0.93]


def confirming(tmp_path):
    made = Study(tmp_path, trials=2, reference=None, confirm_seeds=3)
    made.begin()
    for value in (0.95, 0.94):
        made.explored("search", value)
    return made


def amend(made, **changes):
    """Another session goes by a changed file."""
    for path, value in changes.items():
        *groups, leaf = path.split("__")
        inner = made.document
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[leaf] = value
    made.amendment = (made.amendment or 1) + 1
    (made.folder / f"study-{made.amendment}.yaml").write_text(yaml.safe_dump(made.document, sort_keys=False))
    made.reopen(f"s{int(made.session[1:]) + 1:04d}")


def looked(made):
    made.end()
    report = build(made.folder)
    return report.test_openings, [note for note in report.notes if "measured already" in note]


def test_one_round_of_confirmation_is_one_look(tmp_path):
    made = confirming(tmp_path)
    assert openings_of(build(made.folder).view) == 0
    made.confirmed("t0001", "search", VALUES)
    made.reopen("s0002")
    made.confirmed("t0002", "search", VALUES)
    assert looked(made) == (1, [])


@pytest.mark.parametrize("change", [{"seeds__confirm": 8}, {"confirm__top": 4}])
def test_seeds_or_candidates_that_are_added_after_a_look_are_another(tmp_path, change):
    made = confirming(tmp_path)
    made.confirmed("t0001", "search", VALUES)
    amend(made, **change)
    made.confirmed("t0002", "search", VALUES)
    count, (note,) = looked(made)
    assert count == 2
    assert note.startswith("study-2.yaml came when the test split had been measured already (")
    assert f"to {next(iter(change.values()))}): what is added after a look" in note
    assert any("opened 2 times" in n for n in build(made.folder).notes)


def test_more_hours_are_no_other_look(tmp_path):
    made = confirming(tmp_path)
    made.confirmed("t0001", "search", VALUES)
    amend(made, budget__wall_hours=9, resources__max_concurrent=2)
    made.confirmed("t0002", "search", VALUES)
    assert looked(made) == (1, [])


def test_an_amendment_before_the_first_look_is_none(tmp_path):
    made = confirming(tmp_path)
    made.proposals["t0001"] = {"loss.beta": 1.0, "optimizer.lr": 0.05}  # which does not diverge
    waiting = made.propose("search", "confirm", "t0001", 1000)
    amend(made, seeds__confirm=1)
    made.run(waiting, "search", "confirm", 1000)
    assert made.count == 3
    assert looked(made) == (1, [])


def test_an_amendment_that_was_looked_at_no_more_is_still_told(tmp_path):
    made = confirming(tmp_path)
    made.confirmed("t0001", "search", VALUES)
    amend(made, search__trials=5)
    made.explored("search", 0.99)
    count, notes = looked(made)
    assert (count, len(notes)) == (1, 1)
