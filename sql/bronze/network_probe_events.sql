-- What ingest lands in bronze.network_probe_events. Every field may be missing: Bronze keeps what was sent, Silver judges it.
CREATE TABLE network_probe_events (
    probe_id                    STRING    COMMENT 'UUID of the reading.',
    tower_id                    STRING    COMMENT 'Tower that was read, such as SEA-001. The key of the Kafka record.',
    region                      STRING    COMMENT 'Region of the tower, as the probe names it.',
    measurement_timestamp       TIMESTAMP COMMENT 'When the reading was taken; one a tower and second.',
    load_pct                    DOUBLE    COMMENT 'Load of the tower, percent of its capacity from 0 to 100.',
    active_connections          INT       COMMENT 'Devices connected.',
    capacity_erlangs            DOUBLE    COMMENT 'Traffic that the tower can carry, erlangs.',
    avg_signal_strength_dbm     DOUBLE    COMMENT 'Mean received signal, dBm; negative, and better nearer to 0.',
    avg_sinr_db                 DOUBLE    COMMENT 'Mean ratio of signal to interference and noise, dB.',
    call_setup_success_rate_pct DOUBLE    COMMENT 'Calls set up of those attempted, percent from 0 to 100.',
    call_drop_rate_pct          DOUBLE    COMMENT 'Calls dropped of those set up, percent from 0 to 100.',
    handoff_success_rate_pct    DOUBLE    COMMENT 'Handovers that succeeded, percent from 0 to 100.',
    avg_throughput_mbps         DOUBLE    COMMENT 'Mean throughput, megabits a second.',
    packet_loss_pct             DOUBLE    COMMENT 'Packets lost, percent from 0 to 100.',
    avg_latency_ms              DOUBLE    COMMENT 'Mean round-trip time, milliseconds.',
    power_output_watts          DOUBLE    COMMENT 'Transmitted power, watts.',
    temperature_celsius         DOUBLE    COMMENT 'Temperature of the equipment, degrees Celsius.',
    software_version            STRING    COMMENT 'Software of the base station.',
    alert_threshold_breached    BOOLEAN   COMMENT 'Whether the load was over 85 percent.',
    ingested_at                 TIMESTAMP COMMENT 'When the carrier''s collector took the reading. When this lake took it is _ingested_at.'
)
COMMENT 'Readings of the network probes, one record a tower and second.'
WITH (topic = 'network_probe_events', format = 'json', timezone = 'UTC');
