{# What dbt writes once for all databases, in the SQL that is spoken here. #}

{% macro type_string() %}varchar{% endmacro %}
{% macro type_timestamp() %}timestamp{% endmacro %}
{% macro type_float() %}double{% endmacro %}
{% macro type_numeric() %}decimal(28, 6){% endmacro %}
{% macro type_bigint() %}bigint{% endmacro %}
{% macro type_int() %}int{% endmacro %}
{% macro type_boolean() %}boolean{% endmacro %}

{% macro current_timestamp() %}now(){% endmacro %}
{% macro current_timestamp_backcompat() %}now(){% endmacro %}
{% macro current_timestamp_in_utc_backcompat() %}now(){% endmacro %}

{% macro cast(field, type) %}cast({{ field }} as {{ type }}){% endmacro %}
{% macro safe_cast(field, type) %}try_cast({{ field }} as {{ type }}){% endmacro %}
{% macro cast_bool_to_text(field) %}cast({{ field }} as varchar){% endmacro %}

{% macro concat(fields) %}{{ fields | join(' || ') }}{% endmacro %}
{% macro hash(field) %}md5(cast({{ field }} as varchar)){% endmacro %}
{% macro length(expression) %}character_length({{ expression }}){% endmacro %}
{% macro position(substring_text, string_text) %}strpos({{ string_text }}, {{ substring_text }}){% endmacro %}
{% macro replace(field, old_chars, new_chars) %}replace({{ field }}, {{ old_chars }}, {{ new_chars }}){% endmacro %}
{% macro right(string_text, length_expression) %}right({{ string_text }}, {{ length_expression }}){% endmacro %}
{% macro split_part(string_text, delimiter_text, part_number) %}split_part({{ string_text }}, {{ delimiter_text }}, {{ part_number }}){% endmacro %}
{% macro escape_single_quotes(expression) %}{{ expression | replace("'", "''") }}{% endmacro %}
{% macro string_literal(value) %}'{{ value }}'{% endmacro %}

{% macro any_value(expression) %}first_value({{ expression }}){% endmacro %}
{% macro bool_or(expression) %}bool_or({{ expression }}){% endmacro %}

{% macro listagg(measure, delimiter_text="','", order_by_clause=none, limit_num=none) -%}
  {%- set ordered = measure ~ (' ' ~ order_by_clause if order_by_clause else '') -%}
  {%- if limit_num -%}
    array_to_string(array_slice(array_agg({{ ordered }}), 1, {{ limit_num }}), {{ delimiter_text }})
  {%- elif order_by_clause -%}
    string_agg({{ measure }}, {{ delimiter_text }} {{ order_by_clause }})
  {%- else -%}
    string_agg({{ measure }}, {{ delimiter_text }})
  {%- endif -%}
{%- endmacro %}

{% macro except() %}except{% endmacro %}
{% macro intersect() %}intersect{% endmacro %}
{% macro equals(expr1, expr2) %}({{ expr1 }} is not distinct from {{ expr2 }}){% endmacro %}

{% macro array_construct(inputs=[], data_type='int') %}make_array({{ inputs | join(', ') }}){% endmacro %}
{% macro array_append(array, new_element) %}array_append({{ array }}, {{ new_element }}){% endmacro %}
{% macro array_concat(array_1, array_2) %}array_concat({{ array_1 }}, {{ array_2 }}){% endmacro %}

{% macro date(year, month, day) %}make_date({{ year }}, {{ month }}, {{ day }}){% endmacro %}
{% macro date_trunc(datepart, date) %}date_trunc('{{ datepart | lower }}', {{ date }}){% endmacro %}

{% macro dateadd(datepart, interval, from_date_or_timestamp) -%}
  {%- set part = datepart | lower -%}
  {%- set steps = '(' ~ interval ~ ') * 3' if part == 'quarter' else interval -%}
  {%- set unit = 'month' if part == 'quarter' else part -%}
  ({{ from_date_or_timestamp }} + cast(cast({{ steps }} as varchar) || ' {{ unit }}' as interval))
{%- endmacro %}

{% macro datediff(first_date, second_date, datepart) -%}
  {%- set part = datepart | lower -%}
  {%- set seconds = {'second': 1, 'minute': 60, 'hour': 3600, 'day': 86400, 'week': 604800} -%}
  {%- set first = 'cast(' ~ first_date ~ ' as timestamp)' -%}
  {%- set second = 'cast(' ~ second_date ~ ' as timestamp)' -%}
  {%- if part == 'year' -%}
    cast(date_part('year', {{ second }}) - date_part('year', {{ first }}) as bigint)
  {%- elif part in ['quarter', 'month'] -%}
    {%- set a_year = 4 if part == 'quarter' else 12 -%}
    cast(
      (date_part('year', {{ second }}) - date_part('year', {{ first }})) * {{ a_year }}
      + date_part('{{ part }}', {{ second }}) - date_part('{{ part }}', {{ first }})
    as bigint)
  {%- elif part in seconds -%}
    cast(round((
      date_part('epoch', date_trunc('{{ part }}', {{ second }}))
      - date_part('epoch', date_trunc('{{ part }}', {{ first }}))
    ) / {{ seconds[part] }}) as bigint)
  {%- elif part in ['millisecond', 'microsecond'] -%}
    {%- set a_second = 1000 if part == 'millisecond' else 1000000 -%}
    cast(
      floor(date_part('epoch', {{ second }}) * {{ a_second }}) - floor(date_part('epoch', {{ first }}) * {{ a_second }})
    as bigint)
  {%- else -%}
    {{ exceptions.raise_compiler_error('datediff knows no part of a date called ' ~ datepart) }}
  {%- endif -%}
{%- endmacro %}

{% macro last_day(date, datepart) -%}
  {%- set unit = '3 month' if datepart | lower == 'quarter' else '1 ' ~ (datepart | lower) -%}
  cast(date_trunc('{{ datepart | lower }}', cast({{ date }} as timestamp)) + interval '{{ unit }}' - interval '1 day' as date)
{%- endmacro %}

{% macro date_spine(datepart, start_date, end_date) %}
  {%- set unit = '3 month' if datepart | lower == 'quarter' else '1 ' ~ (datepart | lower) -%}
  select unnest(range(cast({{ start_date }} as timestamp), cast({{ end_date }} as timestamp), interval '{{ unit }}')) as date_{{ datepart }}
{% endmacro %}

{% macro generate_series(upper_bound) %}
  select unnest(range(1, {{ upper_bound }} + 1)) as generated_number
{% endmacro %}

{% macro get_powers_of_two(upper_bound) %}
  {%- if upper_bound <= 0 -%}
    {{ exceptions.raise_compiler_error('get_powers_of_two needs a number above 0') }}
  {%- endif -%}
  {%- for power in range(1, 100) if 2 ** power >= upper_bound -%}
    {%- if loop.first %}{{ return(power) }}{% endif -%}
  {%- endfor -%}
{% endmacro %}

{% macro get_intervals_between(start_date, end_date, datepart) -%}
  {%- set found = run_query('select ' ~ datediff(start_date, end_date, datepart)) -%}
  {{ return(found.columns[0][0] if found is not none else 0) }}
{%- endmacro %}

{% macro get_columns_in_query(select_sql) -%}
  {%- set found = run_query('select * from (' ~ select_sql ~ ') as __dbt_sbq where false limit 0') -%}
  {{ return(found.column_names | list if found is not none else []) }}
{%- endmacro %}

{% macro should_full_refresh() -%}
  {%- set full_refresh = config.get('full_refresh') -%}
  {{ return(flags.FULL_REFRESH if full_refresh is none else full_refresh) }}
{%- endmacro %}
