import json
from dataclasses import replace as changed

import pytest
import typer
from typer.testing import CliRunner

from results.lock import StudyLock
from results.report import Format
from results.schema import DecisionRow, EpochRow, SessionRow, Stage, TrialRow, TrialState, Verdict
from results.store import read_rows
from search import insight_cli, warm_start
from search.errors import ThermotuneError
from search.history import History
from search.replay import MOST_DIFFERENCES, render_replay, replay
from search.sampler import Observation
from tests.search.folders import rows_of_killed, write_study
from tests.search.simulator import Cluster, drive, study

SMALL = ("search.trials=12", "seeds.confirm=2", "confirm.top=1")
QUICK = ("search.trials=8", "search.sampler=random", "seeds.confirm=2", "confirm.top=1")
GRID = (
    "search.sampler={name: grid, refine: 1}",
    "search.trials=null",
    "space={loss.beta: {grid: [0.1, 0.3, 1.0]}, optimizer.lr: {grid: [0.01, 0.03, 0.1]}}",
)
PROMOTION = "stopping={name: asha, form: promotion, reduction_factor: 2}"


def counted(rows):
    """What a replay has to make again, counted from the rows."""
    trials = [row for row in rows if isinstance(row, TrialRow) and row.stage != Stage.TEACH]
    proposed = [row for row in trials if row.recipe is not None]
    begun = (TrialState.PENDING, TrialState.RUNNING)
    return (
        sum(row.stage == Stage.EXPLORE for row in proposed),
        sum(isinstance(row, DecisionRow) for row in rows),
        sum(row.stage == Stage.CONFIRM for row in proposed),
        sum(row.state not in begun for row in trials),
    )


def assert_same(folder):
    found = replay(folder)
    assert found.differences == ()
    rows = read_rows(folder)
    assert (found.proposals, found.decisions, found.candidates, found.ends) == counted(rows)
    assert found.rows == len(rows)
    return found


@pytest.fixture(scope="module")
def rows():
    made = rows_of_killed(study(*QUICK), kills=(120,), workers=4, keep_checkpoints=False)
    assert History.fold(made).repeats  # epochs were trained again
    return made


def test_trials_that_lost_their_workers_are_made_again_in_the_same_order(tmp_path):
    spec = study(*QUICK)
    rows = []
    drive(spec, rows, {}, workers=3, cluster=Cluster(seed=0, rate=0.3))
    assert sum(isinstance(row, TrialRow) and row.setback is not None for row in rows) > 5
    assert_same(write_study(tmp_path, rows, spec))


def tampered(tmp_path, rows, which, **values):
    """The replay of a study in which one row, the first that ``which`` is true of, is changed after the fact."""
    row = next(row for row in rows if which(row))
    return row, replay(write_study(tmp_path, [changed(r, **values) if r is row else r for r in rows], study(*QUICK)))


@pytest.mark.parametrize(
    ("workers", "settings"),
    [
        pytest.param(1, (), id="asha alone"),
        pytest.param(4, (), id="asha"),
        pytest.param(1, (PROMOTION,), id="promotion alone"),
        pytest.param(4, (PROMOTION,), id="promotion"),
        pytest.param(4, ("stopping={name: hyperband}",), id="hyperband"),
        pytest.param(4, ("stopping={name: median, audit: 0.3}",), id="median"),
        pytest.param(4, ("stopping={name: asha, audit: 0.5}", "seeds.search=2"), id="audit"),
        pytest.param(4, GRID, id="grid"),
        pytest.param(4, ("budget.trials=17",), id="budget"),
    ],
)
def test_choices_of_a_study_whose_driver_was_killed_are_made_again(tmp_path, settings, workers):
    spec = study(*SMALL, *settings)
    found = assert_same(write_study(tmp_path, rows_of_killed(spec, kills=(60, 130, 30), workers=workers), spec))
    assert found.proposals >= 16


@pytest.mark.parametrize("form", [SMALL, (*SMALL, PROMOTION)], ids=["stopping", "promotion"])
@pytest.mark.parametrize("dies_at", [77, 148])
def test_study_can_be_replayed_wherever_it_stands(tmp_path, dies_at, form):
    spec = study(*form)
    assert_same(write_study(tmp_path, rows_of_killed(spec, kills=(dies_at,), workers=5, to_the_end=False), spec))


def test_study_with_teachers_is_replayed(tmp_path):
    spec = study("search.trials=3", "seeds.confirm=2", "confirm.top=1", name="digits-kd")
    found = assert_same(write_study(tmp_path, rows_of_killed(spec, kills=(30, 70), workers=3), spec))
    assert found.proposals > 0


def test_amended_study_is_replayed_by_the_file_that_each_session_went_by(tmp_path):
    first = study(*SMALL)
    narrower = study("search.trials=16", "seeds.confirm=2", "confirm.top=1", "space.loss.beta={log: [0.1, 1.0]}")
    rows, checkpoints = [], {}
    drive(first, rows, checkpoints, workers=3)
    before = len(rows)
    drive(narrower, rows, checkpoints, workers=3, order=1)
    honest = [
        changed(row, amendment=2) if isinstance(row, SessionRow) and row.session == "s0002" else row for row in rows
    ]
    assert_same(write_study(tmp_path / "honest", honest, first, narrower))
    wrong = replay(write_study(tmp_path / "wrong", rows, first, narrower))
    assert wrong.differences[0].seq > before
    with pytest.raises(ThermotuneError, match=r"study-2\.yaml of s0002 is gone"):
        replay(write_study(tmp_path / "lost", honest, first))


def test_what_was_known_of_an_earlier_study_counts(tmp_path):
    spec = study(*SMALL, "search.warm_start=earlier", "search.sampler={name: tpe, startup_trials: 4}")
    seen = [
        Observation(
            coordinates={"loss.beta": beta, "optimizer.lr": 0.02}, state=TrialState.COMPLETED, epochs=27, value=v
        )
        for beta, v in ((0.1, 0.9), (0.3, 0.97), (1.0, 0.95), (3.0, 0.8), (0.2, 0.96))
    ]
    rows = []
    drive(spec, rows, {}, workers=3, known={"search": seen})
    folder = write_study(tmp_path, rows, spec)
    with pytest.raises(ThermotuneError, match=r"warm_start\.json must hold what digits-beta knew of earlier"):
        replay(folder)
    copied = {"search": [[dict(s.coordinates), s.state, s.epochs, s.value] for s in seen]}
    (folder / warm_start.FILE).write_text(json.dumps(copied))
    assert_same(folder)
    (folder / warm_start.FILE).write_text("{}")
    assert replay(folder).differences[0].what in ("coordinates", "origin")


def is_proposal(row, stage=Stage.EXPLORE):
    return isinstance(row, TrialRow) and row.stage == stage and row.recipe is not None


def test_changed_coordinate_is_found(tmp_path, rows):
    row = [r for r in rows if is_proposal(r)][7]
    coordinates = {**json.loads(row.coordinates), "optimizer.lr": 0.0123}
    row, found = tampered(tmp_path, rows, lambda r: r is row, coordinates=json.dumps(coordinates))
    first = found.differences[0]
    assert (first.seq, first.trial, first.what, first.recorded) == (
        row.seq,
        row.trial,
        "coordinates",
        "optimizer.lr 0.0123",
    )
    assert first.replayed == f"optimizer.lr {json.loads(row.coordinates)['optimizer.lr']}"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("origin", "a whim"),
        ("audited", 1),
        ("seeds", "[4]"),
        ("params", '{"optimizer.lr": 0.5}'),
        ("recipe", '{"model": "mlp-1", "epochs": 27, "optimizer": {"lr": 0.1}, "loss": {"beta": 1.0}}'),
    ],
)
def test_changed_column_of_a_proposal_is_found(tmp_path, rows, column, value):
    row, found = tampered(tmp_path, rows, is_proposal, **{column: value})
    assert (row.seq, column) in {(d.seq, d.what) for d in found.differences}


def test_a_recipe_of_an_older_version_that_lacks_a_value_of_today_does_not_differ(tmp_path, rows):
    row = next(filter(is_proposal, rows))
    recipe = json.loads(row.recipe)
    del recipe["compute"]["sync_batch_norm"]
    _, found = tampered(tmp_path, rows, lambda r: r is row, recipe=json.dumps(recipe))
    assert found.differences == ()


@pytest.mark.parametrize(
    ("verdict", "other"), [(Verdict.STOP, Verdict.CONTINUE), (Verdict.CONTINUE, Verdict.STOP)], ids=["saved", "ended"]
)
def test_flipped_verdict_is_found(tmp_path, rows, verdict, other):
    row, found = tampered(tmp_path, rows, lambda r: getattr(r, "verdict", "") == verdict, verdict=other)
    first = found.differences[0]
    assert (first.seq, first.what, first.recorded, first.replayed) == (row.seq, "verdict", other, verdict)


@pytest.mark.parametrize("column", ["value", "cutoff", "rank", "n"])
def test_changed_number_of_a_decision_is_found(tmp_path, rows, column):
    row, found = tampered(tmp_path, rows, lambda r: isinstance(r, DecisionRow) and r.cutoff is not None, **{column: 17})
    assert (row.seq, column) == (found.differences[0].seq, found.differences[0].what)


def test_candidate_that_was_not_the_best_is_found(tmp_path, rows):
    best = {row.source for row in rows if is_proposal(row, Stage.CONFIRM)}
    trials = History.fold(rows).trials.values()
    other = next(t for t in trials if t.stage is Stage.EXPLORE and t.name not in best)
    row, found = tampered(tmp_path, rows, lambda r: is_proposal(r, Stage.CONFIRM), source=other.name)
    assert (row.seq, "source", other.name, row.source) in {
        (d.seq, d.what, d.recorded, d.replayed) for d in found.differences
    }


@pytest.mark.parametrize("values", [{"value": 0.999}, {"epochs": 26}])
def test_changed_end_is_found(tmp_path, rows, values):
    row, found = tampered(tmp_path, rows, lambda r: getattr(r, "state", "") == TrialState.COMPLETED, **values)
    assert [(d.seq, d.what) for d in found.differences] == [(row.seq, next(iter(values)))]


@pytest.mark.parametrize("state", [TrialState.COMPLETED, TrialState.DIVERGED, TrialState.FAILED])
def test_other_end_of_a_trial_that_was_stopped_is_found(tmp_path, rows, state):
    row, found = tampered(tmp_path, rows, lambda r: getattr(r, "state", "") == TrialState.PRUNED, state=state)
    first = found.differences[0]
    expected = (row.seq, f"{row.trial} {state.lower()}", f"{row.trial} pruned")
    assert (first.seq, first.recorded, first.replayed) == expected


def test_lost_decision_is_found(tmp_path, rows):
    lost = next(r for r in rows if isinstance(r, DecisionRow) and r.verdict == Verdict.CONTINUE)
    found = replay(write_study(tmp_path, [r for r in rows if r is not lost], study(*QUICK)))
    first = found.differences[0]
    assert (first.trial, first.replayed) == (lost.trial, f"verdict on {lost.trial} at epoch {lost.rung}")


def test_promotion_out_of_turn_is_found(tmp_path):
    spec = study(*QUICK, PROMOTION)
    rows = rows_of_killed(spec, kills=(), workers=4)
    promotion = next(r for r in rows if getattr(r, "verdict", "") == Verdict.PROMOTE)
    paused = {r.trial for r in rows if getattr(r, "state", "") == TrialState.PAUSED and r.seq < promotion.seq}
    met = {r.trial: r for r in rows if isinstance(r, DecisionRow) and r.seq < promotion.seq and r.arm == promotion.arm}
    other = next(met[name] for name in met if name in paused and name != promotion.trial)
    swapped = changed(promotion, trial=other.trial, value=other.value)
    found = replay(write_study(tmp_path, [swapped if r is promotion else r for r in rows], spec))
    first = found.differences[0]
    assert (first.seq, first.what) == (promotion.seq, "choice")
    assert first.replayed == f"promotion of {promotion.trial} from epoch {promotion.rung}"


def test_replay_ends_where_the_records_contradict_themselves(tmp_path, rows):
    lost = next(r for r in rows if is_proposal(r) and r.trial == "t0003")
    found = replay(write_study(tmp_path, [r for r in rows if r is not lost], study(*QUICK)))
    last = found.differences[-1]
    assert (last.what, last.replayed) == ("contradiction", "no such trial was proposed before")


def test_study_that_is_being_driven_is_replayed_as_far_as_it_has_come(tmp_path, rows):
    cut = next(r.seq for r in rows if isinstance(r, EpochRow) and r.epoch == 12)
    folder = write_study(tmp_path, [r for r in rows if r.seq <= cut], study(*QUICK))
    with StudyLock(folder):
        assert assert_same(folder).rows == cut


def test_nothing_is_written(tmp_path, rows):
    folder = write_study(tmp_path, rows, study(*QUICK))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    replay(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_command_says_all_the_same_or_shows_the_first_differences_and_ends_with_1(tmp_path, rows):
    app = typer.Typer()
    app.command()(insight_cli.replay)
    write_study(tmp_path / "good", rows, study(*QUICK))
    good = CliRunner().invoke(app, ["digits-beta", "--root", str(tmp_path / "good")], env={"COLUMNS": "200"})
    assert good.exit_code == 0
    proposals, decisions, candidates, ends = counted(rows)
    assert good.stdout.split("\n")[0] == (
        f"digits-beta: {proposals} proposals, {decisions} decisions, {candidates} candidates and {ends} ends made "
        f"again from the {len(rows)} rows before each: all the same."
    )
    worse = [changed(r, value=r.value / 2) if isinstance(r, DecisionRow) else r for r in rows]
    folder = write_study(tmp_path / "bad", worse, study(*QUICK))
    bad = CliRunner().invoke(app, ["digits-beta", "--root", str(tmp_path / "bad")], env={"COLUMNS": "200"})
    assert bad.exit_code == 1
    found = replay(folder)
    assert len(found.differences) > MOST_DIFFERENCES
    assert f"The first {MOST_DIFFERENCES} of {len(found.differences)}." in bad.stdout
    assert len(json.loads(render_replay(found, Format.JSON))["differences"]) == len(found.differences)
