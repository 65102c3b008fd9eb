{#-
    US federal holidays by 5 U.S.C. 6103. Inauguration Day is left out: it is a holiday around Washington, D.C. alone.
-#}

{#- The holiday that falls on a date by its day and month, or null. -#}
{%- macro fixed_us_holiday(date) -%}
    case date_part('month', {{ date }}) * 100 + date_part('day', {{ date }})
        when 101 then 'New Year''s Day'
        when 619 then case when date_part('year', {{ date }}) >= 2021 then 'Juneteenth' end
        when 704 then 'Independence Day'
        when 1111 then 'Veterans Day'
        when 1225 then 'Christmas Day'
    end
{%- endmacro -%}

{#- The holiday that falls on a date by its weekday's place in the month, or null. -#}
{%- macro floating_us_holiday(date) -%}
    case
        when date_part('isodow', {{ date }}) = 1 then
            case
                when date_part('month', {{ date }}) = 1 and {{ weekday_of_month(date) }} = 3
                    then 'Birthday of Martin Luther King, Jr.'
                when date_part('month', {{ date }}) = 2 and {{ weekday_of_month(date) }} = 3
                    then 'Washington''s Birthday'
                when date_part('month', {{ date }}) = 5 and date_part('day', {{ date }}) > 24 then 'Memorial Day'
                when date_part('month', {{ date }}) = 9 and {{ weekday_of_month(date) }} = 1 then 'Labor Day'
                when date_part('month', {{ date }}) = 10 and {{ weekday_of_month(date) }} = 2 then 'Columbus Day'
            end
        when date_part('isodow', {{ date }}) = 4
            and date_part('month', {{ date }}) = 11
            and {{ weekday_of_month(date) }} = 4
            then 'Thanksgiving Day'
    end
{%- endmacro -%}

{#- A fixed holiday on a Saturday is observed on the Friday before, one on a Sunday on the Monday after. -#}
{%- macro observed_us_holiday(date) -%}
    case date_part('isodow', {{ date }})
        when 5 then {{ fixed_us_holiday("(" ~ date ~ " + interval '1 day')") }}
        when 1 then {{ fixed_us_holiday("(" ~ date ~ " - interval '1 day')") }}
    end
{%- endmacro -%}

{#- 1 for the first Monday (Tuesday, ...) of the month, 2 for the second, and so on. -#}
{%- macro weekday_of_month(date) -%}
    (date_part('day', {{ date }}) + 6) / 7
{%- endmacro -%}
