"""The display of a study: the same here, as lines, and through the log of a job."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from search.conductor import Conductor
from search.jobs.log import SAVED, JobLogReader, last_snapshot
from search.progress import Display, JobLog, Progress, Snapshot
from search.progress.job_log import JOB_VARIABLE, in_job, marked
from tests.search.simulator import Disk, drive, study

SMALL = ("search.trials=6", "seeds.confirm=2", "confirm.top=1")


@pytest.fixture(scope="module")
def conductor():
    """Of a study that has ended."""
    spec = study(*SMALL)
    history = drive(spec, [], {})
    return Conductor(spec, history, Disk([]), session="s0002")


@pytest.fixture(scope="module")
def snapshot(conductor):
    return Snapshot.of(conductor, elapsed_s=12.0, done_before=2)


def display(**options):
    return Display(Console(record=True, width=140, file=io.StringIO(), **options))


def shown_on(screen):
    return screen._console.export_text()


def test_snapshot_counts_what_the_records_say(conductor, snapshot):
    trials = list(conductor.history.trials.values())
    assert snapshot.done == snapshot.total == len(trials) == 6 + 6 + 2 + 2
    counted = {(group.stage, group.arm): sum(group.states.values()) for group in snapshot.groups}
    assert counted == {
        ("explore", "search"): 6,
        ("explore", "baseline"): 6,
        ("confirm", "search"): 2,
        ("confirm", "baseline"): 2,
    }
    assert snapshot.epochs[-1] == conductor.study.recipe.epochs
    for arm, reached in snapshot.reached.items():
        assert reached[0] == 6
        assert reached == sorted(reached, reverse=True)
        best = snapshot.best[arm]
        assert best.value == max(t.value("val/accuracy") for t in conductor.history.of(arm) if t.state == "COMPLETED")


def test_snapshot_survives_json(snapshot):
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


def test_time_left_follows_the_pace_of_this_session(conductor, snapshot):
    assert snapshot.left_s is None  # nothing is left
    spec = study("search.trials=60", "seeds.confirm=2", "confirm.top=1")
    unfinished = Conductor(spec, conductor.history, Disk([]), session="s0002")
    shot = Snapshot.of(unfinished, elapsed_s=14.0, done_before=2)
    assert shot.left_s == pytest.approx(14.0 / (shot.done - 2) * (shot.total - shot.done))
    assert Snapshot.of(unfinished, elapsed_s=14.0, done_before=shot.done - 2).left_s is None  # two tell no pace


def test_terminal_shows_arms_states_rungs_and_best(conductor, snapshot):
    screen = display(force_terminal=True)
    screen.phase("exploring")
    screen.show(snapshot)
    screen._console.print(screen._render())
    text = shown_on(screen)
    assert "digits-beta: exploring, 16 of 16 trials, 12 s" in text
    assert re.search(r"arm +running +completed +pruned +diverged +failed +epoch 1 +epoch 3", text)
    assert f"({snapshot.best['search'].trial})" in text
    assert "baseline, confirm" in text


def test_lines_say_a_phase_once_and_where_the_study_stands(snapshot):
    screen = display()
    for phase in ("exploring", "exploring", "confirming the best on fresh seeds"):
        screen.phase(phase)
    screen.show(snapshot)
    lines = shown_on(screen).splitlines()
    assert lines[:2] == ["exploring", "confirming the best on fresh seeds"]
    assert lines[2].startswith("16/16 trials: ")


def log_of(capfd, conductor, result="a summary\n"):
    """What a driver in a job writes."""
    with Progress(log := JobLog()) as progress:
        progress.phase("joining the cluster")
        progress.note("a note with \N{GREEK SMALL LETTER BETA}")
        progress.watch(conductor)
        progress.update()
        progress.update()
    if result:
        log.result(result)
    written = capfd.readouterr()
    return written.err, written.out


def test_job_log_holds_a_snapshot_only_where_something_changed(capfd, conductor):
    log, _ = log_of(capfd, conductor)
    kinds = [found[0] for line in log.splitlines() if (found := marked(line))]
    assert kinds == ["phase", "phase", "snapshot", "result", "end of result"]
    assert last_snapshot(log).content == Snapshot.of(conductor, elapsed_s=1.0, done_before=0).content
    assert last_snapshot("nothing\n") is None


def whole_log(capfd, conductor):
    """As Ray keeps it: its own lines first, stdout and stderr in one."""
    errors, out = log_of(capfd, conductor)
    begin, end = errors.split('{"thermotune": "end of result"}\n')
    return (
        "2026-11-21 17:32:08,191\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
        "Running entrypoint for job digits-beta-1: exec sh search/jobs/start.sh submit\n"
        f'{begin}{out}{{"thermotune": "end of result"}}\n{end}{SAVED} Continue with:\n  thermotune resume x'
    )


def read(log, capfd):
    screen = display()
    reader = JobLogReader(screen)
    reader.take(log)
    reader.close()
    return shown_on(screen), capfd.readouterr().out, reader


def test_a_client_shows_what_the_driver_would_have_shown(capfd, conductor):
    log = whole_log(capfd, conductor)
    text, result, reader = read(log, capfd)
    assert text.splitlines() == [
        "starting the driver",
        "joining the cluster",
        "a note with \N{GREEK SMALL LETTER BETA}",
        "confirming the best on fresh seeds",
        Snapshot.of(conductor, elapsed_s=0.0, done_before=0).line,
        f"{SAVED} Continue with:",
        "  thermotune resume x",
    ]
    assert result == "a summary\n"
    assert reader.saved
    assert reader.characters == len(log) + 1  # the last line was not ended


@given(data=st.data())
def test_it_does_not_matter_where_a_log_is_cut(data, conductor, snapshot):
    log = f"one\n{json.dumps({'thermotune': 'snapshot', **snapshot.to_json()})}\n\ntwo\nthree"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=6)))
    screens = [display(), display()]
    for screen, places in zip(screens, ([], cuts), strict=True):
        reader = JobLogReader(screen)
        for begin, end in zip([0, *places], [*places, len(log)], strict=True):
            reader.take(log[begin:end])
        reader.close()
    assert shown_on(screens[0]) == shown_on(screens[1])


def test_lines_of_a_client_come_as_rarely_as_here(snapshot):
    screen = display()
    reader = JobLogReader(screen)
    for second in range(20):
        later = {**snapshot.to_json(), "at": snapshot.at + second, "done": second}
        reader.take(json.dumps({"thermotune": "snapshot", **later}) + "\n")
    reader.take("the end\n")
    shown = ["0", "5", "10", "15", "19", "the end"]  # the last before something else is not kept back
    assert [line.partition("/")[0] for line in shown_on(screen).splitlines()] == shown


def test_a_driver_killed_within_its_result_hides_nothing(capsys):
    reader = JobLogReader(display())
    reader.take('{"thermotune": "result"}\nhalf a summ')
    reader.close()
    assert capsys.readouterr().out == "half a summ\n"


@pytest.mark.parametrize("line", ['{"thermotune": ', '{"thermotune": "phase"', "{}", "text", '{"other": 1}'])
def test_other_lines_are_not_taken_for_marks(line):
    assert marked(line) is None


def test_a_process_knows_whether_it_is_a_job(monkeypatch):
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    assert not in_job()
    monkeypatch.setenv(JOB_VARIABLE, "digits-beta-1")
    assert in_job()
