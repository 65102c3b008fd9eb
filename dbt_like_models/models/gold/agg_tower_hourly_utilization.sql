-- One row per tower and hour that has a probe reading or a call.
{{ config(
    unique_key=['tower_id', 'hour'],
    recompute_by=['tower_id', 'hour'],
    inputs={
        'silver_network_probes': {'tower_id': 'tower_id', 'hour': 'measurement_hour'},
        'fact_calls': {'tower_id': 'tower_id', 'hour': 'call_hour'},
        'dim_towers': {'tower_id': 'tower_id'}
    }
) }}

with

probes as (
    select * from {{ ref('silver_network_probes') }}
),

calls as (
    select * from {{ ref('fact_calls') }}
),

towers as (
    select * from {{ ref('dim_towers') }}
),

probe_hours as (
    select
        tower_id,
        measurement_hour as hour,

        {{ exact_avg('load_pct') }} as avg_load_pct,
        max(load_pct) as peak_load_pct,
        avg(active_connections) as avg_active_connections,
        max(active_connections) as peak_active_connections,
        {{ exact_avg('avg_signal_strength_dbm') }} as avg_signal_strength_dbm,
        {{ exact_avg('avg_sinr_db') }} as avg_sinr_db,
        {{ exact_avg('call_setup_success_rate_pct') }} as avg_call_setup_success_rate_pct,
        {{ exact_avg('call_drop_rate_pct') }} as avg_call_drop_rate_pct,
        max(call_drop_rate_pct) as peak_call_drop_rate_pct,
        {{ exact_avg('avg_throughput_mbps') }} as avg_throughput_mbps,
        {{ exact_avg('packet_loss_pct') }} as avg_packet_loss_pct,
        max(packet_loss_pct) as peak_packet_loss_pct,
        {{ exact_avg('avg_latency_ms') }} as avg_latency_ms,
        max(avg_latency_ms) as peak_latency_ms,
        {{ exact_avg('temperature_celsius') }} as avg_temperature_celsius,
        max(temperature_celsius) as peak_temperature_celsius,

        case
            max(
                case load_status
                    when 'CRITICAL' then 4
                    when 'WARNING' then 3
                    when 'ELEVATED' then 2
                    when 'NORMAL' then 1
                end
            )
            when 4 then 'CRITICAL'
            when 3 then 'WARNING'
            when 2 then 'ELEVATED'
            when 1 then 'NORMAL'
        end as worst_load_status,
        count(*) filter (where alert_threshold_breached) as alert_count,
        count(*) as probe_reading_count,
        max(_ingested_at) as _ingested_at
    from probes
    group by tower_id, measurement_hour
),

call_hours as (
    select
        tower_id,
        call_hour as hour,

        sum(call_count) as call_count,
        sum(successful_call_count) as successful_call_count,
        sum(call_duration_seconds) as call_duration_seconds,
        sum(revenue_usd) as call_revenue_usd,
        max(_ingested_at) as _ingested_at
    from calls
    group by tower_id, call_hour
),

tower_hours as (
    select
        coalesce(probe_hours.tower_id, call_hours.tower_id) as tower_id,
        coalesce(probe_hours.hour, call_hours.hour) as hour,

        probe_hours.avg_load_pct,
        probe_hours.peak_load_pct,
        probe_hours.avg_active_connections,
        probe_hours.peak_active_connections,
        probe_hours.avg_signal_strength_dbm,
        probe_hours.avg_sinr_db,
        probe_hours.avg_call_setup_success_rate_pct,
        probe_hours.avg_call_drop_rate_pct,
        probe_hours.peak_call_drop_rate_pct,
        probe_hours.avg_throughput_mbps,
        probe_hours.avg_packet_loss_pct,
        probe_hours.peak_packet_loss_pct,
        probe_hours.avg_latency_ms,
        probe_hours.peak_latency_ms,
        probe_hours.avg_temperature_celsius,
        probe_hours.peak_temperature_celsius,
        probe_hours.worst_load_status,
        coalesce(probe_hours.alert_count, 0) as alert_count,
        coalesce(probe_hours.probe_reading_count, 0) as probe_reading_count,

        coalesce(call_hours.call_count, 0) as call_count,
        coalesce(call_hours.successful_call_count, 0) as successful_call_count,
        coalesce(call_hours.call_duration_seconds, 0) as call_duration_seconds,
        coalesce(call_hours.call_revenue_usd, 0) as call_revenue_usd,
        round(100.0 * call_hours.successful_call_count / call_hours.call_count, 2) as call_success_rate_pct,

        greatest(probe_hours._ingested_at, call_hours._ingested_at) as _ingested_at
    from probe_hours
    full outer join call_hours
        on probe_hours.tower_id = call_hours.tower_id
        and probe_hours.hour = call_hours.hour
),

final as (
    select
        coalesce(towers.tower_key, -1) as tower_key,
        {{ date_key('tower_hours.hour') }} as date_key,
        tower_hours.*,
        {{ processed_at() }} as _processed_at
    from tower_hours
    left join towers on tower_hours.tower_id = towers.tower_id
)

select * from final
