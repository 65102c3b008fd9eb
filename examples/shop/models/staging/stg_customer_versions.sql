-- One row per customer and time of change, in whatever order they came.
{{ config(
    unique_key=['customer_id', 'updated_at'],
    recompute_by='customer_id',
    inputs={'shop.customers': {'customer_id': 'customer_id'}}
) }}

select
    customer_id,
    name,
    city,
    updated_at
from {{ source('shop', 'customers') }}
where _error is null
qualify row_number() over (partition by customer_id, updated_at order by {{ newest_first() }}) = 1
