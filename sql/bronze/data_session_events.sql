-- What ingest lands in bronze.data_session_events. Every field may be missing: Bronze keeps what was sent, Silver judges it.
CREATE TABLE data_session_events (
    event_id                 STRING    COMMENT 'UUID of the session. The carrier may send an event again under the same id.',
    event_type               STRING    COMMENT 'DATA_SESSION',
    subscriber_msisdn        STRING    COMMENT 'Number of the subscriber, +1 and ten digits. The key of the Kafka record.',
    customer_id              STRING    COMMENT 'Customer who pays, CUST- and eight digits; crm_customers.customer_id.',
    tower_id                 STRING    COMMENT 'Tower that served the session, such as SEA-001.',
    tower_city               STRING    COMMENT 'City of the tower.',
    tower_state              STRING    COMMENT 'State of the tower, two letters.',
    session_start_timestamp  TIMESTAMP COMMENT 'When the session began.',
    session_duration_seconds INT       COMMENT 'Length in seconds.',
    bytes_downloaded         BIGINT    COMMENT 'Bytes to the subscriber.',
    bytes_uploaded           BIGINT    COMMENT 'Bytes from the subscriber.',
    total_bytes              BIGINT    COMMENT 'Bytes in both directions.',
    content_type             STRING    COMMENT 'streaming_video, social_media, web_browsing, voip, gaming or file_download.',
    radio_technology         STRING    COMMENT '4G_LTE, 5G_NR or 5G_MMWAVE.',
    signal_strength_dbm      INT       COMMENT 'Received signal, dBm; negative, and better nearer to 0.',
    packet_loss_pct          DOUBLE    COMMENT 'Packets lost, percent from 0 to 100.',
    latency_ms               DOUBLE    COMMENT 'Round-trip time, milliseconds.',
    plan_type                STRING    COMMENT 'Basic, Standard, Premium, Unlimited or Business.',
    roaming                  BOOLEAN   COMMENT 'Whether the subscriber was in the network of another carrier.',
    revenue_usd              DOUBLE    COMMENT 'Charge in US dollars, a float at its source; money from Silver on is decimal.',
    ingested_at              TIMESTAMP COMMENT 'When the carrier''s collector took the event. When this lake took it is _ingested_at.'
)
COMMENT 'Mobile data sessions of the carrier network, one record a session.'
WITH (topic = 'data_session_events', format = 'json', timezone = 'UTC');
