-- The customer version that a call points to is its customer's and was valid when the call began.
with

calls as (
    select * from {{ ref('fact_calls') }}
),

customers as (
    select * from {{ ref('dim_customers') }}
)

select
    calls.call_id,
    calls.customer_id,
    calls.call_start_ts,
    customers.effective_from,
    customers.effective_to
from calls
inner join customers on calls.customer_key = customers.customer_key
where
    not ({{ valid_at('customers', 'calls.call_start_ts') }})
    or (customers.customer_key <> -1 and calls.customer_id is distinct from customers.customer_id)
