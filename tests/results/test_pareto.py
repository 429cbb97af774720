"""The Pareto set: who is in it, what is weighed, and how it is shown."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.query import StudyView
from results.report import Format, build, render, to_json
from results.report.panels import panels
from results.report.pareto import efficient, pareto
from tests.results.synthetic import EPOCHS
from tests.results.synthetic_search import Tabulated


def study(tmp_path, rows, **options):
    """A search with these trials: accuracy, NLL and ECE after refitting, seconds; what is None was not measured."""
    made = Tabulated(tmp_path, trials=len(rows), reference=None, **options)
    made.begin()
    for accuracy, nll, ece, seconds in rows:
        named = {"val/loss_refit": nll, "val/ece_refit": ece}
        last = {name: value for name, value in named.items() if value is not None}
        made.trial({EPOCHS: accuracy}, epoch_time_s=seconds, last=last, lr=accuracy / 10)
    made.end()
    return made


def found(made):
    return pareto(StudyView(made.folder))


def names(made):
    return {t.trial for t in found(made).efficient}


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_the_set_is_what_comparing_all_pairs_leaves(points):
    def beats(a, b):
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    expected = {p for p in points if not any(beats(q, p) for q in points)}
    assert efficient(points) == expected


def test_a_trial_is_in_the_set_if_no_other_beats_it_in_everything(tmp_path):
    rows = [
        (0.98, 0.10, 0.02, 10),  # the most accurate
        (0.97, 0.08, 0.02, 10),  # the most likely
        (0.96, 0.12, 0.01, 10),  # the best calibrated
        (0.95, 0.12, 0.02, 5),  # the fastest
        (0.96, 0.12, 0.02, 10),  # beaten by the first
        (0.97, 0.08, 0.02, 10),  # equal to the second
    ]
    assert names(study(tmp_path, rows)) == {"t0001", "t0002", "t0003", "t0004", "t0006"}


def test_noise_of_the_clock_makes_nobody_better(tmp_path):
    rows = [(0.98, 0.1, 0.01, 10.0), (0.97, 0.1, 0.01, 9.9), (0.96, 0.1, 0.01, 5.0)]
    assert names(study(tmp_path, rows)) == {"t0001", "t0003"}


def test_what_was_not_measured_in_all_is_left_out(tmp_path):
    made = study(tmp_path, [(0.98, 0.1, None, 10), (0.97, 0.05, None, 10), (0.96, None, None, 10)])
    assert found(made).objectives == ("val/accuracy", "time_s")
    assert found(made).left_out == ("val/loss_refit",)
    assert names(made) == {"t0001"}
    assert "Left out, not measured in all: NLL" in render(build(made.folder), Format.MARKDOWN)


def test_only_explored_trials_that_were_trained_to_the_end_are_weighed(tmp_path):
    made = Tabulated(tmp_path, trials=4, reference=None)
    made.begin()
    for state, value in (("COMPLETED", 0.9), ("COMPLETED", 0.8), ("COMPLETED", 0.7), ("PRUNED", 0.99)):
        made.trial({EPOCHS: value}, state=state)
    made.confirmed("t0001", "search", [0.999])
    made.end()
    assert [t.trial for t in found(made).trials] == ["t0001", "t0002", "t0003"]


def test_who_answers_by_chance_is_not_in_the_set_however_well_calibrated(tmp_path):
    """With 10 classes and 360 samples, two standard errors above chance are 13.2 %."""
    rows = [(0.98, 0.1, 0.02, 10), (0.97, 0.2, 0.01, 10), (0.96, 0.3, 0.03, 10), (0.1003, 2.3, 0.0011, 1)]
    made = study(tmp_path, rows)
    assert names(made) == {"t0001", "t0002", "t0004"}, "the chance level is not known"
    made.data(val=360)
    assert names(made) == {"t0001", "t0002"}
    assert (found(made).by_chance, len(found(made).trials)) == (1, 3)
    text = render(build(made.folder), Format.MARKDOWN)
    assert "Left out, right no more often than by chance: 1 trial." in text


def test_two_trials_are_no_set(tmp_path):
    assert found(study(tmp_path, [(0.98, 0.1, 0.01, 1), (0.97, 0.2, 0.01, 1)])) is None


def test_the_table_has_twelve_rows_and_counts_the_rest(tmp_path):
    made = study(tmp_path, [(0.9 + i / 1000, 0.1 + i / 100, 0.01, 1) for i in range(15)])
    report = build(made.folder)
    text = render(report, Format.MARKDOWN)
    section = text.split("## Pareto set of the search")[1].split("##")[0]
    assert sum(line.startswith("| t0") for line in section.splitlines()) == 12
    assert "15 trials of 15 trained to the end that no other trial beats in everything" in section
    assert "3 more trials not shown" in section
    assert "The search went by val/accuracy alone" in section
    assert "of one seed and not confirmed" in section
    assert next(line for line in section.splitlines() if line.startswith("| t0")).startswith("| t0015 ")
    assert len(json.loads(to_json(report))["pareto"]["trials"]) == 15


@pytest.mark.parametrize("form", [Format.TABLE, Format.HTML])
def test_every_format_shows_the_set(tmp_path, form):
    made = study(tmp_path, [(0.98, 0.1, 0.01, 1), (0.97, 0.05, 0.01, 1), (0.96, 0.2, 0.02, 1)])
    assert "Pareto set of the search" in render(build(made.folder), form)


def test_the_figure_fills_the_set_and_moves_outliers_to_the_edge(tmp_path):
    rows = [
        (0.98, 0.10, 0.01, 1),
        (0.97, 0.08, 0.01, 1),
        (0.96, 0.12, 0.02, 1),
        (0.95, 0.11, 0.02, 1),
        (0.3, 9, 0.5, 1),
    ]
    made = study(tmp_path, rows)
    (panel,) = [p for p in panels(build(made.folder)) if p.key == "pareto"]
    rest, filled = panel.figure.data
    assert (rest.marker.color, filled.name) == ("white", "search, Pareto set")
    assert sorted(zip(filled.x, filled.y, strict=True)) == [(0.08, pytest.approx(97)), (0.1, pytest.approx(98))]
    assert list(rest.marker.symbol) == ["circle", "circle", "triangle-right"]
    low, high = panel.figure.layout.xaxis.range
    assert all(low < x < high for x in itertools.chain(rest.x, filled.x))


def test_without_refitted_likelihood_there_is_no_figure(tmp_path):
    made = study(tmp_path, [(0.98, None, None, 1), (0.97, None, None, 1), (0.96, None, None, 5)])
    assert not [p for p in panels(build(made.folder)) if p.key == "pareto"]
