-- What ingest lands in bronze.sms_events. Every field may be missing: Bronze keeps what was sent, Silver judges it.
CREATE TABLE sms_events (
    event_id           STRING    COMMENT 'UUID of the message. The carrier may send an event again under the same id.',
    event_type         STRING    COMMENT 'SMS',
    sender_msisdn      STRING    COMMENT 'Number of the sender, +1 and ten digits. The key of the Kafka record.',
    receiver_msisdn    STRING    COMMENT 'Number of the receiver, +1 and ten digits.',
    sender_customer_id STRING    COMMENT 'Customer who pays, CUST- and eight digits; crm_customers.customer_id.',
    tower_id           STRING    COMMENT 'Tower that took the message, such as SEA-001.',
    sms_type           STRING    COMMENT 'P2P, from person to person, or A2P, from an application to a person.',
    delivery_status    STRING    COMMENT 'DELIVERED, FAILED or PENDING.',
    message_size_bytes INT       COMMENT 'Size of the message, bytes.',
    timestamp          TIMESTAMP COMMENT 'When the message was sent.',
    ingested_at        TIMESTAMP COMMENT 'When the carrier''s collector took the event. When this lake took it is _ingested_at.'
)
COMMENT 'Text messages of the carrier network, one record a message.'
WITH (topic = 'sms_events', format = 'json', timezone = 'UTC');
