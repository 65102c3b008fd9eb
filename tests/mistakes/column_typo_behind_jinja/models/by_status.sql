{% set statuses = ['placed', 'shipped', 'returned'] %}

select
    customer_id,
    {% for status in statuses %}
    sum(case when status = '{{ status }}' then amount end) as {{ status }}_amount,
    {% endfor %}
    max(orderd_at) as last_ordered_at
from {{ ref('stg_orders') }}
group by customer_id
