select order_id, cast(status as date) as day
from {{ ref('stg_orders') }}
