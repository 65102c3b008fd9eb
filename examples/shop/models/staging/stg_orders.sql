-- One row per order: its newest version.
{{ config(
    unique_key='order_id',
    recompute_by='order_id',
    inputs={'shop.orders': {'order_id': 'order_id'}}
) }}

select
    order_id,
    customer_id,
    status,
    amount,
    ordered_at,
    updated_at
from {{ source('shop', 'orders') }}
where _error is null
qualify row_number() over (partition by order_id order by {{ newest_first() }}) = 1
