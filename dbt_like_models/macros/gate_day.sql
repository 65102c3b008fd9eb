{#-
    The day that the daily gates judge: the one before `as_of`. No row, and so nothing to judge, while a day is missing
    from the history before it.
-#}
{%- macro gate_day(model, day_column) -%}
    select judged.day
    from (
        {% if var('as_of') -%}
        select date '{{ var('as_of') }}' - interval '1 day' as day
        {%- else -%}
        select max({{ day_column }}) - interval '1 day' as day from {{ model }}
        {%- endif %}
    ) as judged
    inner join {{ model }} as history on history.{{ day_column }} < judged.day
    where history.{{ day_column }} >= judged.day - interval '{{ var('gate_history_days') }} days'
    group by judged.day
    having count(distinct history.{{ day_column }}) = {{ var('gate_history_days') }}
{%- endmacro -%}
