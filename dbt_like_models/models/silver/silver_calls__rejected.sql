-- One row per rejected arrival of a call that no good arrival of the same event_id has followed.
{{ config(
    unique_key=['_partition', '_offset'],
    recompute_by='call_id',
    inputs={'bronze.call_events': {'call_id': 'event_id'}}
) }}

with

call_events as (
    select * from {{ source('bronze', 'call_events') }}
    where _error is null
),

checked as (
    select *, {{ call_rejection_reason() }} as rejection_reason
    from call_events
),

rejected as (
    {{ still_rejected('checked', 'event_id', latest_arrival_first()) }}
),

final as (
    select
        event_id as call_id,
        rejection_reason,

        call_start_timestamp as call_start_ts,
        call_end_timestamp as call_end_ts,
        caller_msisdn as caller_phone,
        called_msisdn as called_phone,
        caller_customer_id as customer_id,
        tower_id,
        duration_seconds as call_duration_seconds,
        call_result_code as raw_result_code,
        plan_type,
        roaming as is_roaming,
        revenue_usd,

        _kafka_timestamp,
        _partition,
        _offset,
        _ingested_at,
        {{ processed_at() }} as _processed_at
    from rejected
)

select * from final
