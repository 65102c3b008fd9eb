{% macro get_column_values(table, column, order_by='count(*) desc', default=none) -%}
  {{ return(adapter.dispatch('get_column_values', 'tools')(table, column, order_by, default)) }}
{%- endmacro %}

{% macro default__get_column_values(table, column, order_by, default) -%}
  {%- if not execute -%}{{ return(default or []) }}{%- endif -%}
  {%- call statement('get_column_values', fetch_result=true) -%}
    select {{ column }} as value from {{ table }} group by {{ column }} order by {{ order_by }}
  {%- endcall -%}
  {{ return(load_result('get_column_values')['data'] | map(attribute=0) | list) }}
{%- endmacro %}

{% macro columns_of(relation, except=[]) -%}
  {%- set kept = [] -%}
  {%- set left_out = except | map('lower') | list -%}
  {%- for column in adapter.get_columns_in_relation(relation) if column.column | lower not in left_out -%}
    {%- do kept.append(column) -%}
  {%- endfor -%}
  {{ return(kept) }}
{%- endmacro %}

{% macro star(from, relation_alias=false, except=[], prefix='', suffix='') -%}
  {{ return(adapter.dispatch('star', 'tools')(from, relation_alias, except, prefix, suffix)) }}
{%- endmacro %}

{% macro default__star(from, relation_alias=false, except=[], prefix='', suffix='') -%}
  {%- set columns = columns_of(from, except) -%}
  {%- if columns | length == 0 -%}*{%- endif -%}
  {%- for column in columns -%}
    {{ relation_alias ~ '.' if relation_alias }}{{ adapter.quote(column.name) }}
    {%- if prefix or suffix %} as {{ adapter.quote(prefix ~ column.name ~ suffix) }}{% endif -%}
    {{ ', ' if not loop.last }}
  {%- endfor -%}
{%- endmacro %}

{% macro union_relations(relations, source_column_name='_relation') -%}
  {{ return(adapter.dispatch('union_relations', 'tools')(relations, source_column_name)) }}
{%- endmacro %}

{% macro default__union_relations(relations, source_column_name) -%}
  {%- set superset = {} -%}
  {%- for relation in relations -%}
    {%- for column in columns_of(relation) -%}
      {%- if column.name not in superset %}{% do superset.update({column.name: column.data_type}) %}{% endif -%}
    {%- endfor -%}
  {%- endfor -%}
  {%- for relation in relations -%}
    {%- set own = columns_of(relation) | map(attribute='name') | list %}
    select
      cast({{ dbt.string_literal(relation.identifier) }} as {{ dbt.type_string() }}) as {{ source_column_name }}
      {%- for name, type in superset.items() %},
      cast({{ adapter.quote(name) if name in own else 'null' }} as {{ type }}) as {{ adapter.quote(name) }}
      {%- endfor %}
    from {{ relation }}
    {% if not loop.last %}union all{% endif -%}
  {%- endfor -%}
{%- endmacro %}

{% macro pivot(column, values, agg='sum', then_value=1, else_value=0) -%}
  {{ return(adapter.dispatch('pivot', 'tools')(column, values, agg, then_value, else_value)) }}
{%- endmacro %}

{% macro default__pivot(column, values, agg, then_value, else_value) -%}
  {%- for value in values -%}
    {{ agg }}(case when {{ column }} = '{{ dbt.escape_single_quotes(value) }}' then {{ then_value }} else {{ else_value }} end)
      as {{ adapter.quote(value) }}{{ ',' if not loop.last }}
  {% endfor -%}
{%- endmacro %}

{% test at_least(model, column_name, value) %}
select * from {{ model }} where {{ column_name }} < {{ value }}
{% endtest %}
