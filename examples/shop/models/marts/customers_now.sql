{{ config(materialized='view') }}

select
    customers.customer_id,
    customers.name,
    customers.city,
    coalesce(sum(orders.revenue), 0) as revenue
from {{ ref('dim_customers') }} as customers
left join {{ ref('fact_orders') }} as orders
    on customers.customer_id = orders.customer_id
where customers.valid_to is null
group by customers.customer_id, customers.name, customers.city
