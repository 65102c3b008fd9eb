{#- The dimension has its unknown member, once: the row with the key -1 that facts without a dimension row point to. -#}
{% test has_unknown_member(model, column_name) %}

select count(*) as unknown_members
from {{ model }}
where {{ column_name }} = -1
having count(*) <> 1

{% endtest %}
