select customers.customer_id, orders.order_id as id, again.order_id as id
from {{ ref('stg_customers') }} as customers
join {{ ref('stg_orders') }} as orders using (customer_id)
join {{ ref('stg_orders') }} as again using (customer_id)
