-- What people did with dead letters: replayed them, or dropped their payloads (docs/dead-letters.md). Rows are only
-- ever added; a letter's own row stays, so that its request stays in the ledger.

CREATE TABLE IF NOT EXISTS dead_letter_action_log
(
    dead_letter_id String CODEC(ZSTD(1)),
    at Int64 CODEC(Delta, ZSTD(1)),
    action LowCardinality(String),
    actor String CODEC(ZSTD(1)),
    went_to String CODEC(ZSTD(1)),

    at_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(at, 'UTC') CODEC(Delta, ZSTD(1)),

    CONSTRAINT is_action CHECK dead_letter_id != '' AND action IN ('replayed', 'purged'),
    CONSTRAINT is_dated CHECK at >= 0 AND at < 4102444800000
)
ENGINE = ReplacingMergeTree
ORDER BY (dead_letter_id, action, at)
SETTINGS non_replicated_deduplication_window = 10000;

-- A purged payload that Kafka brings again, because the topic is read from the start, is not shown.
CREATE OR REPLACE VIEW dead_letters AS
SELECT
    dead_letter_id,
    ts_time AS ts,
    component, reason, source_topic, source_partition, source_offset, source_line, request_id,
    if(purged_at IS NULL, payload, '') AS payload,
    payload_encoding, payload_bytes,
    multiIf(purged_at IS NOT NULL, 'purged', replayed_at IS NOT NULL, 'replayed', 'open') AS state,
    replayed_at, replayed_by, went_to, purged_at, purged_by,
    schema_version
FROM dead_letter_log FINAL
LEFT JOIN
(
    SELECT
        dead_letter_id,
        maxOrNullIf(at_time, action = 'replayed') AS replayed_at,
        argMaxIf(actor, at, action = 'replayed') AS replayed_by,
        argMaxIf(went_to, at, action = 'replayed') AS went_to,
        minOrNullIf(at_time, action = 'purged') AS purged_at,
        argMinIf(actor, at, action = 'purged') AS purged_by
    FROM dead_letter_action_log
    GROUP BY dead_letter_id
) AS acted USING (dead_letter_id);
