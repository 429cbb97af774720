"""What the views hold, column by column, in words and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from results.encoding import columns
from results.query.database import Database
from results.schema import METRICS, TrialState

VIEWS: Mapping[str, str] = {
    "studies": "one row a study: what it is, how far it is, its best",
    "best": "one row an arm: its best configuration, confirmed on fresh seeds or, until then, of the search alone",
    "trials": "one row a trial: what it is, where it stands",
    "epochs": "one row an epoch and lane, without those that a restart made void",
    "epoch_means": "one row an epoch of a trial: mean, least and greatest value over its lanes",
    "decisions": "one row a verdict of the stopping rule that stands, and one a promotion",
    "sessions": "one row a driver session",
    "repeats": "one row a run of epochs that a restart made void and trained again",
}
"""The views, with what a row is."""

_STUDY = "name of the study's folder"
_UTC = "; UTC"
_SETTING = "value of this path in the recipe, searched or fixed; null where the recipe has none"

_OWN: Mapping[str, Mapping[str, str]] = {
    "studies": {
        "id": "32 hex digits, the study's own wherever it is copied",
        "state": "NEW, RUNNING, INTERRUPTED or COMPLETED",
        "driver": "who works on it; null if nobody does",
        "metric": "what is searched for",
        "mode": "max or min: which way it is better",
        "temperature": "path that the report is about",
        "sampler": "sampler in words",
        "stopping": "stopping rule in words",
        "reference": "arm that others are compared with",
        "epochs": "length of a full trial",
        "amendment": "newest study file: 1 for study.yaml, n for study-n.yaml",
        "trials_planned": "trials to explore in all arms",
        "trials_ended": "explored trials in a final state",
        **{f"trials_{state.lower()}": f"explored trials in state {state}" for state in TrialState},
        "confirm_planned": "runs on fresh seeds; 0 until the trials for it are chosen",
        "confirm_ended": "of these, runs that ended",
        "teachers_planned": "teachers that the study needs",
        "teachers_trained": "of these, teachers that are there",
        "teachers_lost": "names of teachers that diverged or failed",
        "resumable": "whether thermotune resume would go on with it",
        "sessions": "driver sessions",
        "started_at": "when the first session took it up" + _UTC,
        "last_row_at": "when the last row of any table came" + _UTC,
        "last_end": "why the last session ended; null while one runs",
        "wall_hours": "all driver sessions; hours",
        "best_trial": "explored trial of the best configuration",
        "best_arm": "its arm",
        "best_value": "its value of the metric: see best.value",
        "best_confirmed": "whether fresh seeds confirm that value",
        "folder": "where the study lies",
    },
    "best": {
        "is_reference": "whether the arm is the one that others are compared with",
        "leads": "whether it is the best of all arms of the study",
        "trial": "explored trial that it is",
        "source": "confirmed: the value is a mean over fresh seeds; search: over the seeds of the search, which "
        "looks better than it is",
        "metric": "what is searched for",
        "mode": "max or min",
        "value": "the metric at the last epoch, mean over the seeds",
        "seeds": "seeds that the mean is over",
        "test_value": "the metric on the test split, mean over the same seeds; null unless confirmed",
        "params": "JSON: the searched values, by dotted path",
    },
    "trials": {
        "restarts": "starts after a worker or driver was lost; going on after a pause is none",
        "crashes": "starts that ended because the worker raised an exception or died",
        "moves": "starts that ended because the node was lost or taken away",
        "attempt": "starts so far",
        "reason": "why it ended, in words; null before",
        "error": "FAILED: the traceback",
        "gpu_share": "GPUs that its last start was given, at most 1; null: none",
        "gpu_peak_bytes": "most memory that it took of its GPU; B",
        "gpu_total_bytes": "memory of that GPU; B",
        "epochs": "visible epochs trained",
        "last_value": "the study's metric at the last visible epoch, mean over lanes",
        "audited": "whether it runs on where the stopping rule would end it",
        "created_at": "when it was proposed" + _UTC,
        "started_at": "when it first ran" + _UTC,
        "ended_at": "when it ended; null before" + _UTC,
        "mean_epoch_time_s": "mean time of a visible epoch, lanes added up; s",
        "train_time_s": "time of all epochs of all attempts and lanes; s",
        "seq": "order of proposal",
    },
    "epoch_means": {
        "attempt": "attempt that trained it",
        "lanes": "lanes that reported it",
        "epoch_time_s": "time of the epoch, lanes added up; s",
        "reported_at": "when the last lane's row came" + _UTC,
        **{f"{name}/{end}": f"{word} over the lanes" for name in METRICS for end, word in
           (("min", "least"), ("max", "greatest"))},
        **{name: f"{doc}; mean over the lanes" for name, doc in METRICS.items()},
    },
    "sessions": {
        "state": "state in its last row: RUNNING if it never wrote its end",
        "seq": "order",
        "started_at": "when it took the study up" + _UTC,
        "ended_at": "when it put the study down; null if it never did" + _UTC,
        "last_row_at": "when its last row of any table came" + _UTC,
        "wall_time_s": "how long it took; of one that never said so, by the times of its rows; s",
    },
    "repeats": {
        "session": "session that trained them again",
        "trained_in": "sessions that had trained them before",
        "from_epoch": "first of these epochs",
        "to_epoch": "last of them",
        "wasted_s": "time of what was trained before, lanes added up; s",
        "seq": "order",
    },
}  # fmt: skip

_TABLE = {"studies": "trials", "best": "trials", "epoch_means": "epochs", "repeats": "trials"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a view."""

    view: str
    name: str
    type: str
    """Type in DuckDB."""
    meaning: str
    """What it holds, with its unit."""


def describe(database: Database, view: str | None = None) -> tuple[Column, ...]:
    """The columns of the views.

    Args:
        database: Whose views; searched values are columns of ``trials`` and ``best``.
        view: One of ``VIEWS``; all of them if left out.
    """
    return tuple(column for name in ([view] if view else VIEWS) for column in _described(database, name))


def _described(database: Database, view: str) -> Iterator[Column]:
    table = columns(_TABLE.get(view, view))
    known = {field.name: field.metadata[b"doc"].decode() for field in table if field.metadata}
    own = {"study": _STUDY, **_OWN.get(view, {})}
    for name, kind, *_ in database.rows(f"describe {view}"):
        utc = _UTC if name == "reported_at" and name not in own else ""
        yield Column(view=view, name=name, type=kind, meaning=own.get(name, known.get(name, _SETTING)) + utc)
