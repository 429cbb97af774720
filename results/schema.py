"""The tables of the records: columns, types, units. The one definition that writers and readers share.

A study's truth is four append-only tables of immutable rows. Nothing is ever updated: a later row supersedes an
earlier one by rules that are written down here and nowhere else.

* ``trials``: one row for every change of a trial's state. The row with the highest ``seq`` is the trial's state, but
  the first final one stands; what describes the trial (coordinates, recipe, seeds) stands in its first row, the one in
  state PENDING. A later row in state PENDING with a ``setback`` says that an attempt was given up, and why.
* ``epochs``: one row for every epoch of every lane. After a restart a trial repeats epochs: a row is visible if no
  later attempt of its trial started below its epoch (``attempt_start < epoch``).
* ``decisions``: one row for every verdict of the stopping rule, with all that it was based on. A trial meets a rung
  once: the first verdict there stands, but for a PAUSE that a later PROMOTE lifts.
* ``sessions``: one row when a driver takes the study up and one when it puts it down. Between them, one row in state
  RUNNING with a ``reason`` for everything that happened to the session as a whole, such as the loss of a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

import pyarrow as pa

SCHEMA_VERSION = 1
"""Written into every part file; a reader refuses a higher one than it knows."""


LONGEST_GAP_S = 3600.0
"""Between two rows of a killed session at most so long is counted: more means that somebody set the clock; seconds."""


class TrialState(StrEnum):
    """Where a trial stands. The last four are final; PAUSED waits at a rung for the stopping rule to promote it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    PRUNED = "PRUNED"
    DIVERGED = "DIVERGED"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """Whether a trial in this state will never run again."""
        return self not in (TrialState.PENDING, TrialState.RUNNING, TrialState.PAUSED)


class StudyState(StrEnum):
    """Where a study stands. RUNNING is only true while a live driver holds the lock."""

    NEW = "NEW"
    RUNNING = "RUNNING"
    INTERRUPTED = "INTERRUPTED"
    COMPLETED = "COMPLETED"


class Stage(StrEnum):
    """Why a trial is run: to have a teacher, to look for good settings, or to measure chosen ones on fresh seeds.

    A trial of the stage teach carries the teacher's name in the column ``arm``.
    """

    TEACH = "teach"
    EXPLORE = "explore"
    CONFIRM = "confirm"


class Verdict(StrEnum):
    """What the stopping rule says to a trial that reached a rung.

    AUDIT: it would be stopped, but runs on, so that the rule itself can be judged. PAUSE: it waits at the rung, to be
    promoted later (PROMOTE) or never.
    """

    CONTINUE = "CONTINUE"
    STOP = "STOP"
    AUDIT = "AUDIT"
    PAUSE = "PAUSE"
    PROMOTE = "PROMOTE"


class Setback(StrEnum):
    """Why an attempt at a trial was given up.

    CRASH: its worker raised an exception, or its process died; ``resources.max_failures`` of these are allowed. MOVE:
    its node was lost or taken away, which is not the trial's fault unless it happens again and again. MEMORY: its
    device had too little memory.
    """

    CRASH = "CRASH"
    MOVE = "MOVE"
    MEMORY = "MEMORY"


_UTC_US = pa.timestamp("us", tz="UTC")

METRICS: Mapping[str, str] = {
    "train/loss": "mean training loss over the epoch's samples, as they were when trained on; nats",
    "train/accuracy": "share of training samples right while they were trained on; 0..1",
    "val/loss": "cross-entropy of the predicted probabilities on the validation split; nats",
    "val/accuracy": "share of the validation split right; 0..1",
    "test/loss": "as val/loss, on the test split; written only by the stage confirm, in the last epoch",
    "test/accuracy": "as val/accuracy, on the test split; written only by the stage confirm, in the last epoch",
    "optimizer/lr": "learning rate at the epoch's last step",
    "train/distilled_steps": "share of steps in which both gradients agreed (loss.agreement); 0..1",
    "val/ece": "expected calibration error of the predicted probabilities, 15 bins; last epoch; 0..1",
    "val/refit_temperature": "temperature that lowers val/loss most, fitted after training; last epoch",
    "val/loss_refit": "val/loss at that temperature (fitted on the same split); last epoch; nats",
    "val/ece_refit": "val/ece at that temperature; last epoch; 0..1",
    "test/ece": "as val/ece, on the test split; stage confirm, last epoch",
    "test/loss_refit": "test/loss at the temperature fitted on the validation split; stage confirm, last epoch; nats",
    "test/ece_refit": "test/ece at that temperature; stage confirm, last epoch; 0..1",
    "val/logit_norm": "mean over samples of the norm of the logits (before any temperature); last epoch",
    "val/logit_mean": "mean over samples of the size of a sample's mean logit; last epoch",
    "val/logit_max": "mean over samples of the size of the largest logit; last epoch",
    "val/logit_variance": "mean over samples of the variance of a sample's logits; last epoch",
    "val/stationary_threshold": "mean probability that tampering leaves as it is; last epoch; 0..1",
    "teacher/target_logit": "teacher's logit of the true class, mean over the training split; first epoch",
    "teacher/wrong_logit_std": "standard deviation of its wrong logits (ddof 0), likewise",
    "teacher/target_probability": "its probability of the true class at tau1 and tau2, likewise",
    "teacher/derived_average": "DA: mean of its probabilities of wrong classes at tau1 and tau2, likewise",
    "teacher/derived_variance": "DV: variance of these (ddof 0), likewise",
    "teacher/derived_std": "standard deviation of these (ddof 0), likewise",
    "teacher/inherent_variance": "IV: variance (ddof 0) of softmax(wrong logits / tau2), likewise",
    "teacher/flip_rate": "share of samples whose most probable class tau1 and tau2 change, likewise; 0..1",
    "probe/logit_norm_start": "||Z0||: norm of a sample's beta * logits before the first step, rms over the probe",
    "probe/logit_norm": "the same after the epoch",
    "probe/raw_logit_norm": "the same of the logits without beta",
    "theory/eta_tilde": "lr * beta^2, with the peak learning rate",
    "theory/tau_z": "predicted: learning time in which the logits change by their norm; sum of lr",
    "theory/tau_z_measured": "learning time in which they did; null until then; sum of lr",
    "theory/tau_nl": "predicted: learning time in which the tangent kernel changes by its norm; sum of lr",
    "theory/tau_nl_measured": "ten times that in which it changed by a tenth; null until then; sum of lr",
}
"""Metric columns of the table ``epochs``, with meaning and unit. All float64, null where not measured."""


def _column(arrow: pa.DataType, doc: str, **default: Any) -> Any:  # Any: dataclasses.field is typed so
    return field(metadata={"arrow": arrow, "doc": doc}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row carries: where it belongs and when it came."""

    table: ClassVar[str]

    study: str = _column(pa.string(), "name of the study")
    session: str = _column(pa.string(), "driver session that wrote the row: s0001, s0002, ...")
    seq: int = _column(pa.int64(), "order of arrival in the study, over all tables and sessions; starts at 1")
    reported_at: datetime = _column(_UTC_US, "when the driver received it")  # noqa: RUF009


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow(Row):
    """A change of a trial's state."""

    table: ClassVar[str] = "trials"

    trial: str = _column(pa.string(), "t0001, t0002, ...: order of proposal over all arms and stages")
    arm: str = _column(pa.string(), "arm of the study; stage teach: the teacher's name")
    stage: str = _column(pa.string(), "teach, explore or confirm")
    number: int = _column(pa.int32(), "0-based order of proposal within arm and stage")
    state: str = _column(pa.string(), "a TrialState")
    attempt: int = _column(pa.int32(), "starts so far; 0 while PENDING")
    coordinates: str | None = _column(pa.string(), "JSON: what the sampler chose, by dotted path", default=None)
    params: str | None = _column(pa.string(), "JSON: the values these give in the recipe", default=None)
    recipe: str | None = _column(pa.string(), "JSON: the whole resolved recipe", default=None)
    seeds: str | None = _column(pa.string(), "JSON list: the seed of each lane", default=None)
    source: str | None = _column(pa.string(), "confirm only: the explored trial whose recipe it repeats", default=None)
    origin: str | None = _column(pa.string(), "explore only: why these coordinates, in words", default=None)
    audited: int | None = _column(
        pa.int32(), "explore only: 1 if the trial runs on where the stopping rule would end it, else 0", default=None
    )
    epochs: int | None = _column(pa.int32(), "final states, and with a setback: epochs trained", default=None)
    value: float | None = _column(pa.float64(), "final states: the study's metric, mean over lanes", default=None)
    reason: str | None = _column(
        pa.string(), "final states: why it ended; with a setback: what happened; in words", default=None
    )
    error: str | None = _column(pa.string(), "with a setback: the traceback, or what Ray said", default=None)
    setback: str | None = _column(
        pa.string(),
        "a Setback: why the attempt was given up; state PENDING if the trial goes on, else FAILED",
        default=None,
    )
    gpu_share: float | None = _column(
        pa.float64(), "GPUs that the attempt was given, at most 1; null: none", default=None
    )
    gpu_peak_bytes: int | None = _column(
        pa.int64(), "when it pauses, ends or is given up: most memory that it took of its GPU; B", default=None
    )
    gpu_total_bytes: int | None = _column(pa.int64(), "likewise: memory of that GPU; B", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow(Row):
    """One epoch of one lane."""

    table: ClassVar[str] = "epochs"

    trial: str = _column(pa.string(), "trial")
    arm: str = _column(pa.string(), "arm of the study; stage teach: the teacher's name")
    stage: str = _column(pa.string(), "teach, explore or confirm")
    lane: int = _column(pa.int32(), "0-based lane of the trial")
    seed: int = _column(pa.int64(), "seed of the lane")
    epoch: int = _column(pa.int32(), "1-based epoch")
    attempt: int = _column(pa.int32(), "1-based attempt of the trial that trained it")
    attempt_start: int = _column(pa.int32(), "epoch that this attempt started from; 0: from scratch")
    epoch_time_s: float = _column(pa.float64(), "lane's share of the epoch's wall time, evaluation included; s")
    metrics: dict[str, float] = field(default_factory=dict)
    """Measured values by name, all of them keys of METRICS; each becomes a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow(Row):
    """A verdict of the stopping rule."""

    table: ClassVar[str] = "decisions"

    trial: str = _column(pa.string(), "trial")
    arm: str = _column(pa.string(), "arm of the study; rungs are the arm's own")
    rung: int = _column(pa.int32(), "epoch of the rung")
    value: float = _column(pa.float64(), "the study's metric at the rung, mean over lanes")
    cutoff: float | None = _column(pa.float64(), "the value needed to go on; null: too few to compare", default=None)
    rank: int = _column(pa.int32(), "1-based rank of the value among the n, ties share the better rank")
    n: int = _column(pa.int32(), "trials at the rung so far, this one included")
    verdict: str = _column(pa.string(), "a Verdict; PROMOTE follows an earlier PAUSE at the same rung")
    bracket: int | None = _column(pa.int32(), "Hyperband: bracket whose trials are compared; else 0", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow(Row):
    """A driver takes the study up (state RUNNING), tells of an event (RUNNING with a reason) or puts the study down."""

    table: ClassVar[str] = "sessions"

    state: str = _column(pa.string(), "a StudyState: RUNNING at the start, INTERRUPTED or COMPLETED at the end")
    host: str = _column(pa.string(), "host of the driver")
    pid: int = _column(pa.int64(), "process of the driver")
    slots: int = _column(pa.int32(), "trials that may run at once")
    command: str = _column(pa.string(), "command line")
    environment: str = _column(pa.string(), "JSON: git commit, versions, hardware")
    reason: str | None = _column(pa.string(), "at its end: why; while RUNNING: an event, in words", default=None)
    amendment: int | None = _column(
        pa.int32(), "study file that it went by: 1 for study.yaml, n for study-n.yaml", default=None
    )
    wall_time_s: float | None = _column(
        pa.float64(), "at its end: how long it took, by a clock that nobody can set; s", default=None
    )


AnyRow = TrialRow | EpochRow | DecisionRow | SessionRow
ROW_TYPES: Mapping[str, type[AnyRow]] = {t.table: t for t in (TrialRow, EpochRow, DecisionRow, SessionRow)}


def arrow_schema(table: str) -> pa.Schema:
    """The columns of a table, with their meaning as field metadata.

    Args:
        table: ``trials``, ``epochs``, ``decisions`` or ``sessions``.

    Returns:
        The schema; metric columns of ``epochs`` come last.

    Raises:
        KeyError: There is no such table.
    """
    columns = [
        pa.field(
            f.name,
            f.metadata["arrow"],
            nullable=f.default is not MISSING,
            metadata={"doc": f.metadata["doc"]},
        )
        for f in fields(ROW_TYPES[table])
        if "arrow" in f.metadata
    ]
    if table == EpochRow.table:
        columns += [pa.field(name, pa.float64(), metadata={"doc": doc}) for name, doc in METRICS.items()]
    return pa.schema(columns, metadata={"thermotune_schema": str(SCHEMA_VERSION)})


def to_record(row: AnyRow) -> dict[str, object]:
    """The row as one flat mapping from column to value."""
    record = {f.name: getattr(row, f.name) for f in fields(row) if "arrow" in f.metadata}
    return {**record, **row.metrics} if isinstance(row, EpochRow) else record


def from_record(table: str, record: Mapping[str, Any]) -> AnyRow:
    """The row that ``to_record`` made the mapping from; unknown columns are left out."""
    row_type = ROW_TYPES[table]
    values = {f.name: record[f.name] for f in fields(row_type) if "arrow" in f.metadata and f.name in record}
    if row_type is EpochRow:
        values["metrics"] = {name: record[name] for name in METRICS if record.get(name) is not None}
    return row_type(**values)
