-- One row per probe reading (probe_id): its latest good arrival.
{{ config(
    unique_key='probe_id',
    recompute_by='probe_id',
    inputs={'bronze.network_probe_events': {'probe_id': 'probe_id'}}
) }}

with

network_probe_events as (
    select * from {{ source('bronze', 'network_probe_events') }}
    where _error is null
),

checked as (
    select *, {{ probe_rejection_reason() }} as rejection_reason
    from network_probe_events
),

latest as (
    select *
    from checked
    where rejection_reason is null
    qualify row_number() over (partition by probe_id order by {{ latest_arrival_first() }}) = 1
),

final as (
    select
        probe_id,

        measurement_timestamp as measurement_ts,
        cast(measurement_timestamp as date) as measurement_date,
        date_trunc('hour', measurement_timestamp) as measurement_hour,

        tower_id,
        region,

        load_pct,
        active_connections,
        capacity_erlangs,
        avg_signal_strength_dbm,
        avg_sinr_db,
        call_setup_success_rate_pct,
        call_drop_rate_pct,
        handoff_success_rate_pct,
        avg_throughput_mbps,
        packet_loss_pct,
        avg_latency_ms,
        power_output_watts,
        temperature_celsius,
        software_version,
        coalesce(alert_threshold_breached, false) as alert_threshold_breached,

        case
            when load_pct >= {{ var('load_critical_pct') }} then 'CRITICAL'
            when load_pct >= {{ var('load_warning_pct') }} then 'WARNING'
            when load_pct >= {{ var('load_elevated_pct') }} then 'ELEVATED'
            when load_pct is not null then 'NORMAL'
        end as load_status,
        case
            when call_drop_rate_pct >= {{ var('drop_rate_degraded_pct') }} then 'DEGRADED'
            when call_drop_rate_pct >= {{ var('drop_rate_warning_pct') }} then 'WARNING'
            when call_drop_rate_pct is not null then 'HEALTHY'
        end as call_quality_status,
        temperature_celsius > {{ var('overheating_celsius') }} as is_overheating,

        _partition,
        _offset,
        _ingested_at,
        {{ processed_at() }} as _processed_at
    from latest
)

select * from final
