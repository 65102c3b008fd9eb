{#- The newest arrival, in a column of timestamps, is at most so many minutes old. A table without rows passes. -#}
{% test arrived_within(model, column_name, minutes) %}

select max({{ column_name }}) as newest_arrival
from {{ model }}
having max({{ column_name }}) < now() - interval '{{ minutes }} minutes'

{% endtest %}
