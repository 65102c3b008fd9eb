-- A call is either successful or failed, and its counters say what its flags say.
with

calls as (
    select * from {{ ref('fact_calls') }}
)

select
    call_id,
    call_count,
    successful_call_count,
    failed_call_count,
    roaming_call_count
from calls
where
    successful_call_count + failed_call_count <> call_count
    or successful_call_count <> case when is_successful then 1 else 0 end
    or roaming_call_count <> case when is_roaming then 1 else 0 end
