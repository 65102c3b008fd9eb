-- What ingest lands in bronze.call_events. Every field may be missing: Bronze keeps what was sent, Silver judges it.
CREATE TABLE call_events (
    event_id             STRING    COMMENT 'UUID of the call attempt. The carrier may send an event again under the same id.',
    event_type           STRING    COMMENT 'CALL',
    caller_msisdn        STRING    COMMENT 'Number of the caller, +1 and ten digits. The key of the Kafka record.',
    called_msisdn        STRING    COMMENT 'Number that was called, +1 and ten digits.',
    caller_customer_id   STRING    COMMENT 'Customer who pays, CUST- and eight digits; crm_customers.customer_id.',
    tower_id             STRING    COMMENT 'Tower that took the call, such as SEA-001.',
    tower_city           STRING    COMMENT 'City of the tower.',
    tower_state          STRING    COMMENT 'State of the tower, two letters.',
    tower_lat            DOUBLE    COMMENT 'Latitude of the tower, degrees north (WGS 84).',
    tower_lon            DOUBLE    COMMENT 'Longitude of the tower, degrees east (WGS 84).',
    call_start_timestamp TIMESTAMP COMMENT 'When the call was set up.',
    call_end_timestamp   TIMESTAMP COMMENT 'When it ended. Null for a call that never began.',
    duration_seconds     INT       COMMENT 'Length in seconds, 0 for a call that failed.',
    call_result_code     STRING    COMMENT 'Release cause: 0 SUCCESS, 17 BUSY, 21 CALL_REJECTED, 31 NETWORK_FAILURE, 38 NETWORK_OUT_OF_ORDER, 41 TEMPORARY_FAILURE. A code, not a quantity.',
    call_result_desc     STRING    COMMENT 'The release cause in words, as the switch wrote it.',
    plan_type            STRING    COMMENT 'Basic, Standard, Premium, Unlimited or Business.',
    roaming              BOOLEAN   COMMENT 'Whether the caller was in the network of another carrier.',
    revenue_usd          DOUBLE    COMMENT 'Charge in US dollars, a float at its source; money from Silver on is decimal.',
    ingested_at          TIMESTAMP COMMENT 'When the carrier''s collector took the event. When this lake took it is _ingested_at.'
)
COMMENT 'Call attempts of the carrier network, one record an attempt, successful or not.'
WITH (topic = 'call_events', format = 'json', timezone = 'UTC');
