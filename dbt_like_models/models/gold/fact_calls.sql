-- One row per call attempt.
{{ config(
    unique_key='call_id',
    recompute_by='call_id',
    inputs={
        'silver_calls': {'call_id': 'call_id'},
        'dim_customers': {'customer_id': 'customer_id'},
        'dim_towers': {'tower_id': 'tower_id'}
    }
) }}

with

calls as (
    select * from {{ ref('silver_calls') }}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

towers as (
    select * from {{ ref('dim_towers') }}
),

final as (
    select
        surrogate_key(calls.call_id) as call_fact_key,
        calls.call_id,

        -- The version of the customer that was valid when the call began.
        coalesce(customers.customer_key, -1) as customer_key,
        calls.customer_id,
        coalesce(towers.tower_key, -1) as tower_key,
        calls.tower_id,
        {{ date_key('calls.call_start_ts') }} as call_date_key,
        {{ time_key('calls.call_start_ts') }} as call_time_key,

        calls.call_start_ts,
        calls.call_end_ts,
        calls.call_date,
        calls.call_hour,

        {{ mask_phone('calls.caller_phone') }} as caller_phone_masked,
        {{ mask_phone('calls.called_phone') }} as called_phone_masked,

        calls.call_status,
        calls.plan_type,
        calls.is_successful,
        calls.is_roaming,
        calls.is_zero_duration,

        calls.call_duration_seconds,
        calls.call_duration_minutes,
        calls.revenue_usd,
        1 as call_count,
        case when calls.is_successful then 1 else 0 end as successful_call_count,
        case when calls.is_successful then 0 else 1 end as failed_call_count,
        case when calls.is_roaming then 1 else 0 end as roaming_call_count,

        calls._partition,
        calls._offset,
        calls._ingested_at,
        {{ processed_at() }} as _processed_at
    from calls
    left join customers
        on calls.customer_id = customers.customer_id
        and {{ valid_at('customers', 'calls.call_start_ts') }}
    left join towers on calls.tower_id = towers.tower_id
)

select * from final
