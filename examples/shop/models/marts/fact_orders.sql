-- One row per order, with the city the customer lived in when ordering.
{{ config(
    unique_key='order_id',
    recompute_by='order_id',
    inputs={
        'stg_orders': {'order_id': 'order_id'},
        'dim_customers': {'customer_id': 'customer_id'},
    }
) }}

select
    orders.order_id,
    orders.customer_id,
    customers.city,
    orders.status,
    cast(orders.ordered_at as date) as ordered_on,
    orders.amount,
    case when statuses.counts_as_revenue then orders.amount else 0 end as revenue
from {{ ref('stg_orders') }} as orders
left join {{ ref('dim_customers') }} as customers
    on orders.customer_id = customers.customer_id
    and orders.ordered_at >= customers.valid_from
    and (orders.ordered_at < customers.valid_to or customers.valid_to is null)
left join {{ ref('order_statuses') }} as statuses
    on orders.status = statuses.status
