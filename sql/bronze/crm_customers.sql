-- What load lands in bronze.crm_customers: every row of every extract. A customer comes again whenever it changed, and
-- sometimes an older version comes after a newer one; updated_at is what orders them.
CREATE TABLE crm_customers (
    customer_id            STRING         COMMENT 'Customer, CUST- and eight digits.',
    account_number         STRING         COMMENT 'Account in the billing system.',
    first_name             STRING         COMMENT 'Given name. Personal data.',
    last_name              STRING         COMMENT 'Family name. Personal data.',
    email                  STRING         COMMENT 'E-mail address. Personal data.',
    phone_number           STRING         COMMENT 'Main number, +1 and ten digits. Personal data.',
    billing_address_street STRING         COMMENT 'Street and number. Personal data.',
    billing_address_city   STRING         COMMENT 'City.',
    billing_address_state  STRING         COMMENT 'State, two letters.',
    billing_address_zip    STRING         COMMENT 'ZIP code; text, since it may start with a zero.',
    plan_code              STRING         COMMENT 'Basic_30, Standard_60, Premium_80, Unlimited_100 or BusinessPro_150.',
    plan_monthly_fee_usd   DECIMAL(12, 2) COMMENT 'Monthly fee of the plan, US dollars.',
    contract_start_date    DATE           COMMENT 'First day of the contract.',
    contract_end_date      DATE           COMMENT 'Last day of the contract. Null while it has no end.',
    is_active              BOOLEAN        COMMENT 'Whether the contract is in force.',
    number_of_lines        INT            COMMENT 'Lines under the account.',
    device_type            STRING         COMMENT 'Device of the main line.',
    device_imei            STRING         COMMENT 'IMEI of that device, 15 digits; text, since it may start with a zero. Personal data.',
    acquisition_channel    STRING         COMMENT 'Where the customer was won.',
    lifetime_value_usd     DECIMAL(12, 2) COMMENT 'Estimated value of the customer, US dollars.',
    churn_risk             STRING         COMMENT 'LOW, MEDIUM or HIGH.',
    nps_score              INT            COMMENT 'Net promoter score, from -100 to 100.',
    created_at             TIMESTAMP      COMMENT 'When the customer came into the CRM.',
    updated_at             TIMESTAMP      COMMENT 'When this version of the customer was written: the watermark of extracts.'
)
COMMENT 'Customers from the CRM, one row a version of a customer.'
WITH (source = 'files', format = 'csv', timezone = 'UTC', key = 'customer_id', watermark = 'updated_at');
