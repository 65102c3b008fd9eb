-- One row per call (event_id): its latest good arrival.
{{ config(
    unique_key='call_id',
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

latest as (
    select *, {{ decode_call_result('call_result_code') }} as call_status
    from checked
    where rejection_reason is null
    qualify row_number() over (partition by event_id order by {{ latest_arrival_first() }}) = 1
),

final as (
    select
        event_id as call_id,

        call_start_timestamp as call_start_ts,
        call_end_timestamp as call_end_ts,
        cast(call_start_timestamp as date) as call_date,
        date_trunc('hour', call_start_timestamp) as call_hour,

        caller_msisdn as caller_phone,
        called_msisdn as called_phone,
        nullif(trim(caller_customer_id), '') as customer_id,

        tower_id,
        tower_city,
        tower_state,
        tower_lat as tower_latitude,
        tower_lon as tower_longitude,

        duration_seconds as call_duration_seconds,
        cast(round(duration_seconds / 60.0, 2) as decimal(12, 2)) as call_duration_minutes,
        call_status,
        call_result_code as raw_result_code,
        plan_type,
        coalesce(roaming, false) as is_roaming,
        try_cast(revenue_usd as decimal(18, 4)) as revenue_usd,
        call_status = 'SUCCESS' as is_successful,
        duration_seconds = 0 as is_zero_duration,

        _partition,
        _offset,
        _ingested_at,
        {{ processed_at() }} as _processed_at
    from latest
)

select * from final
