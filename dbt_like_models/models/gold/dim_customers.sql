-- One row per version of a customer (SCD type 2), one per customer known from calls alone, and the unknown member.
{{ config(
    unique_key='customer_key',
    recompute_by='customer_id',
    inputs={
        'silver_customer_history': {'customer_id': 'customer_id'},
        'silver_calls': {'customer_id': 'customer_id'}
    }
) }}

with

history as (
    select * from {{ ref('silver_customer_history') }}
),

calls as (
    select * from {{ ref('silver_calls') }}
),

-- A row that says what the row before it said is no version.
changes as (
    select *
    from history
    qualify
        {{ customer_description() }}
        is distinct from lag({{ customer_description() }}) over (partition by customer_id order by updated_at)
),

versions as (
    select
        *,
        case
            when row_number() over (partition by customer_id order by updated_at) = 1 then {{ beginning_of_time() }}
            else updated_at
        end as effective_from,
        lead(updated_at) over (partition by customer_id order by updated_at) as effective_to,
        false as is_inferred
    from changes
),

callers as (
    select distinct customer_id
    from calls
    where customer_id <> 'UNKNOWN'
),

inferred as (
    select
        callers.customer_id,
        {{ beginning_of_time() }} as effective_from,
        false as is_deleted,
        true as is_inferred
    from callers
    left anti join history on callers.customer_id = history.customer_id
),

unknown_member as (
    select
        'UNKNOWN' as customer_id,
        {{ beginning_of_time() }} as effective_from,
        false as is_deleted,
        false as is_inferred
),

-- By name: what the CRM has not told of the last two is null.
members as (
    select * from versions
    union all by name
    select * from inferred
    union all by name
    select * from unknown_member
),

measured as (
    select *, {{ months_between('contract_start_date', 'updated_at') }} as months_under_contract
    from members
),

tenured as (
    select *, case when months_under_contract < 0 then 0 else months_under_contract end as tenure_months
    from measured
),

final as (
    select
        case when customer_id = 'UNKNOWN' then -1 else surrogate_key(customer_id, updated_at) end as customer_key,
        case when customer_id = 'UNKNOWN' then -1 else surrogate_key(customer_id) end as customer_durable_key,
        customer_id,

        {{ mask_name('first_name') }} as first_name_masked,
        {{ mask_name('last_name') }} as last_name_masked,
        {{ mask_email('email') }} as email_masked,
        {{ mask_phone('phone_number') }} as phone_masked,
        hmac_sha256(phone_number) as phone_hmac,
        case when phone_number is not null then pii_key_id() end as pii_key_id,
        billing_address_city as city,
        billing_address_state as state,

        plan_code,
        coalesce({{ plan_tier('plan_code') }}, 'Unknown') as plan_tier,
        plan_monthly_fee_usd,
        contract_start_date,
        contract_end_date,
        is_active,
        number_of_lines,
        device_type,
        acquisition_channel,
        lifetime_value_usd,
        churn_risk,
        nps_score,

        tenure_months,
        case
            when tenure_months < 12 then 'New'
            when tenure_months < 36 then 'Established'
            when tenure_months < 72 then 'Loyal'
            when tenure_months is not null then 'Champion'
            else 'Unknown'
        end as tenure_segment,
        case
            when plan_monthly_fee_usd >= 100 then 'High Value'
            when plan_monthly_fee_usd >= 60 then 'Mid Value'
            when plan_monthly_fee_usd is not null then 'Entry'
            else 'Unknown'
        end as value_segment,
        case
            when nps_score >= 9 then 'Promoter'
            when nps_score >= 7 then 'Passive'
            when nps_score is not null then 'Detractor'
            else 'Unknown'
        end as nps_segment,

        created_at,
        updated_at,
        effective_from,
        effective_to,
        effective_to is null as is_current,
        is_deleted,
        is_inferred,

        _ingested_at,
        {{ processed_at() }} as _processed_at
    from tenured
)

select * from final
