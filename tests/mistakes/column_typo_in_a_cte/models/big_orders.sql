with orders as (
    select * from {{ ref('stg_orders') }}
),

big as (
    select order_id, amount
    from orders
    where amount > 10
)

select order_id, ammount
from big
