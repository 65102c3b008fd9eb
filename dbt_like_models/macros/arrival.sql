{#- Window order of Kafka rows, the latest arrival first. A broker that stamps no time counts as the oldest. -#}
{%- macro latest_arrival_first() -%}
    _kafka_timestamp desc nulls last, _partition desc, _offset desc
{%- endmacro -%}

{#- Window order of rows from batch sources, the latest arrival first. -#}
{%- macro latest_load_first() -%}
    _load desc, _file desc, _row desc
{%- endmacro -%}

{#-
    The rows of a relation with a `rejection_reason` that are rejected and that no good arrival of the same key has
    followed. Rows without a key have nothing that could follow them, so they stay.
-#}
{%- macro still_rejected(checked, key, latest_first) -%}
    select *
    from {{ checked }}
    where
        -- Only keys that were ever rejected are worth a sort.
        rejection_reason is not null
        or {{ key }} in (select {{ key }} from {{ checked }} where rejection_reason is not null)
    qualify
        count(case when rejection_reason is null then 1 end) over (
            partition by {{ key }}
            order by {{ latest_first }}
            rows between unbounded preceding and current row
        ) = 0
{%- endmacro -%}
