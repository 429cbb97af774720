"""What looks over studies: the view ``studies`` and the table ``best``, which is worked out once for both.

They follow the rules of the report (``results.report.build``): an arm is searched to its end when no trial of it is to
come; then its best trials are run again on fresh seeds; a study's choice is confirmed when all of these have ended.
What the search alone found is never called confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from results.query.tables import Source, make_facts
from results.query.views import FINAL, by_study, setting_columns
from results.schema import LONGEST_GAP_S, TrialState
from results.statistics import SAME_DIGITS

_SEARCHES = """
create view searches as
with begun as (
    select study, arm, count(*) as begun from outcomes where stage = 'explore' group by all
), arms as (
    select study, sum(coalesce(begun, 0)) as begun, sum(greatest(planned, coalesce(begun, 0))) as planned,
           bool_and(coalesce(begun, 0) >= planned) as full
    from arm_facts left join begun using (study, arm) group by all
), proposed as (
    select study, bool_or(stage = 'explore') as any_explored, arg_max(stage, created_at) as newest_stage,
           max(created_at) as newest_at,
           coalesce(bool_and(state in ({final})) filter (stage = 'explore'), true) as ended
    from outcomes group by all
), driven as (
    select study, max(seq) = max(seq) filter (coalesce(s.amendment, 1) = f.amendment) as last_by_newest,
           min(started_at) filter (coalesce(s.amendment, 1) = f.amendment) as since, arg_max(state, seq) as last_state,
           arg_max(reason, seq) as last_end, count(*) as sessions, min(started_at) as started_at,
           max(last_row_at) as last_row_at, sum(wall_time_s) as wall_time_s,
           bool_or(ended_at is null and is_last) as open
    from (select *, seq = max(seq) over (partition by study) as is_last from sessions) s
    join study_facts f using (study) group by all
), known as (
    select *, case when driver is not null then 'RUNNING' when sessions is null then 'NEW'
                   when last_state = 'COMPLETED' then 'COMPLETED' else 'INTERRUPTED' end as state
    from study_facts left join driven using (study)
)
select known.*, coalesce(proposed.ended, true) and (arms.full or coalesce(any_explored, false) and coalesce(
           state = 'COMPLETED' and last_by_newest or newest_stage = 'confirm' and newest_at >= since, false
       )) as over, case when over then arms.begun else arms.planned end as planned
from known left join arms using (study) left join proposed using (study);
"""

_BEST = """
create view candidates as
with completed as (
    select o.*, f.metric, f.mode, f.confirm_seeds, f.over, a.is_reference, a.top,
           case when mode = 'max' then -value else value end as rank
    from outcomes o join searches f using (study) join arm_facts a using (study, arm)
    where stage = 'explore' and o.state = 'COMPLETED' and isfinite(value)
), runs as (
    select study, source as trial, count(*) as runs, count(*) filter (state in ({final})) as ended,
           count(*) filter (state = 'DIVERGED') as diverged,
           count(*) filter (state = 'COMPLETED' and isfinite(value)) as measured,
           avg(value) filter (state = 'COMPLETED' and isfinite(value)) as mean
    from outcomes where stage = 'confirm' group by all
), chosen as (
    select *, over and confirm_seeds > 0
           and row_number() over (partition by study, arm order by rank, number) <= top as chosen
    from completed
)
select chosen.*, greatest(confirm_seeds, coalesce(runs, 0)) as wanted, coalesce(runs.ended, 0) as ended,
       coalesce(diverged, 0) as diverged, coalesce(measured, 0) as measured, mean,
       coalesce(bool_and(coalesce(runs.ended, 0) = greatest(confirm_seeds, coalesce(runs, 0)))
                filter (chosen) over (partition by study), false) as confirmed
from chosen left join runs using (study, trial);

create table best as
with ranked as (
    select *, 'confirmed' as from_stage, mean as shown, measured as seeds_n, ended - measured as lost,
           round(case when mode = 'max' then -mean else mean end, {same_digits}) as order_by
    from candidates where confirmed and chosen and measured > 0 and diverged = 0
    union all
    select *, 'search', value, json_array_length(seeds), 0, rank from candidates where not confirmed
), tested as (
    select c.study, c.source as trial, avg(e.value) as test_value
    from outcomes c join (
        select study, trial, arg_max({test_value}, epoch) as value from epochs where stage = 'confirm' group by all
    ) e using (study, trial) where c.stage = 'confirm' and c.state = 'COMPLETED' and isfinite(e.value) group by all
)
select study, arm, is_reference,
       row_number() over (partition by study order by lost, order_by,
                          from_stage = 'confirmed' and is_reference, seq) = 1 as leads,
       trial, from_stage as source, metric, mode, shown as value, seeds_n::integer as seeds,
       case when confirmed then test_value end as test_value, params{settings}
from ranked as outcomes left join tested using (study, trial)
qualify row_number() over (partition by study, arm order by lost, order_by,
                           case when confirmed then seq else number end) = 1
order by study, lost, order_by;

create view studies as
with trials_by_state as (
    select study, count(*) filter (state in ({final})) as ended, {states}
    from outcomes where stage = 'explore' group by all
), confirming as (
    select study, sum(wanted)::integer as wanted, sum(ended)::integer as ended from candidates where chosen group by all
), teachers as (
    select study, arm as name, arg_max(state, seq) as state from outcomes where stage = 'teach' group by all
), wanted as (
    select study, unnest(needed) as name from study_facts union select study, name from teachers
), taught as (
    select study, count(*) as planned, count(*) filter (state = 'COMPLETED') as trained,
           coalesce(list_sort(list(name) filter (state in ('DIVERGED', 'FAILED'))), []) as lost,
           coalesce(bool_or(state = 'DIVERGED'), false) as diverged
    from wanted left join teachers using (study, name) group by all
)
select study, s.id, s.state, s.driver, s.metric, s.mode, s.temperature, s.sampler, s.stopping, s.reference,
       s.epochs, s.amendment,
       coalesce(s.planned, 0)::integer as trials_planned, coalesce(t.ended, 0)::integer as trials_ended,
       {state_columns},
       coalesce(confirming.wanted, 0) as confirm_planned, coalesce(confirming.ended, 0) as confirm_ended,
       coalesce(taught.planned, 0)::integer as teachers_planned, coalesce(taught.trained, 0)::integer
       as teachers_trained, coalesce(taught.lost, []) as teachers_lost,
       s.state in ('NEW', 'INTERRUPTED') and not coalesce(taught.diverged, false) as resumable,
       coalesce(s.sessions, 0)::integer as sessions, s.started_at, s.last_row_at,
       case when s.driver is null then s.last_end end as last_end,
       (coalesce(s.wall_time_s, 0) + case when s.driver is not null and s.open then
            least(greatest((epoch_us(now()) - epoch_us(s.last_row_at)) / 1e6, 0), {longest_gap_s}) else 0 end
       ) / 3600 as wall_hours,
       b.trial as best_trial, b.arm as best_arm, b.value as best_value, b.source = 'confirmed' as best_confirmed,
       s.folder
from searches s left join trials_by_state t using (study) left join confirming using (study)
left join taught using (study) left join (select * from best where leads) b using (study)
order by study;
"""


def make_overviews(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    """Makes ``studies`` and ``best`` over the views of ``results.query.views``.

    Args:
        connection: Where the views are.
        sources: The studies: searched and derived paths become columns of ``best``.
    """
    make_facts(connection, sources)
    states = {state: f"trials_{state.lower()}" for state in TrialState}
    connection.execute(
        (_SEARCHES + _BEST).format(
            same_digits=SAME_DIGITS,
            final=FINAL,
            longest_gap_s=LONGEST_GAP_S,
            test_value=by_study(sources, lambda known: known.test_metric),
            settings=setting_columns(connection, sources),
            states=", ".join(f"count(*) filter (state = '{state}') as {name}" for state, name in states.items()),
            state_columns=", ".join(f"coalesce(t.{name}, 0)::integer as {name}" for name in states.values()),
        )
    )
