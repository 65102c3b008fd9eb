select customer_id, name from {{ ref('stg_customers') }}
union all
select customer_id from {{ ref('stg_orders') }}
