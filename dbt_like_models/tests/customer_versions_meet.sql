-- Versions of a customer neither overlap nor leave a gap: each ends where the next begins, the first begins with time.
with

customers as (
    select * from {{ ref('dim_customers') }}
),

neighbours as (
    select
        customer_id,
        customer_key,
        effective_from,
        effective_to,
        lag(effective_to) over (partition by customer_id order by effective_from) as previous_to,
        row_number() over (partition by customer_id order by effective_from) as version_number,
        count(*) over (partition by customer_id) as version_count
    from customers
)

select *
from neighbours
where
    effective_to <= effective_from
    or (version_number = 1 and effective_from <> {{ beginning_of_time() }})
    or (version_number > 1 and effective_from is distinct from previous_to)
    or (version_number < version_count and effective_to is null)
