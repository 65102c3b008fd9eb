{#- The plan's family: the plan code up to the underscore. -#}
{%- macro plan_tier(plan_code) -%}
    split_part({{ plan_code }}, '_', 1)
{%- endmacro -%}

{#-
    Why Silver cannot take a row of bronze.crm_customers: every reason, separated by commas; null for a good row.
    UNKNOWN is the name of the unknown member of dim_customers.
-#}
{%- macro customer_rejection_reason() -%}
    nullif(
        concat_ws(
            ', ',
            case
                when {{ is_blank('customer_id') }} then 'missing_customer_id'
                when customer_id = 'UNKNOWN' then 'reserved_customer_id'
            end,
            case
                when updated_at is null then 'missing_updated_at'
                when not {{ is_usable_time('updated_at') }} then 'updated_at_out_of_range'
            end
        ),
        ''
    )
{%- endmacro -%}

{#- All that a row of the CRM says of a customer: a row that says the same as the one before it is no new version. -#}
{%- macro customer_description() -%}
    struct(
        is_deleted, account_number, first_name, last_name, email, phone_number, billing_address_street,
        billing_address_city, billing_address_state, billing_address_zip, plan_code, plan_monthly_fee_usd,
        contract_start_date, contract_end_date, is_active, number_of_lines, device_type, device_imei,
        acquisition_channel, lifetime_value_usd, churn_risk, nps_score, created_at
    )
{%- endmacro -%}
