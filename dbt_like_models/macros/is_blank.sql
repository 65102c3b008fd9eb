{#- Whether a text is null, empty or nothing but spaces. -#}
{%- macro is_blank(column) -%}
    coalesce(trim({{ column }}), '') = ''
{%- endmacro -%}
