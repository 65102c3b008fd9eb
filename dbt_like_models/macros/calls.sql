{#- The status of a call from the network's result code (a string). -#}
{%- macro decode_call_result(code) -%}
    case {{ code }}
        when '0' then 'SUCCESS'
        when '17' then 'USER_BUSY'
        when '21' then 'CALL_REJECTED'
        when '31' then 'NETWORK_FAILURE'
        when '38' then 'NETWORK_OUT_OF_ORDER'
        when '41' then 'TEMPORARY_FAILURE'
        else concat('UNKNOWN_', coalesce({{ code }}, 'NULL'))
    end
{%- endmacro -%}

{#- Why Silver cannot take a row of bronze.call_events: every reason, separated by commas; null for a good row. -#}
{%- macro call_rejection_reason() -%}
    nullif(
        concat_ws(
            ', ',
            case when {{ is_blank('event_id') }} then 'missing_call_id' end,
            case when {{ is_blank('caller_msisdn') }} then 'missing_caller' end,
            case when {{ is_blank('tower_id') }} then 'missing_tower' end,
            case
                when call_start_timestamp is null then 'missing_start_time'
                when not {{ is_usable_time('call_start_timestamp') }} then 'start_time_out_of_range'
            end,
            case
                when duration_seconds is null then 'missing_duration'
                when duration_seconds < 0 then 'negative_duration'
            end,
            case when not {{ is_usable_measure('revenue_usd') }} then 'revenue_out_of_range' end
        ),
        ''
    )
{%- endmacro -%}
