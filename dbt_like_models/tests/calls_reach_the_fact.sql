-- Every call of Silver is one row of the fact, and the fact has no others.
with

silver as (
    select call_id from {{ ref('silver_calls') }}
),

fact as (
    select call_id from {{ ref('fact_calls') }}
)

select
    silver.call_id as silver_call_id,
    fact.call_id as fact_call_id
from silver
full outer join fact on silver.call_id = fact.call_id
where silver.call_id is null or fact.call_id is null
