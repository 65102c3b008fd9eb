{#-
    The rows of the judged day (see gate_day) are no fewer than a share of the mean of the days before it, and no
    further from that mean than so many standard deviations.
-#}
{% test daily_row_count_usual(model, column_name, min_share_of_mean, max_deviations) %}

with

judged as (
    {{ gate_day(model, column_name) }}
),

day_counts as (
    select {{ column_name }} as day, count(*) as row_count
    from {{ model }}
    group by {{ column_name }}
),

usual as (
    select
        judged.day,
        avg(day_counts.row_count) as mean_row_count,
        stddev(day_counts.row_count) as row_count_deviation
    from judged
    inner join day_counts on day_counts.day < judged.day
    where day_counts.day >= judged.day - interval '{{ var('gate_history_days') }} days'
    group by judged.day
),

measured as (
    select
        usual.*,
        coalesce(day_counts.row_count, 0) as row_count
    from usual
    left join day_counts on usual.day = day_counts.day
)

select *
from measured
where
    row_count < {{ min_share_of_mean }} * mean_row_count
    or abs(row_count - mean_row_count) > {{ max_deviations }} * row_count_deviation

{% endtest %}
