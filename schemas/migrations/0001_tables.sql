-- What came over Kafka, as it came: each log may hold a record twice, and the views take each once.
--
-- A column is called what the field in schemas/events.py is called, so that envelopes go in as JSONEachRow
-- without being decoded. Times are Int64 (Unix milliseconds): as what ClickHouse reads an unquoted number for
-- a DateTime64 changed in 26.8, from ticks to seconds. Columns called *_time are the same times as dates, and
-- the views show those.
--
-- Every statement of a migration may be run twice: two components that start together both run it.

CREATE TABLE IF NOT EXISTS pair_log
(
    pair_id String CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    rollout LowCardinality(String),
    epoch LowCardinality(String),
    stage LowCardinality(String),
    service LowCardinality(String),
    route LowCardinality(String),
    ts Int64 CODEC(Delta, ZSTD(1)),
    completed_at Int64 CODEC(Delta, ZSTD(1)),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    request String CODEC(ZSTD(1)),
    stable_model LowCardinality(String),
    stable_output String CODEC(ZSTD(1)),
    stable_tool_calls String CODEC(ZSTD(1)),
    stable_finish_reason LowCardinality(String),
    stable_error LowCardinality(String),
    stable_status Int32 CODEC(ZSTD(1)),
    stable_latency_ms Nullable(Float64) CODEC(ZSTD(1)),
    stable_ttft_ms Nullable(Float64) CODEC(ZSTD(1)),
    stable_input_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    stable_output_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    candidate_model LowCardinality(String),
    candidate_output String CODEC(ZSTD(1)),
    candidate_tool_calls String CODEC(ZSTD(1)),
    candidate_finish_reason LowCardinality(String),
    candidate_error LowCardinality(String),
    candidate_error_message String CODEC(ZSTD(1)),
    candidate_status Int32 CODEC(ZSTD(1)),
    candidate_latency_ms Nullable(Float64) CODEC(ZSTD(1)),
    candidate_ttft_ms Nullable(Float64) CODEC(ZSTD(1)),
    candidate_input_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    candidate_output_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    candidate_attempts UInt32 CODEC(ZSTD(1)),
    stable_scores Map(LowCardinality(String), Nullable(Float64)) CODEC(ZSTD(1)),
    candidate_scores Map(LowCardinality(String), Nullable(Float64)) CODEC(ZSTD(1)),
    stable_quality Nullable(Float64) CODEC(ZSTD(1)),
    candidate_quality Nullable(Float64) CODEC(ZSTD(1)),
    quality_difference Nullable(Float64) CODEC(ZSTD(1)),
    traceparent String CODEC(ZSTD(1)),
    schema_version UInt16 DEFAULT 1 CODEC(ZSTD(1)),

    ts_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(ts, 'UTC') CODEC(Delta, ZSTD(1)),
    completed_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(completed_at, 'UTC')
        CODEC(Delta, ZSTD(1)),
    -- Which of several rows of one pair id counts, in whatever order they come: the best outcome; of two, the
    -- one that was complete first, so that a later delivery changes nothing; of two of the same millisecond,
    -- always the same one. From the top: 2 bits, 42 bits (milliseconds up to the year 2109), 20 bits.
    version UInt64 MATERIALIZED
        bitShiftLeft(toUInt64(transform(outcome, ['scored', 'abstained', 'unpaired'], [3, 2, 1], 0)), 62)
        + bitShiftLeft(toUInt64(4398046511103 - least(greatest(completed_at, 0), 4398046511103)), 20)
        + cityHash64(reason, stable_output, stable_error, candidate_output, candidate_error) % 1048576,

    INDEX ts_range ts_time TYPE minmax GRANULARITY 1,
    INDEX completed_range completed_time TYPE minmax GRANULARITY 1,

    -- JSONEachRow fills in whatever is missing, and would take any object for a pair.
    CONSTRAINT is_pair CHECK pair_id != '' AND request_id != '' AND outcome IN ('scored', 'abstained', 'unpaired'),
    CONSTRAINT is_known CHECK schema_version = 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(ts_time)
ORDER BY (rollout, epoch, pair_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS ledger_log
(
    instance LowCardinality(String),
    minute Int64 CODEC(Delta, ZSTD(1)),
    service LowCardinality(String),
    route LowCardinality(String),
    row LowCardinality(String),
    reason LowCardinality(String),
    count UInt64 CODEC(ZSTD(1)),
    schema_version UInt16 DEFAULT 1 CODEC(ZSTD(1)),

    minute_time DateTime('UTC') MATERIALIZED toDateTime(intDiv(minute, 1000), 'UTC') CODEC(Delta, ZSTD(1)),

    INDEX minute_range minute_time TYPE minmax GRANULARITY 1,

    CONSTRAINT is_cell CHECK instance != '' AND row IN ('eligible', 'sampled_out', 'dropped', 'mirrored'),
    CONSTRAINT is_known CHECK schema_version = 1
)
ENGINE = ReplacingMergeTree(count)
PARTITION BY toYYYYMM(minute_time)
ORDER BY (service, route, minute, row, reason, instance)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS dead_letter_log
(
    dead_letter_id String CODEC(ZSTD(1)),
    ts Int64 CODEC(Delta, ZSTD(1)),
    component LowCardinality(String),
    reason String CODEC(ZSTD(1)),
    source_topic LowCardinality(String),
    source_partition UInt32 CODEC(ZSTD(1)),
    source_offset Int64 CODEC(Delta, ZSTD(1)),
    source_line UInt32 CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    payload String CODEC(ZSTD(1)),
    payload_encoding LowCardinality(String) DEFAULT 'utf-8',
    payload_bytes UInt64 CODEC(ZSTD(1)),
    schema_version UInt16 DEFAULT 1 CODEC(ZSTD(1)),

    ts_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(ts, 'UTC') CODEC(Delta, ZSTD(1)),

    -- The earliest of several: the same letter, written again after a crash, carries another time.
    version UInt64 MATERIALIZED toUInt64(4398046511103 - least(greatest(ts, 0), 4398046511103)),

    INDEX ts_range ts_time TYPE minmax GRANULARITY 1,

    CONSTRAINT is_dead_letter CHECK dead_letter_id != '' AND component != '',
    CONSTRAINT is_known CHECK schema_version = 1
)
ENGINE = ReplacingMergeTree(version)
ORDER BY dead_letter_id
SETTINGS non_replicated_deduplication_window = 10000;
