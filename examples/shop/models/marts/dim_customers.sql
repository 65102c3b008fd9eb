-- One row per customer and time in which nothing about the customer changed (SCD type 2).
{{ config(
    unique_key=['customer_id', 'valid_from'],
    recompute_by='customer_id',
    inputs={'stg_customer_versions': {'customer_id': 'customer_id'}}
) }}

select
    customer_id,
    name,
    city,
    updated_at as valid_from,
    lead(updated_at) over (partition by customer_id order by updated_at) as valid_to
from {{ ref('stg_customer_versions') }}
