-- One row per day, the way dbt does it: the last days are computed again and merged over what is there.
{{ config(incremental_strategy='merge', unique_key='ordered_on') }}

select
    ordered_on,
    count(*) as orders,
    sum(revenue) as revenue
from {{ ref('fact_orders') }}
{% if is_incremental() %}
where ordered_on >= (select max(ordered_on) from {{ this }}) - interval '{{ var("lookback_days") }} days'
{% endif %}
group by ordered_on
