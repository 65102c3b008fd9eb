{#- A UTC timestamp with the microseconds that every table has; SQL's own literal would be of nanoseconds. -#}
{%- macro utc_timestamp(text) -%}
    arrow_cast('{{ text }}', 'Timestamp(Microsecond, Some("UTC"))')
{%- endmacro -%}

{#- When the build that wrote the row started. -#}
{%- macro processed_at() -%}
    arrow_cast(now(), 'Timestamp(Microsecond, Some("UTC"))')
{%- endmacro -%}

{#- The start of every customer's first version. -#}
{%- macro beginning_of_time() -%}
    {{ utc_timestamp('1900-01-01T00:00:00Z') }}
{%- endmacro -%}

{#-
    Whether history can hold a time: not before the first versions start, and well inside the years that the engine's
    functions of time can compute with (1677 to 2262).
-#}
{%- macro is_usable_time(column) -%}
    ({{ column }} >= {{ beginning_of_time() }} and {{ column }} < {{ utc_timestamp('2200-01-01T00:00:00Z') }})
{%- endmacro -%}

{#- Whether a version of a slowly changing dimension, named by its alias, was valid at a time. -#}
{%- macro valid_at(version, time) -%}
    {{ time }} >= {{ version }}.effective_from
        and ({{ version }}.effective_to is null or {{ time }} < {{ version }}.effective_to)
{%- endmacro -%}

{#- The key of a date or timestamp in dim_date: yyyymmdd. -#}
{%- macro date_key(column) -%}
    cast(
        date_part('year', {{ column }}) * 10000
        + date_part('month', {{ column }}) * 100
        + date_part('day', {{ column }})
        as int
    )
{%- endmacro -%}

{#- The key of a timestamp's minute in the day: hhmm. -#}
{%- macro time_key(column) -%}
    cast(date_part('hour', {{ column }}) * 100 + date_part('minute', {{ column }}) as int)
{%- endmacro -%}

{#- Whole months from one date or timestamp to another. -#}
{%- macro months_between(first, last) -%}
    cast(
        (date_part('year', {{ last }}) - date_part('year', {{ first }})) * 12
        + date_part('month', {{ last }}) - date_part('month', {{ first }})
        - case when date_part('day', {{ last }}) < date_part('day', {{ first }}) then 1 else 0 end
        as int
    )
{%- endmacro -%}
