select
    order_id,
    custmer_id,
    status
from {{ ref('raw_orders') }}
where status <> 'lost'
