select
    customers.customer_id,
    customers.name,
    count(orders.order_id) as orders,
    sum({{ cent('orders.amount') }}) as amount
from {{ ref('stg_customers') }} as customers
left join {{ ref('stg_orders') }} as orders
    on customers.customer_id = orders.customer_id
group by customers.customer_id, customers.name
