"""Database: one definition of the views for many studies, safe for anybody's SELECT."""

from __future__ import annotations

import gc
import os
import random
import shutil
import signal
import threading
import time

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results.errors import RecordsUnreadable
from results.places import place
from results.query import VIEWS, Database, QueryError, StudyView, describe
from results.report import build
from results.schema import EpochRow
from results.store import compact, live_files
from tests.results.synthetic import Study, finished
from tests.results.synthetic_papers import Distilled


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two finished studies, of accuracy and of loss."""
    root = tmp_path_factory.mktemp("database")
    compact(finished(root, name="first", trials=8))
    finished(root, name="second", trials=6, metric="val/loss", path="loss.alpha", seed=3)
    return root


@pytest.fixture(scope="module")
def database(root):
    return Database(root)


def epoch(study, trial, number, attempt, start, lane):
    study.writer.append(
        EpochRow(
            **study.common, trial=trial, arm="search", stage="explore", lane=lane, seed=lane, epoch=number,
            attempt=attempt, attempt_start=start, epoch_time_s=1.0, metrics={"val/accuracy": 0.5},
        )
    )  # fmt: skip


def random_life(study, trial, chance):
    """Rows of a trial that restarts, in several lanes, with what a kill may leave out."""
    done = 0
    for attempt in range(1, chance.choice([2, 2, 2, 4, 6])):
        start = chance.randint(0, done)
        done = start + chance.randint(0, 5)
        for number in range(start + 1, done + 1):
            for lane in range(2):
                if chance.random() < 0.95:
                    epoch(study, trial, number, attempt, start, lane)
        if chance.random() < 0.2:
            study.session = f"s{int(study.session[1:]) + 1:04d}"


RULE = """
with starts as (select study, trial, attempt, min(attempt_start) as start from all_epochs group by all),
cuts as (select *, min(start) over (partition by study, trial order by attempt
         rows between 1 following and unbounded following) as cut from starts)
select e.study, e.trial, e.lane, e.epoch, e.attempt, e.seq from all_epochs e join cuts using (study, trial, attempt)
where cut is null or epoch <= cut
qualify row_number() over (partition by study, trial, lane, epoch order by attempt desc, session desc, seq desc) = 1
order by all
"""


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_visible_epochs_are_those_of_the_row_number_rule_over_all_rows(tmp_path, seed):
    root, chance = tmp_path / str(seed), random.Random(seed)
    for name in ("one", "two"):
        study = Study(root, name=name)
        for number in range(25):
            random_life(study, f"t{number:04d}", chance)
        epoch(study, "t9999", 1, 1, 0, 0)
        epoch(study, "t9999", 1, 1, 0, 0)  # must never be, and would still show once
        study.writer.flush()
    found = Database(root)
    expected = found.rows(RULE)
    assert len(expected) > 100
    assert found.rows("select study, trial, lane, epoch, attempt, seq from epochs order by all") == expected
    assert found.rows("select count(*) from restarted")[0][0] < 80
    assert sum(len(StudyView(root / name).rows("from epochs")) for name in ("one", "two")) == len(expected)
    shutil.rmtree(root)


def test_every_column_is_explained_and_no_explanation_is_of_another(database):
    from results.query import columns

    found = describe(database)
    for view in VIEWS:
        names = {column.name for column in found if column.view == view}
        assert set(columns._OWN.get(view, {})) <= names, view
        assert names == {name for name, *_ in database.rows(f"describe {view}")}
    settings_ = {column.name for column in found if column.meaning == columns._SETTING}
    assert settings_ == {"loss.beta", "loss.alpha", "optimizer.lr"}
    units = {(c.view, c.name): c.meaning for c in found}
    assert units["epochs", "val/loss"].endswith("nats")
    assert units["sessions", "wall_time_s"].endswith("; s")


def test_values_of_several_studies_are_columns_and_null_where_there_are_none(database):
    rows = database.rows('select study, count("loss.beta"), count("loss.alpha") from trials group by all order by all')
    assert [(study, beta > 0, alpha > 0) for study, beta, alpha in rows] == [
        ("first", True, False),
        ("second", False, True),
    ]


def progress_of(row):
    return tuple(row[name] for name in ("trials_ended", "trials_planned", "confirm_ended", "confirm_planned"))


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A study at many moments of its life, and of several kinds."""
    root = tmp_path_factory.mktemp("stages")
    for name, options, limit, ends in (
        ("whole", {}, None, True), ("loss", {"metric": "val/loss"}, None, True),
        ("alone", {"reference": None}, None, True), ("searched", {"confirm_seeds": 0}, None, True),
        ("confirming", {}, 7, False), ("interrupted", {}, 0, False),
    ):  # fmt: skip
        study = Study(root, name=name, trials=12, seed=len(name), **options)
        study.begin()
        study.explore(5 if name == "interrupted" else None)
        if limit is None or limit:
            study.confirm(limit)
        study.end() if ends else study.end("INTERRUPTED", "Ctrl-C")
    study = Study(root, name="diverged", trials=3)
    study.begin()
    for arm in ("search", "baseline"):
        for value in (0.9, 0.95, 0.93):
            study.explored(arm, value)
    study.confirmed("t0002", "search", [0.95, "DIVERGED", 0.96, 0.95, 0.95])
    study.confirmed("t0003", "search", [0.94, "FAILED", 0.94, 0.94, 0.95])
    study.confirmed("t0005", "baseline", [0.93, 0.93, 0.94, 0.95, 0.92])
    study.end()
    study = Study(root, name="new")
    study.writer.close()
    teaching = Distilled(root, name="teaching")
    teaching.begin()
    teaching.teach("small", "COMPLETED", 6)
    teaching.teach("big", "DIVERGED", 2)
    teaching.end("INTERRUPTED", "Ctrl-C")
    return root


def test_studies_and_best_say_what_the_reports_say(stages):
    found = Database(stages)
    studies = {row["study"]: row for row in found.pandas("from studies").to_dict("records")}
    leaders = {row["study"]: row for row in found.pandas("from best where leads").to_dict("records")}
    assert len(studies) == 9
    for name, row in studies.items():
        report = build(stages / name)
        progress = report.progress
        assert row["state"] == report.state, name
        assert progress_of(row) == (
            progress.explored, progress.to_explore, progress.confirmed, progress.to_confirm
        ), name  # fmt: skip
        assert (row["teachers_trained"], row["teachers_planned"]) == (progress.taught, progress.to_teach), name
        assert row["wall_hours"] * 3600 == pytest.approx(report.time.wall_s)
        resumable = any(step.command.endswith(f"resume {name}") for step in report.steps)
        assert row["resumable"] == resumable, name
        if report.best is None:
            assert name not in leaders
            continue
        best = leaders[name]
        assert (best["trial"], best["arm"], best["is_reference"]) == (
            report.best.trial, report.best.arm, report.best.reference
        ), name  # fmt: skip
        assert best["value"] == pytest.approx(report.best.value), name
        assert (best["source"] == "confirmed") == report.best.confirmed == row["best_confirmed"], name
        assert (row["best_trial"], row["best_arm"]) == (best["trial"], best["arm"])
        for path, value in report.best.settings.items():
            assert best[path] == pytest.approx(value)
    assert {name for name, row in leaders.items() if row["source"] == "confirmed"} == {
        "whole", "loss", "alone", "diverged"
    }  # fmt: skip
    assert leaders["diverged"]["trial"] == build(stages / "diverged").best.trial != "t0002"


def test_means_of_the_same_values_in_another_order_are_a_tie_and_the_reference_must_be_ahead(tmp_path):
    values = [0.9610027855153204, 0.9554317548746518, 0.9693593314763231, 0.9526462395543176, 0.9582172701949861]
    for turn in range(5):
        study = Study(tmp_path, name=f"tie{turn}", trials=1)
        study.begin()
        for arm in ("search", "baseline"):
            study.explored(arm, 0.95)
        study.confirmed("t0001", "search", values)
        study.confirmed("t0002", "baseline", values[turn:][::-1] + values[:turn])
        study.end()
        assert build(tmp_path / f"tie{turn}").best.trial == "t0001"
    assert Database(tmp_path).rows("select distinct trial from best where leads") == [("t0001",)]


def test_what_only_the_search_found_has_no_test_value_and_says_so(stages):
    rows = Database(stages).rows(
        "select source, test_value is null, seeds from best where study in ('whole', 'confirming') order by study"
    )
    assert {(source, missing, seeds) for source, missing, seeds in rows} == {
        ("confirmed", False, 5),
        ("search", True, 1),
    }


def test_a_copy_of_a_study_under_another_name_is_a_study_of_its_own(tmp_path):
    folder = finished(tmp_path, trials=4)
    shutil.copytree(folder, tmp_path / "copy")
    found = Database(tmp_path)
    counts = found.rows("select study, count(*), count(distinct trial) from epoch_means group by all order by all")
    assert [study for study, *_ in counts] == ["copy", "digits-beta"]
    assert counts[0][1:] == counts[1][1:]
    assert len(found.rows("from best where leads")) == 2
    for view in VIEWS:
        assert {name for (name,) in found.rows(f"select distinct study from {view}")} <= {"copy", "digits-beta"}


def test_folders_of_one_name_are_refused(tmp_path, root):
    shutil.copytree(root / "first", tmp_path / "first")
    with pytest.raises(QueryError, match="got first twice"):
        Database([root / "first", tmp_path / "first"])


def test_a_damaged_study_is_left_out_and_the_others_answer(tmp_path, root):
    for name in ("first", "second"):
        shutil.copytree(root / name, tmp_path / name)
    shutil.copytree(root / "first", tmp_path / "third")
    (tmp_path / "third" / "study.yaml").write_text("nonsense")
    path = live_files(tmp_path / "first")["trials"][0]
    path.write_bytes(path.read_bytes()[:-100])
    found = Database(tmp_path)
    assert set(found.damaged) == {"first", "third"}
    assert isinstance(found.damaged["first"], RecordsUnreadable)
    assert found.rows("select study from studies") == [("second",)]


@pytest.mark.parametrize("where", ["data", "footer", "foreign", "torn while it is asked"])
def test_damaged_epochs_are_found_at_the_latest_when_they_are_read(tmp_path, root, where):
    for name in ("first", "second"):
        shutil.copytree(root / name, tmp_path / name)
    path = live_files(tmp_path / "first")["epochs"][0]
    content = bytearray(path.read_bytes())
    if where == "data":
        content[1000:-20_000] = bytes(len(content) - 21_000)
    elif where == "footer":
        content[-100:] = bytes(100)
    path.write_bytes(bytes(content))
    if where == "foreign":
        (path.parent / "notes.parquet").write_text("hello")
    found = Database(tmp_path)
    if where == "torn while it is asked":
        path.write_bytes(bytes(content[:-1000]))
    assert {study for (study,) in found.rows('select study from epochs where "val/loss" > 0')} == {"second"}
    assert set(found.damaged) == {"first"}


def test_records_of_an_older_version_lack_columns_that_are_null(tmp_path, root):
    shutil.copytree(root / "first", tmp_path / "old")
    path = live_files(tmp_path / "old")["epochs"][0]
    data = pq.read_table(path)
    pq.write_table(data.drop_columns(["val/ece", "optimizer/lr"]), path)
    shutil.copytree(root / "second", tmp_path / "second")
    found = Database(tmp_path)
    rows = found.rows('select study, count("optimizer/lr") > 0 from epochs group by all order by all')
    assert rows == [("old", False), ("second", True)]


def test_a_root_on_s3_answers_as_a_folder_does(root, bucket):
    there = place(f"s3://{bucket}/asked")
    for path in root.rglob("*"):
        if path.suffix in (".parquet", ".yaml"):
            (there / str(path.relative_to(root))).write_bytes(path.read_bytes())
    remote = Database(there)
    for sql in (
        "select * exclude (folder) from studies",
        "from best",
        "select count(*) from epochs",
        "select * exclude (mean_epoch_time_s, train_time_s) from trials",  # sums, in whatever order
    ):
        assert remote.rows(sql) == Database(root).rows(sql)


def test_an_answer_survives_a_compaction_and_new_rows_show_after_refresh(tmp_path):
    study = Study(tmp_path)
    study.begin()
    study.explore(2)
    study.writer.flush()
    found = Database(tmp_path)
    before = found.rows("select count(*) from epochs")
    study.explore(1)
    study.writer.flush()
    assert found.rows("select count(*) from epochs") == before
    study.writer.close()
    compact(study.folder)
    after = found.rows("select count(*) from epochs")  # the files that it knew are gone
    assert after > before
    found.refresh()
    assert found.rows("select count(*) from epochs") == after


REFUSED = [
    "copy (select 1) to '{there}/x.csv'", "copy trials to '{there}/x.parquet'", "export database '{there}/x'",
    "attach '{there}/x.db'", "attach ':memory:' as other", "install httpfs", "load httpfs", "pragma database_list",
    "pragma version", "set threads = 1", "set enable_external_access = true", "reset threads", "set variable a = 1",
    "create table x as select 1", "create view x as select 1", "create macro f() as 1", "drop view trials",
    "insert into restarted values ('a', 'b')", "update outcomes set state = 'x'", "delete from outcomes",
    "alter table outcomes add column x int", "truncate outcomes", "select 1; select 2", "select 1; drop view trials",
    "explain analyze select 1", "prepare p as select 1", "begin", "checkpoint", "call pragma_version()", "use memory",
    "vacuum", "detach memory", "comment on view trials is 'x'", "", "-- nothing", ";",
    "select * from read_text('/etc/passwd')", "select * from '/etc/passwd'", "select * from read_csv('/etc/passwd')",
    "select * from read_blob('/etc/passwd')", "select * from read_json('/etc/passwd')",
    "select * from read_parquet('/etc/*')", "select * from read_parquet('{there}/foreign.parquet')",
    "select * from '{there}/foreign.parquet'", "select * from parquet_metadata('{there}/foreign.parquet')",
    "select * from glob('/etc/*')", "select * from sniff_csv('/etc/passwd')", "select getenv('HOME')",
    "select * from read_parquet('s3://bucket/x.parquet')", "select * from read_text('https://example.org')",
    "select * from query('copy (select 1) to ''{there}/x.csv''')", "from secret_rows", "from duckdb_secrets()",
    "select * from enable_logging()", "select * from (copy (select 1) to '{there}/x.csv')",
    "with x as (insert into restarted values ('a', 'b') returning *) select * from x",
    "with x as (delete from outcomes returning *) select * from x",
]  # fmt: skip


def test_anything_but_one_select_of_the_records_is_refused(tmp_path, root):
    secret_rows = pq.read_table(live_files(root / "first")["trials"][0])  # as a variable beside the query
    pq.write_table(secret_rows, tmp_path / "foreign.parquet")
    found = Database([root / "first"])
    counted = found.rows("select count(*) from outcomes")
    for sql in REFUSED:
        with pytest.raises(QueryError):
            found.rows(sql.format(there=tmp_path))
        with pytest.raises(QueryError):
            found.arrow(sql.format(there=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.parquet"]
    assert found.rows("select count(*) from outcomes") == counted
    assert found.rows("with a as (select 1) select * from a union all values (2)") == [(1,), (2,)]


def test_a_mistake_in_a_query_is_explained(database):
    with pytest.raises(QueryError, match=r'"vlue" not found(?s:.*)"value"'):
        database.rows("select vlue from trials")
    with pytest.raises(QueryError, match="syntax error"):
        database.rows("selct 1")
    with pytest.raises(QueryError, match=r"PIVOT that does not say its columns\. List them"):
        database.rows("pivot trials on arm using count(*) group by study")
    assert database.rows("pivot trials on arm in ('search', 'baseline') using count(*) group by study order by study")


MISTAKES = [
    "select regexp_matches(trial, '(') from epochs", "select strptime(trial, '%Y') from epochs",
    "select error('no') from epochs", "select trial::int from epochs", "select (select trial from epochs)",
    "select 9223372036854775807 + epoch from epochs",
]  # fmt: skip


@pytest.mark.parametrize("sql", MISTAKES)
def test_after_a_mistake_in_a_query_nobody_looks_for_damaged_files(database, monkeypatch, sql):
    def row_groups(path, table, **options):
        raise AssertionError(f"{path} is read whole")

    monkeypatch.setattr("results.query.database.row_groups", row_groups)
    with pytest.raises(QueryError, match="cannot be answered"):
        database.rows(sql)


def test_a_mistake_that_only_a_late_row_shows_is_explained_too(database):
    sql = "select case when range = 900000 then error('the last straw') end as x from range(1000000)"
    with pytest.raises(QueryError, match="the last straw"):
        list(database.batches(sql))
    assert database.rows("select 1") == [(1,)]


def test_names_are_data_and_never_sql(tmp_path):
    evil = """o'); drop view trials; --"{x}"""
    study = Study(tmp_path, name=evil, arms={evil: {}, "b": {"loss.beta": 1.0}}, reference="b", trials=2)
    study.begin()
    study.explore()
    study.end()
    other = Study(tmp_path, name="brackets [1]", trials=2, metric="val/loss")
    other.begin()
    other.explore()
    other.end()
    found = Database(tmp_path)
    for view in VIEWS:
        found.rows(f"from {view}")
    assert found.rows("select distinct study, arm from epochs where arm = ?", [evil]) == [(evil, evil)]
    assert ("brackets [1]",) in found.rows("select distinct study from epochs")


def test_a_setting_never_hides_a_column(tmp_path):
    study = Study(tmp_path, path="loss.Beta", trials=2)
    study.document["space"] |= {"epochs": {"choice": [3, 9]}, "LOSS.beta": {"log": [1, 2]}, "x'\"]": {"log": [1, 2]}}
    study.extend(2)
    study.begin()
    study.explore()
    study.end()
    names = [name for name, *_ in Database(tmp_path).rows("describe trials")]
    assert {"epochs", "recipe.epochs", "loss.Beta", "recipe.LOSS.beta"} <= set(names)
    assert StudyView(study.folder).trials


def test_ctrl_c_ends_a_query_at_once_and_the_next_one_is_answered(database):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        database.rows("select count(*) from range(1000000) a, range(10000000) b where (a.range * b.range) % 7 = 3")
    assert time.monotonic() - begun < 30
    assert database.rows("select 1") == [(1,)]


def test_batches_keep_alive_what_a_large_answer_needs(root, monkeypatch):
    monkeypatch.setattr("results.query.database.MEMORY_LIMIT", "100MiB")
    batches = Database(root).batches("select range, hash(range) as key from range(8000000) order by key")
    gc.collect()
    assert sum(len(batch) for batch in batches) == 8_000_000


def test_an_answer_that_needs_too_much_memory_is_refused(database, monkeypatch):
    with pytest.raises(QueryError, match=r"(?i)out of memory"):
        database.rows("select length(string_agg(repeat('x', 1000), '')) from range(2000000)")


def test_answers_come_as_arrow_pandas_and_batches(database):
    sql, wanted = "select study, trial, value from trials where study = ? order by seq", ["first"]
    rows = database.rows(sql, wanted)
    assert [tuple(row.values()) for row in database.arrow(sql, wanted).to_pylist()] == rows
    assert list(database.pandas(sql, wanted)["trial"]) == [trial for _, trial, _ in rows]
    assert sum(len(batch) for batch in database.batches(sql, wanted)) == len(rows)
