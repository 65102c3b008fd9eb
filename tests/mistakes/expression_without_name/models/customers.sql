select count(*), count(*) from {{ ref('stg_orders') }}
