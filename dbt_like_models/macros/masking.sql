{#- What Gold shows of personal data. How many stars there are says nothing about the length of what they hide. -#}

{#- First letter and stars. -#}
{%- macro mask_name(column) -%}
    left(trim({{ column }}), 1) || '***'
{%- endmacro -%}

{#- Two letters, stars and the domain; only stars for what is no address. -#}
{%- macro mask_email(column) -%}
    case
        when {{ column }} like '%@%'
            then concat(left(split_part({{ column }}, '@', 1), 2), '***@', split_part({{ column }}, '@', -1))
        when {{ column }} is not null then '***'
    end
{%- endmacro -%}

{#- Country and area code (the first five characters) and XXXXX; never any of the last seven characters. -#}
{%- macro mask_phone(column) -%}
    case
        when {{ column }} is not null
            then concat(left({{ column }}, greatest(0, least(5, char_length({{ column }}) - 7))), 'XXXXX')
    end
{%- endmacro -%}
