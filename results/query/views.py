"""The DuckDB views over a snapshot of a study's records.

``trials`` (one row a trial: what it is, where it stands), ``epochs`` (visible rows only: the attempt rule of
``schema``), ``epoch_means`` (mean, min and max over lanes), ``decisions`` (verdicts that stand, and promotions),
``sessions``, ``repeats`` (epochs that were trained again). Times are UTC without a zone, because DuckDB wants an extra
package for zones.
"""

from __future__ import annotations

import re

import duckdb

from results.facts import StudyFacts
from results.schema import LONGEST_GAP_S, METRICS, TrialState
from results.store import read_tables

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
    select trial, epoch, attempt, arg_min(session, seq) as session, sum(epoch_time_s) as time_s, min(seq) as seq
    from all_epochs group by trial, epoch, attempt
), compared as (
    select *, lag(session) over before as trained_in, lag(time_s) over before as wasted_s,
           max(attempt) over (before rows between unbounded preceding and 1 preceding) as by_attempt
    from trained window before as (partition by trial, epoch order by seq)
), again as (
    select *, session = lag(session) over before and epoch = lag(epoch) over before + 1 as goes_on
    from compared where attempt > by_attempt window before as (partition by trial order by seq)
), ranges as (
    select *, count(*) filter (goes_on is not true) over (partition by trial order by seq) as range from again
)
select trial, session, list_sort(list(distinct trained_in)) as trained_in, min(epoch) as from_epoch,
       max(epoch) as to_epoch, sum(wasted_s) as wasted_s, min(seq) as seq
from ranges group by trial, session, range;

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
    select session, max(reported_at) as last_row,
           coalesce(sum(least(greatest(us / 1e6, 0), {longest_gap_s})), 0) as between_rows_s
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
last as (
    select * from all_trials qualify row_number() over (
        partition by trial order by state in ({final}) desc, case when state in ({final}) then seq else -seq end
    ) = 1
),
runs as (
    select *, lag(state) over (partition by trial order by seq) as before
    from all_trials where state in ('RUNNING', 'PAUSED')
),
times as (
    select trial, min(reported_at) filter (state = 'RUNNING') as started_at,
           count(*) filter (state = 'RUNNING' and before = 'PAUSED') as promoted
    from runs group by trial
),
trained as (
    select trial, max(epoch) as epoch, arg_max("{metric}", epoch) as last_value, avg(epoch_time_s) as mean_epoch_time_s
    from epoch_means group by trial
),
spent as (select trial, sum(epoch_time_s) as train_time_s from all_epochs group by trial)
select trial, first.arm, first.stage, first.number, last.state, last.attempt,
       greatest(0, last.attempt - 1 - coalesce(times.promoted, 0)) as restarts,
       coalesce(trained.epoch, last.epochs, 0)::integer as epochs,
       last.value, trained.last_value, first.source, first.seeds, first.coordinates, first.params, first.recipe,
       first.origin, coalesce(first.audited = 1, false) as audited, last.reason, last.error,
       make_timestamp(epoch_us(first.reported_at)) as created_at,
       make_timestamp(epoch_us(times.started_at)) as started_at,
       case when last.state in ({final}) then make_timestamp(epoch_us(last.reported_at)) end as ended_at,
       trained.mean_epoch_time_s, coalesce(spent.train_time_s, 0) as train_time_s, first.seq{columns}
from first join last using (trial)
left join times using (trial) left join trained using (trial) left join spent using (trial)
order by first.seq;
"""


def make_views(connection: duckdb.DuckDBPyConnection, facts: StudyFacts) -> None:
    """Reads the records of a study, and makes the views over them.

    Args:
        connection: Where the views are made.
        facts: The study: searched and derived paths become columns of ``trials``.

    Raises:
        RecordsUnreadable: A file among the records is damaged, foreign or newer.
    """
    for table, data in read_tables(facts.study_dir).items():
        connection.register(f"all_{table}", data)
    means = ", ".join(
        f'avg("{name}") as "{name}", min("{name}") as "{name}/min", max("{name}") as "{name}/max"' for name in METRICS
    )
    connection.execute(
        _VIEWS.format(
            means=means,
            metric=facts.metric if facts.metric in METRICS else "val/accuracy",
            final=", ".join(f"'{state}'" for state in TrialState if state.is_final),
            longest_gap_s=LONGEST_GAP_S,
            columns=_setting_columns(connection, facts),
        )
    )


def _setting_columns(connection: duckdb.DuckDBPyConnection, facts: StudyFacts) -> str:
    """SQL of one column for each searched or derived path: a number where all values are numbers, else text."""
    columns = []
    for path in (*facts.space, *facts.derived):
        if not re.fullmatch(r"[\w.-]+", path):
            continue  # only a damaged study file has such a path
        text = (
            f"coalesce(json_extract_string(first.params, '$.\"{path}\"'), "
            f"json_extract_string(first.recipe, '$.{path}'))"
        )
        odd = connection.execute(
            f"select count(*) from all_trials first where {text} is not null and try_cast({text} as double) is null"
        ).fetchall()
        columns.append(f', {text if odd[0][0] else f"try_cast({text} as double)"} as "{path}"')
    return "".join(columns)
