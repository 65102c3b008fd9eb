-- The calls of the hourly aggregate are those of the fact: as many, as long, for as much.
with

calls as (
    select
        count(*) as call_count,
        coalesce(sum(call_duration_seconds), 0) as call_duration_seconds,
        coalesce(sum(revenue_usd), 0) as call_revenue_usd
    from {{ ref('fact_calls') }}
),

tower_hours as (
    select
        coalesce(sum(call_count), 0) as call_count,
        coalesce(sum(call_duration_seconds), 0) as call_duration_seconds,
        coalesce(sum(call_revenue_usd), 0) as call_revenue_usd
    from {{ ref('agg_tower_hourly_utilization') }}
)

select
    calls.call_count as fact_calls,
    tower_hours.call_count as hourly_calls,
    calls.call_duration_seconds as fact_seconds,
    tower_hours.call_duration_seconds as hourly_seconds,
    calls.call_revenue_usd as fact_revenue_usd,
    tower_hours.call_revenue_usd as hourly_revenue_usd
from calls
cross join tower_hours
where
    calls.call_count <> tower_hours.call_count
    or calls.call_duration_seconds <> tower_hours.call_duration_seconds
    or calls.call_revenue_usd <> tower_hours.call_revenue_usd
