{#- Every row has this one value. -#}
{% test equals(model, column_name, value) %}

select {{ column_name }}
from {{ model }}
where {{ column_name }} is distinct from {{ value }}

{% endtest %}
