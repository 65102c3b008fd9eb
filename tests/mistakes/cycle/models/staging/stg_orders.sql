select orders.* from {{ ref('raw_orders') }} as orders
join {{ ref('customers') }} using (customer_id)
