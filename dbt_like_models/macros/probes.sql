{#-
    Why Silver cannot take a row of bronze.network_probe_events: every reason, separated by commas; null for a good row.
-#}
{%- macro probe_rejection_reason() -%}
    nullif(
        concat_ws(
            ', ',
            case when {{ is_blank('probe_id') }} then 'missing_probe_id' end,
            case when {{ is_blank('tower_id') }} then 'missing_tower' end,
            case
                when measurement_timestamp is null then 'missing_measurement_time'
                when not {{ is_usable_time('measurement_timestamp') }} then 'measurement_time_out_of_range'
            end
            {%- for measure in [
                'load_pct', 'avg_signal_strength_dbm', 'avg_sinr_db', 'call_setup_success_rate_pct',
                'call_drop_rate_pct', 'handoff_success_rate_pct', 'avg_throughput_mbps', 'packet_loss_pct',
                'avg_latency_ms', 'power_output_watts', 'temperature_celsius'
            ] %},
            case when not {{ is_usable_measure(measure) }} then '{{ measure }}_out_of_range' end
            {%- endfor %}
        ),
        ''
    )
{%- endmacro -%}
