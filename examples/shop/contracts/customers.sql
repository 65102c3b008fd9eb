CREATE TABLE customers (
    customer_id STRING    COMMENT 'Customer, C and a number.',
    name        STRING    COMMENT 'How the customer is addressed.',
    city        STRING    COMMENT 'Where parcels go.',
    updated_at  TIMESTAMP COMMENT 'When the web shop wrote this version of the customer.'
)
COMMENT 'Customers from the web shop, one row a version of a customer.'
WITH (source = 'files', format = 'csv', timezone = 'UTC', key = 'customer_id', watermark = 'updated_at');
