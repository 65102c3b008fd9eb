-- One row per day from dim_date_first_day to dim_date_last_day, and the unknown member.
{{ config(materialized='table', unique_key='date_key') }}

{% set fiscal_start = var('fiscal_year_start_month') -%}
{% if fiscal_start < 1 or fiscal_start > 12 -%}
    {{ exceptions.raise_compiler_error("fiscal_year_start_month is a month, 1 to 12, not " ~ fiscal_start) }}
{%- endif -%}

with

days as (
    select
        unnest(
            generate_series(
                date '{{ var('dim_date_first_day') }}', date '{{ var('dim_date_last_day') }}', interval '1 day'
            )
        ) as full_date
),

numbered as (
    select
        full_date,
        {{ date_key('full_date') }} as date_key,
        date_part('isodow', full_date) as day_of_week,
        date_part('day', full_date) as day_of_month,
        date_part('doy', full_date) as day_of_year,
        date_part('week', full_date) as week_of_year,
        date_part('isoyear', full_date) as week_year,
        date_part('month', full_date) as month_number,
        date_part('quarter', full_date) as quarter_number,
        date_part('year', full_date) as year_number,
        cast((date_part('month', full_date) + 12 - {{ fiscal_start }}) % 12 + 1 as int) as fiscal_month_number
    from days
),

holidays as (
    select
        full_date,
        coalesce({{ fixed_us_holiday('full_date') }}, {{ floating_us_holiday('full_date') }}) as actual_holiday,
        {{ observed_us_holiday('full_date') }} as observed_holiday
    from days
),

calendar as (
    select
        numbered.date_key,
        numbered.full_date,

        numbered.day_of_week,
        to_char(numbered.full_date, '%A') as day_name,
        numbered.day_of_month,
        numbered.day_of_year,
        numbered.day_of_week >= 6 as is_weekend,

        numbered.week_of_year,
        numbered.week_year,
        numbered.month_number,
        to_char(numbered.full_date, '%B') as month_name,
        to_char(numbered.full_date, '%Y-%m') as year_month,
        numbered.quarter_number,
        concat('Q', numbered.quarter_number) as quarter_name,
        numbered.year_number,

        coalesce(holidays.actual_holiday, holidays.observed_holiday) is not null as is_us_federal_holiday,
        coalesce(holidays.actual_holiday, holidays.observed_holiday || ' (observed)') as holiday_name,

        numbered.fiscal_month_number,
        cast((numbered.fiscal_month_number - 1) / 3 + 1 as int) as fiscal_quarter_number,
        cast(
            {% if fiscal_start == 1 -%}
            numbered.year_number
            {%- else -%}
            numbered.year_number + case when numbered.month_number >= {{ fiscal_start }} then 1 else 0 end
            {%- endif %}
            as int
        ) as fiscal_year
    from numbered
    inner join holidays on numbered.full_date = holidays.full_date
),

unknown_member as (
    select
        cast(-1 as int) as date_key,
        'Unknown' as day_name,
        'Unknown' as month_name,
        'Unknown' as quarter_name,
        false as is_weekend,
        false as is_us_federal_holiday
),

members as (
    select * from calendar
    union all by name
    select * from unknown_member
),

final as (
    select *, {{ processed_at() }} as _processed_at
    from members
)

select * from final
