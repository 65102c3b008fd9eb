{#- On the judged day (see gate_day), the median of a column lies in the range. -#}
{% test daily_median_between(model, column_name, day_column, min_value, max_value) %}

with

judged as (
    {{ gate_day(model, day_column) }}
)

select
    judged.day,
    median(measured.{{ column_name }}) as median_value
from {{ model }} as measured
inner join judged on measured.{{ day_column }} = judged.day
group by judged.day
having median_value < {{ min_value }} or median_value > {{ max_value }}

{% endtest %}
