-- Every customer has exactly one current version, and it is the one without an end.
with

customers as (
    select * from {{ ref('dim_customers') }}
)

select
    customer_id,
    count(*) filter (where is_current) as current_versions
from customers
group by customer_id
having
    count(*) filter (where is_current) <> 1
    or count(*) filter (where is_current <> (effective_to is null)) > 0
