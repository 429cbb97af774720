"""What the views and the report make of attempts that broke off, and of what happened to a session as a whole."""

import pytest

from results.query import StudyView
from results.query.database import Database
from results.report.build import report_of
from results.report.tables import facts
from results.schema import StudyState, TrialState
from tests.results.synthetic import Study

CRASH = {"setback": "CRASH", "reason": "RuntimeError: boom", "error": "Traceback\nRuntimeError: boom", "epochs": 0}
MOVE = {"setback": "MOVE", "reason": "its node 10.0.0.7 was lost", "epochs": 0}


@pytest.fixture
def study(tmp_path):
    made = Study(tmp_path)
    made.begin()
    for _ in range(3):
        made.propose("search")
    return made


def attempts(study, trial, *endings):
    """Attempts that end so; the last setback of a trial that failed is its end."""
    for attempt, (state, values) in enumerate(endings, start=1):
        study._state(trial, "search", "explore", "RUNNING", attempt=attempt)
        study._state(trial, "search", "explore", state, attempt=attempt, **values)


def view(study):
    study.writer.flush()
    return StudyView(study.folder)


def test_crashes_and_moves_are_counted_beside_restarts(study):
    attempts(
        study, "t0001", ("PENDING", CRASH), ("PENDING", MOVE), ("PENDING", MOVE), ("COMPLETED", {"reason": "done"})
    )
    attempts(study, "t0002", ("PENDING", CRASH), ("FAILED", CRASH))
    attempts(study, "t0003", ("COMPLETED", {}))
    found = view(study)
    assert [(t.state, t.attempt, t.restarts, t.crashes, t.moves) for t in found.trials] == [
        (TrialState.COMPLETED, 4, 3, 1, 2),
        (TrialState.FAILED, 2, 1, 2, 0),
        (TrialState.COMPLETED, 1, 0, 0, 0),
    ]
    assert (found.trials[1].reason, found.trials[1].error) == (CRASH["reason"], CRASH["error"])
    time = report_of(found).time
    assert (time.restarts, time.restarted_trials, time.crashes, time.moves) == (4, 2, 3, 2)
    said = dict(facts(report_of(found)))["restarts"]
    assert said == "4 in 2 trials; 3 workers crashed; 2 times a trial lost its node, and moved"


def test_a_trial_that_goes_on_has_not_ended_for_any_reason(study):
    attempts(study, "t0001", ("PENDING", CRASH))
    trial = view(study).trials[0]
    assert (trial.state, trial.reason, trial.error, trial.ended_at) == (TrialState.PENDING, None, None, None)


def test_memory_of_the_gpu_is_shown(study):
    shared = {"gpu_share": 0.25, "gpu_peak_bytes": 3, "gpu_total_bytes": 80}
    more = {"gpu_share": 0.5, "gpu_peak_bytes": 24, "gpu_total_bytes": 80}
    attempts(study, "t0001", ("PENDING", {**shared, "setback": "MEMORY"}), ("COMPLETED", more))
    rows = view(study).rows("select gpu_share, gpu_peak_bytes, gpu_total_bytes from trials order by trial limit 2")
    assert rows == [(0.5, 24, 80), (None, None, None)]


def test_an_event_is_no_session_and_no_end(study):
    study._session("RUNNING", "the node 10.0.0.7 was lost")
    attempts(study, "t0001", ("COMPLETED", {}))
    (session,) = view(study).sessions
    assert (session.state, session.ended_at, session.reason) == (StudyState.RUNNING, None, None)
    study._session("RUNNING", "the node 10.0.0.8 was lost")
    study.end("INTERRUPTED", "Ctrl-C")
    found = StudyView(study.folder)
    (session,) = found.sessions
    assert (session.state, session.ended_at, session.reason) == (StudyState.INTERRUPTED, study.clock, "Ctrl-C")
    assert found.state is StudyState.INTERRUPTED
    assert Database(study.root).rows("select sessions, last_end from studies") == [(1, "Ctrl-C")]
