-- One row per tower (SCD type 1), and the unknown member.
{{ config(
    unique_key='tower_key',
    recompute_by='tower_id',
    inputs={'towers': {'tower_id': 'tower_id'}}
) }}

with

towers as (
    select * from {{ ref('towers') }}
),

unknown_member as (
    select 'UNKNOWN' as tower_id
),

members as (
    select * from towers
    union all by name
    select * from unknown_member
),

final as (
    select
        case when tower_id = 'UNKNOWN' then -1 else surrogate_key(tower_id) end as tower_key,
        tower_id,

        city,
        state,
        latitude,
        longitude,
        case
            when tower_id = 'UNKNOWN' then 'Unknown'
            when state in ('WA', 'OR') then 'Northwest'
            when state in ('CA', 'AZ', 'NV') then 'Southwest'
            when state = 'TX' then 'South'
            when state in ('FL', 'GA') then 'Southeast'
            when state in ('NY', 'MA') then 'Northeast'
            when state in ('IL', 'OH', 'MI') then 'Midwest'
            when state in ('CO', 'UT') then 'Mountain'
            else 'Other'
        end as region,

        tower_type,
        radio_technology,
        capacity_erlangs,
        case
            when capacity_erlangs >= 1000 then 'Tier1_High'
            when capacity_erlangs >= 500 then 'Tier2_Medium'
            when capacity_erlangs is not null then 'Tier3_Low'
            else 'Unknown'
        end as capacity_tier,
        install_date,
        last_maintenance_date,
        is_active,

        {{ processed_at() }} as _processed_at
    from members
)

select * from final
