"""Rows for the tests of the store, which tell apart by ``seq``."""

from __future__ import annotations

from datetime import UTC, datetime

from results.schema import DecisionRow, EpochRow, SessionRow, TrialRow
from results.store import RecordWriter, read_rows

NOW = datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)


def common(seq, session="s0001"):
    return {"study": "demo", "session": session, "seq": seq, "reported_at": NOW}


def epoch(seq, *, trial="t0001", number=None, session="s0001", metrics=None):
    return EpochRow(
        **common(seq, session),
        trial=trial,
        arm="search",
        stage="explore",
        lane=0,
        seed=2**40,
        epoch=number or seq,
        attempt=1,
        attempt_start=0,
        epoch_time_s=0.5,
        metrics={"val/accuracy": 0.9} if metrics is None else metrics,
    )


def trial(seq, state="PENDING", **values):
    return TrialRow(
        **common(seq), trial="t0001", arm="search", stage="explore", number=0, state=state, attempt=1, **values
    )


def session_row(seq):
    return SessionRow(
        **common(seq), state="RUNNING", host="h", pid=2**33, slots=4, command="c", environment="{}", reason="\u00e9 |\n"
    )


def decision(seq):
    return DecisionRow(
        **common(seq), trial="t0001", arm="search", rung=1, value=0.5, cutoff=None, rank=1, n=1, verdict="CONTINUE"
    )


def fill(folder, parts=5):
    writer = RecordWriter(folder, session="s0001")
    for seq in range(1, parts + 1):
        writer.append(epoch(2 * seq - 1))
        writer.append(trial(2 * seq))
        writer.flush()
    writer.close()
    return read_rows(folder)
