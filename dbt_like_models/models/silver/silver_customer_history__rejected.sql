-- One row per rejected CRM row that no good row of the same customer has followed.
{{ config(
    unique_key=['_load', '_file', '_row'],
    recompute_by='customer_id',
    inputs={'bronze.crm_customers': {'customer_id': 'customer_id'}}
) }}

with

crm_customers as (
    select * from {{ source('bronze', 'crm_customers') }}
    where _error is null
),

checked as (
    select *, {{ customer_rejection_reason() }} as rejection_reason
    from crm_customers
),

rejected as (
    {{ still_rejected('checked', 'customer_id', latest_load_first()) }}
),

final as (
    select
        customer_id,
        rejection_reason,

        updated_at,
        account_number,
        first_name,
        last_name,
        email,
        phone_number,
        plan_code,
        created_at,

        _load,
        _file,
        _row,
        _ingested_at,
        {{ processed_at() }} as _processed_at
    from rejected
)

select * from final
