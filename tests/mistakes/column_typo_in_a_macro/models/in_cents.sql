select
    order_id,
    {{ cents('amout') }} as amount_cents
from {{ ref('stg_orders') }}
