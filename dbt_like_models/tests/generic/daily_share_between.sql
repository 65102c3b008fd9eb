{#- On the judged day (see gate_day), the share of rows for which a boolean column is true lies in the range. -#}
{% test daily_share_between(model, column_name, day_column, min_value, max_value) %}

with

judged as (
    {{ gate_day(model, day_column) }}
)

select
    judged.day,
    avg(case when measured.{{ column_name }} then 1.0 else 0.0 end) as share
from {{ model }} as measured
inner join judged on measured.{{ day_column }} = judged.day
group by judged.day
having share < {{ min_value }} or share > {{ max_value }}

{% endtest %}
