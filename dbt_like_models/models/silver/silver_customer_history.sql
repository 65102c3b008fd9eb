-- One row per customer and updated_at, however late and in whatever order the CRM's rows arrived.
{{ config(
    unique_key=['customer_id', 'updated_at'],
    recompute_by='customer_id',
    inputs={'bronze.crm_customers': {'customer_id': 'customer_id'}}
) }}

with

crm_customers as (
    select *, coalesce(_deleted, false) as is_deleted
    from {{ source('bronze', 'crm_customers') }}
    where _error is null
),

checked as (
    select *, {{ customer_rejection_reason() }} as rejection_reason
    from crm_customers
),

latest as (
    select *
    from checked
    where rejection_reason is null
    qualify row_number() over (partition by customer_id, updated_at order by {{ latest_load_first() }}) = 1
),

-- A row that marks a customer as gone carries no attributes: it shares the number of the described row before it.
numbered as (
    select
        *,
        count(case when not is_deleted then 1 end) over (
            partition by customer_id
            order by updated_at
            rows between unbounded preceding and current row
        ) as description_number
    from latest
),

described as (
    select * from numbered
    where not is_deleted
),

-- The inner join leaves out a mark that nothing described comes before: there was no customer to be gone.
final as (
    select
        numbered.customer_id,
        numbered.updated_at,
        numbered.is_deleted,

        described.account_number,
        described.first_name,
        described.last_name,
        described.email,
        described.phone_number,
        described.billing_address_street,
        described.billing_address_city,
        described.billing_address_state,
        described.billing_address_zip,
        described.plan_code,
        cast(described.plan_monthly_fee_usd as decimal(18, 4)) as plan_monthly_fee_usd,
        described.contract_start_date,
        described.contract_end_date,
        described.is_active,
        described.number_of_lines,
        described.device_type,
        described.device_imei,
        described.acquisition_channel,
        cast(described.lifetime_value_usd as decimal(18, 4)) as lifetime_value_usd,
        described.churn_risk,
        described.nps_score,
        described.created_at,

        numbered._load,
        numbered._file,
        numbered._row,
        numbered._ingested_at,
        {{ processed_at() }} as _processed_at
    from numbered
    inner join described
        on numbered.customer_id = described.customer_id
        and numbered.description_number = described.description_number
)

select * from final
