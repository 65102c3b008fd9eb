select order_id, order_id / 0 as share
from {{ ref('stg_orders') }}
