-- One row per customer: the state after the last change that the CRM has told of.
{{ config(
    unique_key='customer_id',
    recompute_by='customer_id',
    inputs={'silver_customer_history': {'customer_id': 'customer_id'}}
) }}

with

history as (
    select * from {{ ref('silver_customer_history') }}
),

final as (
    select * replace ({{ processed_at() }} as _processed_at)
    from history
    qualify row_number() over (partition by customer_id order by updated_at desc) = 1
)

select * from final
