select order_id, {{ cents('amount') }} as amount_cents, stauts
from {{ ref('stg_orders') }}
