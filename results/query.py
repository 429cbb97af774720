"""Questions to a study's records: DuckDB views over a snapshot of them, and typed answers for reports and mirrors.

Views: ``trials`` (one row a trial: what it is, where it stands), ``epochs`` (visible rows only: the attempt rule of
``schema``), ``epoch_means`` (mean, min and max over lanes), ``decisions`` (verdicts that stand, and promotions),
``sessions``, ``repeats`` (epochs that were trained again). Times are UTC without a zone, because DuckDB wants an extra
package for zones.
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

from results.facts import Change, StudyFacts, changes, load_facts
from results.formats import count
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
select * replace (make_timestamp(epoch_us(reported_at)) as reported_at) from all_decisions
qualify verdict = 'PROMOTE' or row_number() over (partition by trial, rung order by seq) = 1;

create view repeats as
with trained as (
    select *, lead(attempt) over again as next_attempt, lead(session) over again as next_session
    from all_epochs window again as (partition by trial, lane, epoch order by attempt, seq)
)
select trial, next_session as session, session as trained_in, min(epoch) as from_epoch, max(epoch) as to_epoch,
       count(distinct (attempt, epoch)) as epochs, count(distinct next_attempt) as attempts,
       sum(epoch_time_s) as wasted_s, min(seq) as seq
from trained where next_session is not null group by trial, next_session, session;

create view sessions as
with rows as (
    select session, seq, reported_at from all_trials union all by name
    select session, seq, reported_at from all_epochs union all by name
    select session, seq, reported_at from all_decisions union all by name
    select session, seq, reported_at from all_sessions
), steps as (
    select session, reported_at,
           epoch_us(reported_at) - lag(epoch_us(reported_at)) over (partition by session order by seq) as us
    from rows
), latest as (
    select session, max(reported_at) as last_row, coalesce(sum(greatest(us, 0)), 0) / 1e6 as between_rows_s
    from steps group by session
)
select session, arg_max(state, seq) as state, max(seq) as seq,
       make_timestamp(epoch_us(min(reported_at))) as started_at,
       case when count(*) > 1 then make_timestamp(epoch_us(max(reported_at))) end as ended_at,
       make_timestamp(epoch_us(any_value(last_row))) as last_row_at,
       any_value(host) as host, any_value(pid) as pid, any_value(slots) as slots, any_value(command) as command,
       any_value(environment) as environment, arg_max(reason, seq) as reason, any_value(amendment) as amendment,
       coalesce(any_value(wall_time_s), any_value(between_rows_s)) as wall_time_s
from all_sessions join latest using (session) group by session;

create view trials as
with first as (select * from all_trials qualify row_number() over (partition by trial order by seq) = 1),
last as (select * from all_trials qualify row_number() over (partition by trial order by seq desc) = 1),
times as (
    select trial, min(reported_at) filter (state = 'RUNNING') as started_at,
           count(*) filter (state = 'PAUSED') as pauses
    from all_trials group by trial
),
trained as (
    select trial, max(epoch) as epoch, arg_max("{metric}", epoch) as last_value, avg(epoch_time_s) as mean_epoch_time_s
    from epoch_means group by trial
),
spent as (select trial, sum(epoch_time_s) as train_time_s from all_epochs group by trial)
select trial, first.arm, first.stage, first.number, last.state, last.attempt,
       greatest(0, last.attempt - 1 - times.pauses + (last.state = 'PAUSED')::integer) as restarts,
       coalesce(trained.epoch, last.epochs, 0)::integer as epochs,
       last.value, trained.last_value, first.source, first.seeds, first.coordinates, first.params, first.recipe,
       first.origin, coalesce(first.audited = 1, false) as audited, last.reason, last.error,
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
    restarts: int
    """Starts after a worker or a driver was lost; going on after a pause is none."""
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
    origin: str | None
    """Explore only: why these coordinates, in words; None in older studies."""
    audited: bool
    """Whether it runs on where the stopping rule would end it."""
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
    amendment: int | None
    """Study file that it went by: 1 for ``study.yaml``, n for ``study-n.yaml``; None in older studies."""
    wall_time_s: float
    """How long it took, by a clock that nobody can set; of one that never said so, by the times of its rows; s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """A later study file, and who went by it first."""

    number: int
    """n of ``study-n.yaml``, from 2."""
    changes: tuple[Change, ...]
    """What differs from the file before."""
    session: str | None
    """The first driver session that went by it; None while none did, and in older studies."""
    since: datetime | None
    """When this session took the study up; UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Epochs of a trial that were trained once more, because the session or worker that trained them died."""

    trial: str
    """The trial."""
    session: str
    """The session that trained them again."""
    trained_in: str
    """The session that had trained them before; the same one where only the trial's worker died."""
    from_epoch: int
    """The first of these epochs."""
    to_epoch: int
    """The last of them."""
    epochs: int
    """How many there are; one that was repeated twice counts twice."""
    attempts: int
    """Starts of the trial that it took."""
    wasted_s: float
    """Time of what was trained before, lanes added up; s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What became of the trials of an arm that reached a rung, by the first verdict on each."""

    arm: str
    """The arm."""
    epoch: int
    """Epoch of the rung."""
    bracket: int | None
    """Hyperband's bracket; None for all of them together."""
    reached: int
    """Trials that were judged there."""
    stopped: int
    """Of these, trials that were stopped there."""
    audited: int
    """Trials that would have been stopped, but ran on for the audit."""
    paused: int
    """Trials that paused there and were not promoted yet, or never."""
    promoted: int
    """Trials that paused there and were promoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a study took of something that its budget limits."""

    what: str
    """``wall hours``, ``GPU hours`` or ``trials``."""
    used: float
    """So much, over all sessions."""
    limit: float
    """Of so much."""

    def __str__(self) -> str:
        used = f"{self.used:.2f}" if self.what.endswith("hours") else f"{self.used:g}"
        return f"{used} of {self.limit:g} {self.what} used"


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
            "trial", "arm", "stage", "number", "state", "attempt", "restarts", "epochs", "value", "last_value",
            "source", "seeds", "coordinates", "params", "recipe", "origin", "audited", "reason", "error",
            "created_at", "started_at", "ended_at", "mean_epoch_time_s", "train_time_s",
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
        names = [
            "session", "state", "started_at", "ended_at", "last_row_at", "host", "pid", "slots", "command",
            "environment", "reason", "amendment", "wall_time_s",
        ]  # fmt: skip
        sessions = []
        for row in self.rows(f"select {', '.join(names)} from sessions order by seq"):
            values = dict(zip(names, row, strict=True))
            values |= {name: _utc(values[name]) for name in ("started_at", "ended_at", "last_row_at")}
            values |= {
                "state": StudyState(values["state"]),
                "environment": json.loads(values["environment"] or "{}"),
            }
            sessions.append(Session(**values))
        return tuple(sessions)

    @cached_property
    def amendments(self) -> tuple[Amendment, ...]:
        """What was changed after the study began, in order."""
        found = []
        for number, changed in changes(self.study_dir).items():
            first = next((s for s in self.sessions if s.amendment == number), None)
            found.append(
                Amendment(
                    number=number,
                    changes=changed,
                    session=first.session if first else None,
                    since=first.started_at if first else None,
                )
            )
        return tuple(found)

    @cached_property
    def repeated(self) -> tuple[Repeat, ...]:
        """Epochs that were trained more than once, in the order in which they were first trained."""
        names = ["trial", "session", "trained_in", "from_epoch", "to_epoch", "epochs", "attempts", "wasted_s"]
        found = self.rows(f"select {', '.join(names)} from repeats order by seq")
        return tuple(Repeat(**dict(zip(names, row, strict=True))) for row in found)

    @property
    def repeated_in_words(self) -> tuple[str, ...]:
        """The same, a sentence without a full stop for each session or dead worker's session."""
        places: dict[tuple[str, str], list[Repeat]] = {}
        for repeat in self.repeated:
            places.setdefault((repeat.session, repeat.trained_in), []).append(repeat)
        return tuple(_repeated_in(*place, repeats) for place, repeats in places.items())

    @property
    def wall_s(self) -> float:
        """Time of all driver sessions, that of a running one until now; s."""
        total = sum(session.wall_time_s for session in self.sessions)
        if self.state is StudyState.RUNNING and self.sessions and self.sessions[-1].ended_at is None:
            total += max(0.0, (datetime.now(UTC) - self.sessions[-1].last_row_at).total_seconds())
        return total

    @property
    def spent(self) -> tuple[Spent, ...]:
        """How much of its budget the study used, for what the budget limits."""
        budget = self.facts.budget
        training_h = sum(t.train_time_s for t in self.trials) / 3600
        known = (
            ("wall hours", self.wall_s / 3600, budget.wall_hours),
            ("GPU hours", training_h * self.facts.gpus, budget.gpu_hours),
            ("trials", sum(t.attempt > 0 for t in self.trials), budget.trials),
        )
        return tuple(Spent(what=what, used=used, limit=limit) for what, used, limit in known if limit is not None)

    @cached_property
    def rungs(self) -> tuple[Rung, ...]:
        """Every rung of every arm at which a trial was judged, by arm and epoch; brackets are added up."""
        return self._rungs("null")

    @cached_property
    def bracket_rungs(self) -> tuple[Rung, ...]:
        """The same, but every bracket of Hyperband apart, by arm, epoch and bracket."""
        return self._rungs("coalesce(bracket, 0)")

    def _rungs(self, bracket: str) -> tuple[Rung, ...]:
        names = ["arm", "epoch", "bracket", "reached", "stopped", "audited", "paused", "promoted"]
        found = self.rows(
            f"""
            with met as (
                select arm, rung, trial, {bracket} as bracket, arg_min(verdict, seq) as verdict,
                       bool_or(verdict = 'PROMOTE') as promoted
                from decisions group by all
            )
            select arm, rung, bracket, count(*), count(*) filter (verdict = 'STOP'),
                   count(*) filter (verdict = 'AUDIT'), count(*) filter (verdict = 'PAUSE' and not promoted),
                   count(*) filter (verdict = 'PAUSE' and promoted)
            from met group by all order by all
            """
        )
        return tuple(Rung(**dict(zip(names, row, strict=True))) for row in found)

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


def _repeated_in(session: str, trained_in: str, repeats: Sequence[Repeat]) -> str:
    """Say: ``session s0003 took over from s0002: 2 epochs of t0014 and 1 of t0017 were trained again``."""
    first, *others = repeats
    parts = [f"{count(first.epochs, 'epoch')} of {first.trial}", *(f"{r.epochs} of {r.trial}" for r in others)]
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if others else parts)
    why = "after a worker died in session" if session == trained_in else f"session {session} took over from"
    was = "was" if sum(r.epochs for r in repeats) == 1 else "were"
    return f"{why} {trained_in}: {listed} {was} trained again"


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
