CREATE TABLE orders (
    order_id    STRING         COMMENT 'Order, O and a number.',
    customer_id STRING         COMMENT 'Who ordered.',
    status      STRING         COMMENT 'A code of the seed order_statuses.',
    amount      DECIMAL(12, 2) COMMENT 'What the order costs, in euros.',
    ordered_at  TIMESTAMP      COMMENT 'When it was ordered.',
    updated_at  TIMESTAMP      COMMENT 'When the web shop wrote this version of the order.'
)
COMMENT 'Orders from the web shop, one row a version of an order.'
WITH (source = 'files', format = 'csv', timezone = 'UTC', key = 'order_id', watermark = 'updated_at');
