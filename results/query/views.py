"""The one definition of the DuckDB views over the records, of one study or of many.

Everything is set apart by study and trial. Times are UTC without a zone, because DuckDB wants an extra package for
zones. What the views mean, column by column, stands in ``results.query.columns``.

Which epochs are visible: those of no earlier attempt beyond the epoch from which a later attempt started (the rule of
``schema``), and of equals the latest. A trial with one attempt that wrote every epoch of a lane once shows all
its rows; that is nearly every trial, so the rule is worked out for the others only (``restarted``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import duckdb

from results.encoding import columns
from results.facts import StudyFacts
from results.query.tables import Source, literal
from results.schema import LONGEST_GAP_S, METRICS, EpochRow, TrialRow, TrialState

FINAL = ", ".join(f"'{state}'" for state in TrialState if state.is_final)
"""SQL list of the final states of a trial."""

_OWN_COLUMNS = {
    *columns(TrialRow.table).names, "restarts", "crashes", "moves", "last_value", "created_at", "started_at",
    "ended_at", "mean_epoch_time_s", "train_time_s", "is_reference", "leads", "metric", "mode", "test_value",
}  # fmt: skip

_RESTARTED = """
create table restarted as
with lanes as (
    select study, trial, lane, min(attempt) as low, max(attempt) as high,
           count(*) <> max(epoch) - min(epoch) + 1 as uneven
    from all_epochs group by all
)
select study, trial from lanes group by all having min(low) <> max(high) or bool_or(uneven);
"""

_OUTCOMES = """
create table outcomes as
with first as (select * from all_trials qualify row_number() over (partition by study, trial order by seq) = 1),
last as (
    select * from all_trials qualify row_number() over (
        partition by study, trial order by state in ({final}) desc, case when state in ({final}) then seq else -seq end
    ) = 1
),
runs as (
    select *, lag(state) over (partition by study, trial order by seq) as before
    from all_trials where state in ('RUNNING', 'PAUSED')
),
times as (
    select study, trial, min(reported_at) filter (state = 'RUNNING') as started_at,
           count(*) filter (state = 'RUNNING' and before = 'PAUSED') as promoted
    from runs group by all
),
setbacks as (
    select study, trial, count(*) filter (setback = 'CRASH') as crashes, count(*) filter (setback = 'MOVE') as moves,
           arg_max(gpu_share, seq) as gpu_share, max(gpu_peak_bytes) as gpu_peak_bytes,
           max(gpu_total_bytes) as gpu_total_bytes
    from all_trials group by all
)
select study, trial, first.arm, first.stage, first.number, last.state, last.attempt,
       greatest(0, last.attempt - 1 - coalesce(times.promoted, 0)) as restarts, crashes, moves,
       last.epochs, last.value, first.source, first.seeds, first.coordinates, first.params, first.recipe, first.origin,
       coalesce(first.audited = 1, false) as audited,
       case when last.state in ({final}) then last.reason end as reason,
       case when last.state in ({final}) then last.error end as error,
       setbacks.gpu_share, setbacks.gpu_peak_bytes, setbacks.gpu_total_bytes,
       make_timestamp(epoch_us(first.reported_at)) as created_at,
       make_timestamp(epoch_us(times.started_at)) as started_at,
       case when last.state in ({final}) then make_timestamp(epoch_us(last.reported_at)) end as ended_at, first.seq
from first join last using (study, trial) join setbacks using (study, trial) left join times using (study, trial)
order by study, first.seq;
"""

_VISIBLE = """
with again as (
    select * from all_epochs semi join restarted using (study, trial)
), starts as (
    select study, trial, attempt, min(attempt_start) as start from again group by all
), cuts as (
    select study, trial, attempt, min(start) over (
        partition by study, trial order by attempt rows between 1 following and unbounded following
    ) as cut
    from starts
), visible as (
    select {epoch_columns} from all_epochs anti join restarted using (study, trial)
    union all
    select {epoch_columns} from again join cuts using (study, trial, attempt) where cut is null or epoch <= cut
    qualify row_number() over (partition by study, trial, lane, epoch order by attempt desc, seq desc) = 1
)
"""

_VIEWS = """
create view epochs as
{visible}
select * replace (make_timestamp(epoch_us(reported_at)) as reported_at) from visible;

create view epoch_means as
select study, trial, arm, stage, epoch, max(attempt) as attempt, count(*) as lanes, sum(epoch_time_s) as epoch_time_s,
       max(reported_at) as reported_at, {means}
from epochs group by study, trial, arm, stage, epoch;

create view decisions as
select * replace (make_timestamp(epoch_us(reported_at)) as reported_at) from all_decisions
qualify verdict = 'PROMOTE' or row_number() over (partition by study, trial, rung order by seq) = 1;

create view repeats as
with trained as (
    select study, trial, epoch, attempt, arg_min(session, seq) as session, sum(epoch_time_s) as time_s, min(seq) as seq
    from all_epochs semi join restarted using (study, trial) group by study, trial, epoch, attempt
), compared as (
    select *, lag(session) over before as trained_in, lag(time_s) over before as wasted_s,
           max(attempt) over (before rows between unbounded preceding and 1 preceding) as by_attempt
    from trained window before as (partition by study, trial, epoch order by seq)
), again as (
    select *, session = lag(session) over before and epoch = lag(epoch) over before + 1 as goes_on
    from compared where attempt > by_attempt window before as (partition by study, trial order by seq)
), ranges as (
    select *, count(*) filter (goes_on is not true) over (partition by study, trial order by seq) as range from again
)
select study, trial, session, list_sort(list(distinct trained_in)) as trained_in, min(epoch) as from_epoch,
       max(epoch) as to_epoch, sum(wasted_s) as wasted_s, min(seq) as seq
from ranges group by study, trial, session, range;

create view sessions as
with said as (
    select study, session, arg_max(state, seq) as state, max(seq) as seq, min(reported_at) as started_at,
           max(reported_at) filter (state <> 'RUNNING') as ended_at, any_value(host) as host,
           any_value(pid) as pid, any_value(slots) as slots, any_value(command) as command,
           any_value(environment) as environment, arg_max(reason, seq) filter (state <> 'RUNNING') as reason,
           any_value(amendment) as amendment,
           any_value(wall_time_s) as wall_time_s
    from all_sessions group by all
), rows as (
    select study, session, seq, reported_at from all_trials union all
    select study, session, seq, reported_at from all_epochs union all
    select study, session, seq, reported_at from all_decisions union all
    select study, session, seq, reported_at from all_sessions
), latest as (
    select study, session, max(reported_at) as last_row_at from rows group by all
), steps as (
    select study, session,
           epoch_us(reported_at) - lag(epoch_us(reported_at)) over (partition by study, session order by seq) as us
    from rows semi join (select study, session from said where wall_time_s is null) using (study, session)
), lasted as (
    select study, session, coalesce(sum(least(greatest(us / 1e6, 0), {longest_gap_s})), 0) as between_rows_s
    from steps group by all
)
select study, session, state, seq, make_timestamp(epoch_us(started_at)) as started_at,
       make_timestamp(epoch_us(ended_at)) as ended_at, make_timestamp(epoch_us(last_row_at)) as last_row_at,
       host, pid, slots, command, environment, reason, amendment,
       coalesce(wall_time_s, between_rows_s) as wall_time_s
from said join latest using (study, session) left join lasted using (study, session);

create view trials as
with lanes as (
    select study, trial, lane, max(epoch) as epoch, count(*) as epochs, sum(epoch_time_s) as time_s,
           arg_max({value}, epoch) as value, max(epoch) filter ({value} is not null) as valued_at
    from epochs group by all
), ends as (
    select *, max(valued_at) over (partition by study, trial) as last_at from lanes
), trained as (
    select study, trial, max(epoch) as epoch, avg(value) filter (valued_at = last_at) as last_value,
           sum(time_s) / max(epochs) as mean_epoch_time_s
    from ends group by all
), spent as (
    select study, trial, sum(epoch_time_s) as train_time_s from all_epochs group by all
)
select outcomes.* replace (coalesce(trained.epoch, outcomes.epochs, 0)::integer as epochs), trained.last_value,
       trained.mean_epoch_time_s, coalesce(spent.train_time_s, 0) as train_time_s{settings}
from outcomes left join trained using (study, trial) left join spent using (study, trial)
order by study, seq;
"""


def make_views(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Makes the views over the records, all but ``studies`` and ``best``.

    Args:
        connection: Where the tables are and the views are made.
        sources: The studies: searched and derived paths become columns of ``trials``.
    """
    connection.execute(_RESTARTED + _OUTCOMES.format(final=FINAL))
    restarted = connection.execute("select count(*) from restarted").fetchall()[0][0]
    names = ", ".join(f'"{name}"' for name in columns(EpochRow.table).names)
    connection.execute(
        _VIEWS.format(
            visible=_VISIBLE.format(epoch_columns=names) if restarted else "with visible as (from all_epochs)",
            longest_gap_s=LONGEST_GAP_S,
            means=", ".join(
                f'avg("{name}") as "{name}", min("{name}") as "{name}/min", max("{name}") as "{name}/max"'
                for name in METRICS
            ),
            value=by_study(sources, lambda known: known.metric),
            settings=setting_columns(connection, sources),
        )
    )


def by_study(sources: Sequence[Source], metric_of: Callable[[StudyFacts], str]) -> str:
    """SQL of the metric column that counts in a row's study; parameters cannot stand in views."""
    studies: dict[str, list[str]] = {}
    for source in sources:
        metric = metric_of(source.facts)
        studies.setdefault(metric if metric in METRICS else "val/accuracy", []).append(source.study)
    metrics = list(studies) or ["val/accuracy"]
    if len(metrics) == 1:
        return f'"{metrics[0]}"'
    cases = (f'when study in ({", ".join(map(literal, studies[name]))}) then "{name}"' for name in metrics)
    return f"case {' '.join(cases)} end"


def setting_columns(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> str:
    """SQL of one column for each searched or derived path: a number where all values are numbers, else text.

    A study that does not search the path has what its recipe says, null where it has no such value.
    """
    paths = dict.fromkeys(path for source in sources for path in (*source.facts.space, *source.facts.derived))
    texts = {
        path: f"coalesce(json_extract_string(outcomes.params, '$.\"{path}\"'), "
        f"json_extract_string(outcomes.recipe, '$.{path}'))"
        for path in paths
        if re.fullmatch(r"[\w.-]+", path)  # only a damaged study file has another
    }
    if not texts:
        return ""
    odd = connection.execute(
        "select " + ", ".join(f"count({text}) > count(try_cast({text} as double))" for text in texts.values())
        + " from outcomes"
    ).fetchall()[0]  # fmt: skip
    taken, selected = {name.casefold() for name in _OWN_COLUMNS}, []
    for (path, text), is_text in zip(texts.items(), odd, strict=True):
        name = path
        while name.casefold() in taken:  # names of columns do not tell small letters from capitals
            name = f"recipe.{name}"
        taken.add(name.casefold())
        selected.append(f', {text if is_text else f"try_cast({text} as double)"} as "{name}"')
    return "".join(selected)
