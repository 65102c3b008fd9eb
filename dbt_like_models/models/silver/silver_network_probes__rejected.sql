-- One row per rejected arrival of a probe reading that no good arrival of the same probe_id has followed.
{{ config(
    unique_key=['_partition', '_offset'],
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

rejected as (
    {{ still_rejected('checked', 'probe_id', latest_arrival_first()) }}
),

final as (
    select
        probe_id,
        rejection_reason,

        measurement_timestamp as measurement_ts,
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
        alert_threshold_breached,

        _kafka_timestamp,
        _partition,
        _offset,
        _ingested_at,
        {{ processed_at() }} as _processed_at
    from rejected
)

select * from final
