"""Registering a confirmed network: which one, once, with what it achieved; and a refusal where nothing is confirmed."""

import pytest

from results.query import StudyView
from results.report.build import report_of
from search.errors import UsageError
from search.registering import _choose, register
from tests.results.synthetic import Study, finished


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return StudyView(finished(tmp_path_factory.mktemp("root"), trials=4, confirm_seeds=5))


def choose(view, trial=None, seed=None):
    candidate, chosen = _choose(view, report_of(view), trial, seed, "thermotune --root here")
    return candidate.trial, chosen


def test_the_best_with_the_seed_of_the_median_is_chosen(study):
    report = report_of(study)
    trial, seed = choose(study)
    assert trial == report.best.trial
    values = next(c for c in report.candidates if c.trial == trial).validation_by_seed
    assert sum(value < values[seed] for value in values.values()) == 2
    assert len(values) == 5


def test_of_two_seeds_in_the_middle_the_worse_is_taken(tmp_path):
    for mode, expected in (("val/accuracy", 1001), ("val/loss", 1002)):
        made = Study(tmp_path / mode[4:], trials=1, reference=None, metric=mode, confirm_seeds=4)
        made.begin()
        source = made.explored("search", 0.5)
        for seed, value in enumerate((0.1, 0.2, 0.3, 0.4), 1000):
            trial = made.propose("search", "confirm", source, seed)
            write_end(made, trial, seed, mode, value)
        made.end()
        assert choose(StudyView(made.folder)) == (source, expected)


def write_end(made, trial, seed, metric, value):
    from results.schema import EpochRow

    kind = {"trial": trial, "arm": "search", "stage": "confirm", "lane": 0, "seed": seed, "attempt": 1}
    metrics = {"val/accuracy": 0.5, "test/accuracy": 0.5, metric: value}
    made.writer.append(EpochRow(**made.common, **kind, epoch=27, attempt_start=26, epoch_time_s=1.0, metrics=metrics))
    made._final(trial, "search", "confirm", "COMPLETED", 27, value, "trained to the end")


def test_a_trial_may_be_named_by_its_search_or_its_confirm_run(study):
    report = report_of(study)
    other = next(c.trial for c in report.candidates if c.trial != report.best.trial)
    assert choose(study, other)[0] == other
    assert choose(study, other, 1003) == (other, 1003)
    run = next(t for t in study.trials if t.source == other and t.seeds == (1001,))
    assert choose(study, run.trial) == (other, 1001)
    with pytest.raises(UsageError, match="is the run of seed 1001"):
        choose(study, run.trial, 1002)


def test_what_is_not_confirmed_is_refused(study, tmp_path):
    report = report_of(study)
    explored = next(t.trial for t in study.trials if t.trial not in {c.trial for c in report.candidates})
    with pytest.raises(UsageError, match=rf"got {explored}. Confirmed: t0"):
        choose(study, explored)
    with pytest.raises(UsageError, match=r"got 7. There are: 1000, 1001, 1002, 1003 and 1004"):
        choose(study, None, 7)
    made = Study(tmp_path, trials=1)
    made.begin()
    made.explore()
    made.end()
    with pytest.raises(UsageError, match="must be confirmed on fresh seeds"):
        register(made.folder)


def without_confirmed(root, state):
    made = Study(root, trials=1, reference=None)
    made.begin()
    trial = made.propose("search")
    made._final(trial, "search", "explore", "DIVERGED", 1, None, "the training loss is inf in epoch 1")
    made.end(state)
    return StudyView(made.folder)


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("COMPLETED", "The study has ended. No trial was trained to the end.* here explain digits-beta"),
        ("INTERRUPTED", "The study has not ended.* --root here resume digits-beta"),
    ],
)
def test_the_advice_fits_the_reason_for_which_nothing_is_confirmed(tmp_path, state, advice):
    with pytest.raises(UsageError, match=advice):
        choose(without_confirmed(tmp_path, state))
