import json
import shlex
from dataclasses import replace as changed

import pytest
import typer
from typer.testing import CliRunner

from results import formats
from results.lock import StudyLock
from results.report import Format
from results.schema import DecisionRow, EpochRow, SessionRow, Setback, Stage, StudyState, TrialRow, TrialState, Verdict
from search import insight_cli
from search.conductor import Conductor
from search.errors import UsageError
from search.explain import explain_study, explain_trial
from search.explain_trial import about_trial
from search.explanation import Records, render_explanation
from search.failures import Failure
from search.history import History
from tests.search.folders import rows_of_killed, write_study
from tests.search.simulator import Disk, drive, study

SMALL = ("search.trials=12", "seeds.confirm=2", "confirm.top=1")
PROMOTION = "stopping={name: asha, form: promotion}"


def lines_of(found, title):
    """The sentences under a heading; none where the heading is missing."""
    return next((section.lines for section in found.sections if section.title.startswith(title)), ())


def text_of(found):
    return render_explanation(found, Format.TABLE, width=10_000)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    rows = rows_of_killed(study(*SMALL), kills=(90, 160), workers=4, keep_checkpoints=False)
    return write_study(tmp_path_factory.mktemp("done"), rows, study(*SMALL)), rows


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    rows = rows_of_killed(study(*SMALL, PROMOTION), kills=(150,), workers=4, to_the_end=False)
    return write_study(tmp_path_factory.mktemp("half"), rows, study(*SMALL, PROMOTION)), rows


def first(rows, state):
    return next(row for row in rows if isinstance(row, TrialRow) and row.state == state)


def test_finished_study_says_what_it_searched_and_that_nothing_is_pending(done):
    folder, rows = done
    found = explain_study(folder)
    assert found.headline == "digits-beta is complete: nothing left to run."
    searched = lines_of(found, "What is searched")
    assert searched[0] == ("The largest validation accuracy after 27 epochs on digits, by the sampler tpe with seed 0.")
    assert searched[-1].endswith("trials are compared after epoch 1, 3, 9.")
    assert lines_of(found, "What is pending") == (
        "Nothing: all that was planned is done. For more trials: thermotune resume digits-beta --trials +N",
    )
    history = History.fold(rows)
    stopped = sum(isinstance(r, DecisionRow) and (r.arm, r.rung, r.verdict) == ("search", 1, "STOP") for r in rows)
    assert f"Epoch 1, arm search: {stopped} stopped of 12 that came so far." in lines_of(found, "Where trials ended")
    best = history.best("search", "val/accuracy", "max", 1)[0]
    assert any(f"best {best.name} with" in line for line in lines_of(found, "Where it stands"))


def test_epochs_that_were_trained_again_are_said(done):
    folder, rows = done
    repeats = History.fold(rows).repeats
    assert repeats
    assert any(repeats[0].trial in line for line in lines_of(explain_study(folder), "What was trained again"))
    of_trial = lines_of(explain_trial(folder, repeats[0].trial), "How it ran")
    assert any(f"Trained again in session {repeats[0].session}" in line for line in of_trial)
    assert any("took it over from" in line for line in of_trial)


def test_stopped_trial_says_its_rank_and_the_value_that_it_needed(done):
    folder, rows = done
    row = next(r for r in rows if isinstance(r, DecisionRow) and r.verdict == Verdict.STOP)
    value, cutoff = (formats.metric("val/accuracy", v) for v in (row.value, row.cutoff))
    found = explain_trial(folder, row.trial)
    assert lines_of(found, "What the stopping rule said")[-1] == (
        f"Epoch {row.rung}: {value}, rank {row.rank} of {row.n}; "
        f"needed {cutoff} (rank {row.n // 3} = {row.n} // 3); it was stopped."
    )
    assert "Ended early" in lines_of(found, "How it ended")[0]
    assert lines_of(found, "Whether it is confirmed")[0].startswith("No: only trials that were trained to the end")


def test_every_verdict_of_a_trial_is_a_sentence(done):
    folder, rows = done
    name = first(rows, TrialState.COMPLETED).trial
    met = [r for r in rows if isinstance(r, DecisionRow) and r.trial == name]
    assert len(lines_of(explain_trial(folder, name), "What the stopping rule said")) == len(met) == 3


def test_trial_says_why_it_was_chosen_in_the_words_of_the_records(done):
    folder, rows = done
    records = Records(folder)
    for row in (r for r in rows if isinstance(r, TrialRow) and r.origin is not None):
        chosen = lines_of(about_trial(records, row.trial), "Why it was chosen")
        assert chosen[0].lower() == f"{row.origin}.".lower()
        assert all(f"{path} {value}" in chosen[1] for path, value in json.loads(row.params).items())


def test_diverged_trial_says_epoch_and_reason(done):
    folder, rows = done
    row = first(rows, TrialState.DIVERGED)
    ended = lines_of(explain_trial(folder, row.trial), "How it ended")
    assert ended[0].startswith(f"Diverged in epoch {row.epochs}: {row.reason}.")
    assert f"{row.trial} at epoch {row.epochs}" in text_of(explain_study(folder))


def test_chosen_trial_names_its_confirm_runs_and_these_name_it(done):
    folder, rows = done
    runs = [r for r in rows if isinstance(r, TrialRow) and r.stage == Stage.CONFIRM and r.state == TrialState.PENDING]
    found = lines_of(explain_trial(folder, runs[0].source), "Whether it is confirmed")
    assert found[0].startswith("Yes: it has place 1 of ")
    mine = [run for run in runs if run.source == runs[0].source]
    assert [line.split(":")[0] for line in found[1:]] == [f"{r.trial}, seed {json.loads(r.seeds)[0]}" for r in mine]
    run = explain_trial(folder, runs[0].trial)
    assert f"confirm run of {runs[0].source}" in run.headline
    assert lines_of(run, "What the stopping rule said") == ("None: only explored trials are compared.",)


def test_completed_trial_that_was_not_chosen_says_its_place(done):
    folder, rows = done
    history = History.fold(rows)
    place, loser = next(
        (place, trial)
        for arm in ("search", "baseline")
        for place, trial in enumerate(history.best(arm, "val/accuracy", "max", 99), start=1)
        if place > 1
    )
    found = lines_of(explain_trial(folder, loser.name), "Whether it is confirmed")
    assert found[0].startswith(f"No: it has place {place} of ")


def test_paused_trial_says_its_place_and_the_one_that_it_needs(half):
    folder, rows = half
    history = History.fold(rows)
    waiting = [t for t in history.unfinished() if t.state is TrialState.PAUSED]
    assert waiting
    records = Records(folder)
    for trial in waiting:
        epoch = max(trial.decisions)
        rung = history.rung(trial.arm, 0, epoch)
        said = lines_of(about_trial(records, trial.name), "Where it stands")[0]
        assert f"waits at epoch {epoch} to be promoted: place {rung.place(trial.name, 'max')} of {len(rung)}" in said
        needed = f"among the best {len(rung) // 3} ({len(rung)} // 3)" if len(rung) >= 3 else "before 3 have come"
        assert needed in said


def test_promoted_trial_says_both_meetings_and_its_second_start(half):
    folder, rows = half
    row = next(r for r in rows if isinstance(r, DecisionRow) and r.verdict == Verdict.PROMOTE)
    found = explain_trial(folder, row.trial)
    said = lines_of(found, "What the stopping rule said")
    assert said[0].endswith("it paused.")
    assert said[1].endswith(f"the best {row.n // 3} ({row.n} // 3) go on; it was promoted.")


def test_killed_study_says_who_died_what_is_open_and_how_to_go_on(half):
    folder, rows = half
    found = explain_study(folder, command="thermotune --root /r")
    assert found.headline == "digits-beta is interrupted: the driver of session s0001 died without a word."
    pending = lines_of(found, "What is pending")
    assert pending[0] == "No driver runs. To go on: thermotune --root /r resume digits-beta"
    history = History.fold(rows)
    running = [t for t in history.unfinished() if t.state is TrialState.RUNNING]
    for trial in running:
        assert f"{trial.name} of {trial.arm} was at epoch {trial.last_epoch} of 27 when the driver stopped." in pending
    for arm in ("search", "baseline"):
        assert f"Arm {arm}: {formats.count(12 - len(history.of(arm)), 'trial')} to come." in pending
    assert any(line.startswith("Confirm begins when all explored trials have ended") for line in pending)


def test_study_at_work_counts_busy_slots(half):
    folder, rows = half
    running = sum(t.state is TrialState.RUNNING for t in History.fold(rows).unfinished())
    with StudyLock(folder):
        found = explain_study(folder)
    assert found.headline.startswith("digits-beta is running: process ")
    assert lines_of(found, "What is pending")[0] == f"{running} of 4 slots busy."


def test_study_at_work_is_explained_while_rows_of_a_new_trial_are_there_in_part(tmp_path, half):
    _, rows = half
    newest = max((r for r in rows if isinstance(r, TrialRow) and r.recipe), key=lambda r: r.seq)
    early = EpochRow(
        study="digits-beta", session="s0001", seq=10_000, reported_at=newest.reported_at, trial="t0999", arm="search",
        stage="explore", lane=0, seed=0, epoch=1, attempt=1, attempt_start=0, epoch_time_s=1.0, metrics={},
    )  # fmt: skip
    folder = write_study(tmp_path, [*rows, early], study(*SMALL, PROMOTION))
    assert "t0999" not in text_of(explain_study(folder))


def test_used_up_budget_and_audit_are_said(tmp_path):
    spec = study(*SMALL, "budget.trials=9", "stopping={name: asha, audit: 1.0, reduction_factor: 2}")
    rows = rows_of_killed(spec, kills=(), workers=2)
    folder = write_study(tmp_path, rows, spec)
    pending = lines_of(explain_study(folder), "What is pending")
    assert pending[0].startswith("The budget is used up: 9 of 9 trials. For more: thermotune resume digits-beta --set ")
    spared = next(r for r in rows if isinstance(r, DecisionRow) and r.verdict == Verdict.AUDIT)
    found = explain_trial(folder, spared.trial)
    assert "drawn for the audit" in " ".join(lines_of(found, "Why it was chosen"))
    assert lines_of(found, "What the stopping rule said")[-1].endswith("ran on because it is audited.")
    assert lines_of(found, "How it ended")[-1].startswith("It is spared")


def test_used_up_hours_are_said(tmp_path, done):
    spec = study(*SMALL, "budget.wall_hours=0.5")
    rows = [r for r in done[1] if r.seq < 60]
    end = SessionRow(
        study="digits-beta", session="s0001", seq=60, reported_at=rows[-1].reported_at, state=StudyState.INTERRUPTED,
        host="h", pid=1, slots=4, command="c", environment="{}", reason="budget used up", wall_time_s=3600.0,
    )  # fmt: skip
    pending = lines_of(explain_study(write_study(tmp_path, [*rows, end], spec)), "What is pending")
    assert pending[0].startswith("The budget is used up: 1 of 0.5 wall hours. For more: ")
    assert pending[0].endswith("budget.wall_hours=N")


def test_finer_grid_waits_for_the_coarse_one(tmp_path):
    spec = study(
        *SMALL,
        "search.sampler={name: grid, refine: 1}",
        "search.trials=null",
        "space={loss.beta: {grid: [0.1, 0.3, 1.0]}, optimizer.lr: {grid: [0.01, 0.03, 0.1]}}",
    )
    rows = rows_of_killed(spec, kills=(100,), workers=4, to_the_end=False)
    pending = lines_of(explain_study(write_study(tmp_path, rows, spec)), "What is pending")
    assert any("a finer grid waits for the last to end" in line for line in pending)


def test_missing_teacher_is_named(tmp_path):
    spec = study("search.trials=3", "seeds.confirm=2", "confirm.top=1", name="digits-kd")
    rows = rows_of_killed(spec, kills=(10,), workers=3, to_the_end=False)
    folder = write_study(tmp_path, rows, spec)
    teacher = spec.needed_teachers[0]
    found = explain_study(folder)
    assert f"No trial is begun before the teachers are trained: {teacher}." in lines_of(found, "What is pending")
    assert lines_of(found, "Where it stands")[0].startswith(f"Teacher {teacher}: t0001, pending at epoch 0 of ")
    assert f"the teacher {teacher}" in explain_trial(folder, "t0001").headline


def test_failed_trial_shows_the_end_of_its_traceback(tmp_path):
    spec = study(*SMALL)
    rows = []
    disk = Disk(rows)
    conductor = Conductor(spec, History(), disk, session="s0001")
    conductor.records.session(StudyState.RUNNING, host="h", pid=1, slots=1, command="c", environment="{}")
    trial = conductor.next_trial()
    conductor.started(trial.name)
    frames = "\n".join(f"  frame {number}" for number in range(20))
    error = f"Traceback\n{frames}\nRuntimeError: boom"
    conductor.failed(trial.name, Failure(setback=Setback.CRASH, reason="RuntimeError: boom", error=error))
    disk.flush()
    ended = lines_of(explain_trial(write_study(tmp_path, rows, spec), trial.name), "How it ended")
    assert ended[0] == "Its worker crashed 1 time (allowed: 3): RuntimeError: boom."
    assert ended[1].splitlines()[-1] == "RuntimeError: boom"
    assert "frame 19" in ended[1]
    assert "frame 3" not in ended[1]


def test_every_crash_and_every_move_is_told(tmp_path):
    spec = study(*SMALL)
    rows = []
    disk = Disk(rows)
    conductor = Conductor(spec, History(), disk, session="s0001")
    conductor.records.session(StudyState.RUNNING, host="h", pid=1, slots=1, command="c", environment="{}")
    boom = Failure(
        setback=Setback.CRASH, reason="RuntimeError: boom", error='  File "a.py", line 1\nRuntimeError: boom'
    )
    conductor.lost(conductor.next_trial().name, boom)
    name = conductor.next_trial().name
    conductor.started(name)
    lanes = [{"epoch": n, "lane": 0, "seed": 0, "epoch_time_s": 1.0, "metrics": {"val/accuracy": 0.9}} for n in (1, 2)]
    report = {"attempt": 1, "attempt_start": 0, "epochs": lanes, "divergence": None, "finished": False}
    conductor.report(name, {**report, "memory": None, "out_of_memory": None})
    conductor.lost(name, Failure(setback=Setback.MOVE, reason="its node 10.0.0.7 was lost"))
    conductor.next_trial()
    conductor.started(name)
    conductor.lost(name, boom)
    conductor.records.event("node 10.0.0.7 is lost with 1 trial, which goes on elsewhere")
    disk.flush()
    folder = write_study(tmp_path, rows, spec)
    assert lines_of(explain_trial(folder, name), "How it ran") == (
        "Crashed before it began: RuntimeError: boom.",
        'The end of the traceback:\nFile "a.py", line 1\nRuntimeError: boom',
        "Attempt 1: begun in session s0001.",
        "Moved after epoch 2: its node 10.0.0.7 was lost.",
        "Attempt 2: it went on, in session s0001.",
        "Crashed after epoch 2: RuntimeError: boom.",
    )
    assert lines_of(explain_trial(folder, name), "Where it stands")[0].startswith(
        "It waits for a free worker, to go on."
    )
    happened = lines_of(explain_study(folder), "What happened on the way")
    assert "session s0001: node 10.0.0.7 is lost with 1 trial, which goes on elsewhere." in happened[0]
    assert happened[1:] == (f"1 trial crashed: {name} 2 times.", f"1 trial moved: {name} 1 time.")
    pending = lines_of(explain_study(folder), "What is pending")
    assert any("waits to be started again, from epoch 2: RuntimeError: boom." in line for line in pending)


def test_lost_worker_and_amendment_are_said(tmp_path):
    first_file = study(*SMALL)
    longer = study("search.trials=14", "seeds.confirm=2", "confirm.top=1", "stopping.reduction_factor=2")
    rows, checkpoints = [], {}
    drive(first_file, rows, checkpoints)
    drive(longer, rows, checkpoints)
    rows = [changed(r, amendment=2) if isinstance(r, SessionRow) and r.session == "s0002" else r for r in rows]
    folder = write_study(tmp_path, rows, first_file, longer)
    amended = lines_of(explain_study(folder), "What was amended")
    assert amended[0].startswith("study-2.yaml, since session s0002: ")
    assert "stopping.reduction_factor from 3 to 2" in amended[0]
    met = next(r for r in rows if isinstance(r, DecisionRow) and r.session == "s0002" and r.cutoff is not None)
    found = explain_trial(folder, met.trial)
    said = lines_of(found, "What the stopping rule said")
    assert any(f"(rank {met.n // 2} = {met.n} // 2)" in line for line in said)
    assert any("went by study-2.yaml" in line for line in lines_of(found, "How it ran"))
    old = next(r for r in rows if isinstance(r, DecisionRow) and r.session == "s0001" and r.cutoff is not None)
    assert "// 3)" in text_of(explain_trial(folder, old.trial))


@pytest.mark.parametrize(
    ("name", "hint"), [("t0099", "t0009"), ("7", "Did you mean t0007?"), ("t12", "t0012"), ("beta", "Its trials are")]
)
def test_unknown_trial_is_told_its_neighbours(done, name, hint):
    with pytest.raises(UsageError, match=f"a trial must be one of the study's, got '{name}'") as error:
        explain_trial(done[0], name)
    assert hint in str(error.value)


def test_study_that_has_not_begun_is_explained(tmp_path):
    found = explain_study(write_study(tmp_path, [], study(*SMALL)))
    assert found.headline == "digits-beta has not begun."
    assert "Arm search: 12 trials to come." in lines_of(found, "What is pending")


def test_command_writes_text_json_and_markdown(done):
    app = typer.Typer()
    app.command()(insight_cli.explain)
    root = str(done[0].parent)

    def run(arguments):
        result = CliRunner().invoke(app, [*shlex.split(arguments), "--root", root], env={"COLUMNS": "80"})
        assert result.exit_code == 0
        return result.stdout

    text = run("digits-beta")
    assert max(map(len, text.splitlines())) <= 80
    document = json.loads(run("digits-beta t0001 --format json"))
    assert (document["study"], document["trial"]) == ("digits-beta", "t0001")
    assert document["sections"][0]["title"] == "Why it was chosen"
    assert run("digits-beta t0001 -f markdown").startswith("**t0001, explored trial 1 of arm search: ")


def test_comparison_is_a_command(done):
    other = study(*SMALL, "search.seed=1", "name=other")
    rows = []
    drive(other, rows, {})
    write_study(done[0].parent, rows, other)
    app = typer.Typer()
    app.command()(insight_cli.compare)
    result = CliRunner().invoke(app, ["digits-beta", "other", "--root", str(done[0].parent), "-f", "json"])
    assert result.exit_code == 0
    assert "other" in result.stdout
    json.loads(result.stdout)
