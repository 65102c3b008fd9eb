-- What all days bring is what all orders bring.
select days.revenue as of_days, orders.revenue as of_orders
from (select sum(revenue) as revenue from {{ ref('daily_revenue') }}) as days
cross join (select sum(revenue) as revenue from {{ ref('fact_orders') }}) as orders
where days.revenue is distinct from orders.revenue
