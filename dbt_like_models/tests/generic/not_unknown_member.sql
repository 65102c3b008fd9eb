{#- Every row has found its dimension row: none points to the unknown member. -#}
{% test not_unknown_member(model, column_name) %}

select {{ column_name }}
from {{ model }}
where {{ column_name }} = -1

{% endtest %}
