"""Questions to a study's records: DuckDB views over a snapshot of them, and typed answers for reports and mirrors.

Views: ``trials`` (one row a trial: what it is, where it stands), ``epochs`` (visible rows only: the attempt rule of
``schema``), ``epoch_means`` (mean, min and max over lanes), ``decisions``, ``sessions``. Times are UTC without a
zone, because DuckDB wants an extra package for zones.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

from results.facts import StudyFacts, load_facts
from results.lock import Holder, holder
from results.schema import METRICS, Stage, StudyState, TrialState
from results.store import read_table

_VIEWS = """
create view epochs as
with starts as (
    select trial, attempt, min(attempt_start) as start from all_epochs group by all
), cuts as (
    select trial, attempt, min(start) over (
        partition by trial order by attempt rows between 1 following and unbounded following
    ) as cut
    from starts
)
select e.* replace (make_timestamp(epoch_us(reported_at)) as reported_at)
from all_epochs e join cuts using (trial, attempt)
where cut is null or epoch <= cut
qualify row_number() over (partition by trial, lane, epoch order by attempt desc, seq desc) = 1;

create view epoch_means as
select trial, arm, stage, epoch, max(attempt) as attempt, count(*) as lanes, sum(epoch_time_s) as epoch_time_s,
       max(reported_at) as reported_at, {means}
from epochs group by trial, arm, stage, epoch;

create view decisions as
select * replace (make_timestamp(epoch_us(reported_at)) as reported_at) from all_decisions;

create view sessions as
with latest as (select session, max(reported_at) as last_row from (
    select session, reported_at from all_trials union all by name
    select session, reported_at from all_epochs union all by name
    select session, reported_at from all_decisions union all by name
    select session, reported_at from all_sessions
) group by session)
select session, arg_max(state, seq) as state, max(seq) as seq,
       make_timestamp(epoch_us(min(reported_at))) as started_at,
       case when count(*) > 1 then make_timestamp(epoch_us(max(reported_at))) end as ended_at,
       make_timestamp(epoch_us(any_value(last_row))) as last_row_at,
       any_value(host) as host, any_value(pid) as pid, any_value(slots) as slots, any_value(command) as command,
       any_value(environment) as environment, arg_max(reason, seq) as reason
from all_sessions join latest using (session) group by session;

create view trials as
with first as (select * from all_trials qualify row_number() over (partition by trial order by seq) = 1),
last as (select * from all_trials qualify row_number() over (partition by trial order by seq desc) = 1),
times as (
    select trial, min(reported_at) filter (state = 'RUNNING') as started_at from all_trials group by trial
),
trained as (
    select trial, max(epoch) as epoch, arg_max("{metric}", epoch) as last_value, avg(epoch_time_s) as mean_epoch_time_s
    from epoch_means group by trial
),
spent as (select trial, sum(epoch_time_s) as train_time_s from all_epochs group by trial)
select trial, first.arm, first.stage, first.number, last.state, last.attempt,
       coalesce(trained.epoch, last.epochs, 0)::integer as epochs,
       last.value, trained.last_value, first.source, first.seeds, first.coordinates, first.params, first.recipe,
       last.reason, last.error,
       make_timestamp(epoch_us(first.reported_at)) as created_at,
       make_timestamp(epoch_us(times.started_at)) as started_at,
       case when last.state in ({final}) then make_timestamp(epoch_us(last.reported_at)) end as ended_at,
       trained.mean_epoch_time_s, coalesce(spent.train_time_s, 0) as train_time_s, first.seq{columns}
from first join last using (trial) join times using (trial)
left join trained using (trial) left join spent using (trial)
order by first.seq;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A trial as it stands."""

    trial: str
    """``t0001``, ..."""
    arm: str
    """Its arm; of a teacher, its name."""
    stage: Stage
    """A teacher, explored, or confirmed on a fresh seed."""
    number: int
    """0-based order within arm and stage."""
    state: TrialState
    """Where it stands."""
    attempt: int
    """Starts so far."""
    epochs: int
    """Visible epochs trained."""
    value: float | None
    """The study's metric when the trial ended; None before, and where the trial has none."""
    last_value: float | None
    """The study's metric at the last visible epoch."""
    source: str | None
    """Confirm only: the explored trial it repeats."""
    seeds: tuple[int, ...]
    """Seed of each lane."""
    coordinates: Mapping[str, object]
    """What the sampler chose, by dotted path."""
    params: Mapping[str, object]
    """The values these give in the recipe."""
    recipe: Mapping[str, Any]  # Any: the whole nested recipe
    """The whole resolved recipe."""
    reason: str | None
    """Why it ended."""
    error: str | None
    """Traceback of a failed trial."""
    created_at: datetime
    """When it was proposed; UTC."""
    started_at: datetime | None
    """When it first ran; UTC."""
    ended_at: datetime | None
    """When it ended; UTC."""
    mean_epoch_time_s: float | None
    """Mean time of a visible epoch, lanes added up; s."""
    train_time_s: float
    """Time of all epochs of all attempts and lanes; s."""

    def setting(self, path: str) -> object:
        """The recipe's value at a dotted path, whether searched, fixed by the arm or default; None if there is none."""
        if path in self.params:
            return self.params[path]
        value: object = self.recipe
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochMean:
    """An epoch of a trial, mean over its lanes."""

    trial: str
    """The trial."""
    epoch: int
    """1-based epoch."""
    attempt: int
    """Attempt that trained it."""
    lanes: int
    """Lanes that reported it."""
    reported_at: datetime
    """When the last lane's row came; UTC."""
    epoch_time_s: float
    """Time of the epoch, lanes added up; s."""
    metrics: Mapping[str, float]
    """Measured means by metric name; may be NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A driver session."""

    session: str
    """``s0001``, ..."""
    state: StudyState
    """State in its last row; RUNNING if it never wrote its end."""
    started_at: datetime
    """When it took the study up; UTC."""
    ended_at: datetime | None
    """When it put the study down; None if it never did."""
    last_row_at: datetime
    """When its last row of any table came; UTC."""
    host: str
    """Host of the driver."""
    pid: int
    """Process of the driver."""
    slots: int
    """Trials that may run at once."""
    command: str
    """Command line."""
    environment: Mapping[str, Any]  # Any: a JSON document
    """Commit, versions, hardware."""
    reason: str | None
    """Why it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What became of the trials of an arm that reached a rung."""

    arm: str
    """The arm."""
    epoch: int
    """Epoch of the rung."""
    reached: int
    """Trials that were judged there."""
    stopped: int
    """Of these, trials that were stopped there."""


class StudyView:
    """A snapshot of a study's records, and the questions asked of it.

    The snapshot is taken when the view is made; later rows need a new view. It is consistent: a trial in a final
    state has all its epochs.
    """

    def __init__(self, study_dir: Path) -> None:
        """Reads facts and records (some 30 ms for 100 trials of 27 epochs in one file a table).

        Args:
            study_dir: Folder of the study.

        Raises:
            StudyNotFound: There is no study in the folder.
            StudyUnreadable: Its ``study.yaml`` lacks facts.
            RecordsUnreadable: A file among its records is damaged, foreign or newer.
        """
        self.study_dir = Path(study_dir)
        self.facts: StudyFacts = load_facts(self.study_dir)
        self.holder: Holder | None = holder(self.study_dir)
        self._connection = duckdb.connect(":memory:")
        for table in ("trials", "decisions", "epochs", "sessions"):  # against the order of writing, see store
            self._connection.register(f"all_{table}", read_table(self.study_dir, table))
        metric = self.facts.metric if self.facts.metric in METRICS else "val/accuracy"
        means = ", ".join(
            f'avg("{name}") as "{name}", min("{name}") as "{name}/min", max("{name}") as "{name}/max"'
            for name in METRICS
        )
        final = ", ".join(f"'{state}'" for state in TrialState if state.is_final)
        self._connection.execute(
            _VIEWS.format(means=means, metric=metric, final=final, columns=self._setting_columns())
        )

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:  # Any: what SQL selects
        """Result of a query over the views.

        Args:
            sql: One DuckDB statement.
            parameters: Values for its ``?``.

        Returns:
            The rows.
        """
        return self._connection.execute(sql, list(parameters)).fetchall()

    @property
    def state(self) -> StudyState:
        """Where the study stands."""
        if self.holder is not None:
            return StudyState.RUNNING
        if not self.sessions:
            return StudyState.NEW
        last = self.sessions[-1].state
        return StudyState.COMPLETED if last is StudyState.COMPLETED else StudyState.INTERRUPTED

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in order of proposal."""
        names = [
            "trial", "arm", "stage", "number", "state", "attempt", "epochs", "value", "last_value", "source", "seeds",
            "coordinates", "params", "recipe", "reason", "error", "created_at", "started_at", "ended_at",
            "mean_epoch_time_s", "train_time_s",
        ]  # fmt: skip
        trials = []
        for row in self.rows(f"select {', '.join(names)} from trials order by seq"):
            values = dict(zip(names, row, strict=True))
            values |= {
                "stage": Stage(values["stage"]),
                "state": TrialState(values["state"]),
                "seeds": tuple(json.loads(values["seeds"] or "[]")),
                **{name: json.loads(values[name] or "{}") for name in ("coordinates", "params", "recipe")},
                **{name: _utc(values[name]) for name in ("created_at", "started_at", "ended_at")},
            }
            trials.append(Trial(**values))
        return tuple(trials)

    def length_of(self, trial: Trial) -> int:
        """Epochs of a trial that is trained to the end; a teacher has a length of its own."""
        teacher = self.facts.teachers.get(trial.arm) if trial.stage is Stage.TEACH else None
        return teacher.epochs if teacher else int(trial.recipe.get("epochs") or self.facts.epochs)

    def measured(self, trial: str, metric: str, *, last: bool = False) -> float | None:
        """A metric that is written in some epochs only: its first finite value, or its last.

        Args:
            trial: Name of the trial.
            metric: Name of the metric.
            last: Whether the latest value is asked for.

        Returns:
            The mean over lanes; None where it was never measured.
        """
        values = [mean.metrics.get(metric) for mean in self.epoch_means.get(trial, ())]
        finite = [value for value in values if value is not None and math.isfinite(value)]
        return finite[-1 if last else 0] if finite else None

    @cached_property
    def epoch_means(self) -> Mapping[str, tuple[EpochMean, ...]]:
        """Visible epochs of every trial that has some, in order."""
        names = list(METRICS)
        selected = ", ".join(f'"{name}"' for name in names)
        curves: dict[str, list[EpochMean]] = {}
        for trial, epoch, attempt, lanes, reported_at, time_s, *values in self.rows(
            f"select trial, epoch, attempt, lanes, reported_at, epoch_time_s, {selected} from epoch_means order by all"
        ):
            curves.setdefault(trial, []).append(
                EpochMean(
                    trial=trial,
                    epoch=epoch,
                    attempt=attempt,
                    lanes=lanes,
                    reported_at=reported_at.replace(tzinfo=UTC),
                    epoch_time_s=time_s,
                    metrics={n: v for n, v in zip(names, values, strict=True) if v is not None},
                )
            )
        return {trial: tuple(curve) for trial, curve in curves.items()}

    @cached_property
    def sessions(self) -> tuple[Session, ...]:
        """Driver sessions in order."""
        names = ["session", "state", "started_at", "ended_at", "last_row_at", "host", "pid", "slots", "command"]
        sessions = []
        for *row, environment, reason in self.rows(
            f"select {', '.join(names)}, environment, reason from sessions order by seq"
        ):
            values = dict(zip(names, row, strict=True))
            values |= {name: _utc(values[name]) for name in ("started_at", "ended_at", "last_row_at")}
            values["state"] = StudyState(values["state"])
            sessions.append(Session(**values, environment=json.loads(environment or "{}"), reason=reason))
        return tuple(sessions)

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """Every rung of every arm at which a trial was judged, by arm and epoch."""
        return tuple(
            Rung(arm=arm, epoch=epoch, reached=reached, stopped=stopped)
            for arm, epoch, reached, stopped in self.rows(
                "select arm, rung, count(distinct trial), count(distinct trial) filter (verdict = 'STOP') "
                "from decisions group by all order by all"
            )
        )

    def _setting_columns(self) -> str:
        """SQL of one column for each searched or derived path: a number where all values are numbers, else text."""
        columns = []
        for path in (*self.facts.space, *self.facts.derived):
            if not re.fullmatch(r"[\w.-]+", path):
                continue  # only a damaged study file has such a path
            text = (
                f"coalesce(json_extract_string(first.params, '$.\"{path}\"'), "
                f"json_extract_string(first.recipe, '$.{path}'))"
            )
            odd = self.rows(
                f"select count(*) from all_trials first where {text} is not null and try_cast({text} as double) is null"
            )
            columns.append(f', {text if odd[0][0] else f"try_cast({text} as double)"} as "{path}"')
        return "".join(columns)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
