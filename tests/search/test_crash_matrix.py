"""Real drivers on a real Ray, hit by what a machine can do to them besides killing; then resumed."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from results.encoding import encode, to_rows, to_table
from results.schema import ROW_TYPES, SessionRow, arrow_schema
from tests.search.commands import Driver, rows_of, thermotune
from tests.search.crashes import STUDY, assert_whole, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BALLAST = "ballast"


@pytest.fixture
def study_file(tmp_path):
    path = tmp_path / "crash.yaml"
    path.write_text(STUDY.replace("WORKERS", "1").replace("trials: 10", "trials: 5"))
    return str(path)


@pytest.fixture
def small_disk(tmp_path):
    """A root with a file system of its own, of 24 MiB."""
    root = tmp_path / "runs"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", root], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {mounted.stderr.strip()}")
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)


def resume(root, before):
    """Resumes; nothing on record may be lost or there twice."""
    run = thermotune(root, "resume", "crash")
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    rows = rows_of(root / "crash")
    assert {row.seq for row in before} <= {row.seq for row in rows}
    assert_whole(rows)
    return run


def stopped_by(driver):
    """What a driver said that could not go on by itself."""
    assert driver.process.wait(timeout=90) == 1
    said = driver.log.read_text()
    assert "resume crash" in said
    assert "Traceback" not in said
    return said


def rewrite(folder, change):
    """Rewrites every record file of a study, row by row."""
    for table in ROW_TYPES:
        for path in (folder / "records" / table).glob("*.parquet"):
            rows = [change(row) for row in to_rows(table, pq.read_table(path))]
            columns = to_table(table, [encode(row) for row in rows])
            pq.write_table(columns.replace_schema_metadata(arrow_schema(table).metadata), path)


def test_full_disk_and_read_only_root_stop_a_study_in_words_and_lose_nothing(small_disk, study_file):
    driver = Driver(small_disk, "submit", study_file)
    assert driver.wait_for(lambda: trained(small_disk / "crash"))
    ballast = os.open(small_disk / BALLAST, os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while True:
            os.write(ballast, bytes(2**12))
    os.close(ballast)
    said = stopped_by(driver)
    assert "No space left" in said
    before = rows_of(small_disk / "crash")
    (small_disk / BALLAST).unlink()

    for _ in range(60):  # the process that feeds MLflow has files open until it has noticed
        made = subprocess.run(["mount", "-o", "remount,ro", small_disk], check=False, capture_output=True, text=True)
        if made.returncode == 0:
            break
        time.sleep(1)
    assert made.returncode == 0, made.stderr
    refused = thermotune(small_disk, "resume", "crash")
    assert refused.returncode == 1
    assert "Read-only" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert thermotune(small_disk, "status", "crash").returncode == 0
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    resume(small_disk, before)


def test_a_killed_study_that_was_moved_torn_and_aged_goes_on_at_its_new_place(tmp_path, study_file):
    """Torn temporary files and checkpoints, a clock that was two days ahead, other code, and none of Ray's files."""
    driver = Driver(tmp_path / "runs", "submit", study_file)
    assert driver.wait_for(lambda: trained(tmp_path / "runs" / "crash"))
    driver.kill()
    time.sleep(1)  # its workers notice
    before = rows_of(tmp_path / "runs" / "crash")
    root = tmp_path / "another machine" / "runs"
    root.parent.mkdir()
    shutil.move(tmp_path / "runs", root)
    folder = root / "crash"
    shutil.rmtree(folder / "tune")
    for table in ROW_TYPES:
        (folder / "records" / table / ".part-s0001-000099.parquet.tmp").write_bytes(b"PAR1 torn")
    (folder / ".study-2.yaml.tmp").write_text("name: cra")
    (folder / ".study.yaml-0").write_text("")
    torn = [path for path in (folder / "checkpoints").rglob("*") if path.is_file()]
    assert torn
    for path in torn:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def aged(row):
        row = replace(row, reported_at=row.reported_at + timedelta(days=2))
        if not isinstance(row, SessionRow):
            return row
        known = json.loads(row.environment)
        known["versions"]["torch"] = "2.0.0"
        return replace(row, environment=json.dumps(known))

    rewrite(folder, aged)
    said = resume(root, before).stderr
    assert "Trained again: epoch" in said  # the checkpoints were of no use
    assert "Since session s0001 this has changed, and is on record: torch 2.0.0 -> " in said
    sessions = {row.session: json.loads(row.environment) for row in rows_of(folder) if isinstance(row, SessionRow)}
    assert list(sessions) == ["s0001", "s0002"]
    assert sessions["s0002"]["versions"]["torch"] != "2.0.0"
    shown = json.loads(thermotune(root, "report", "crash", "--format", "json").stdout)
    assert 0 <= shown["time"]["wall_s"] < 200
    assert not (tmp_path / "runs" / "crash").exists()


def test_ray_tune_s_files_deleted_while_it_runs_cost_nothing_on_record(tmp_path, study_file):
    root = tmp_path / "runs"
    driver = Driver(root, "submit", study_file)
    assert driver.wait_for(lambda: trained(root / "crash"))
    shutil.rmtree(root / "crash" / "tune")
    before = rows_of(root / "crash")
    driver.process.wait(timeout=120)
    resume(root, before)
