{#-
    The mean of a floating-point column, added up in decimals: floating-point sums depend on the order of the rows, and
    a recomputed hour must equal the published one bit for bit. Silver rejects what a decimal cannot hold.
-#}
{%- macro exact_avg(column) -%}
    cast(avg(cast({{ column }} as decimal(18, 6))) as double)
{%- endmacro -%}

{#- Whether `exact_avg` can hold a measure. -#}
{%- macro is_usable_measure(column) -%}
    abs({{ column }}) < 1e12
{%- endmacro -%}
