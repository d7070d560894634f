-- Noise pairs: the answer that the stable version served beside its own second one (docs/noise.md). In a table of their
-- own, so that nothing that counts pairs can count one of them. It has the columns of pair_log: stable_* is what was
-- served, candidate_* the second answer.

CREATE TABLE IF NOT EXISTS noise_log
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
    key String CODEC(ZSTD(1)),
    served_arm LowCardinality(String),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    request String CODEC(ZSTD(1)),
    left_out Array(LowCardinality(String)) CODEC(ZSTD(1)),
    stable_model LowCardinality(String),
    stable_served_model LowCardinality(String),
    stable_fingerprint LowCardinality(String),
    stable_output String CODEC(ZSTD(1)),
    stable_tool_calls String CODEC(ZSTD(1)),
    stable_finish_reason LowCardinality(String),
    stable_error LowCardinality(String),
    stable_error_message String CODEC(ZSTD(1)),
    stable_status Int32 CODEC(ZSTD(1)),
    stable_latency_ms Nullable(Float64) CODEC(ZSTD(1)),
    stable_ttft_ms Nullable(Float64) CODEC(ZSTD(1)),
    stable_input_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    stable_output_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    candidate_model LowCardinality(String),
    candidate_served_model LowCardinality(String),
    candidate_fingerprint LowCardinality(String),
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
    version UInt64 MATERIALIZED
        bitShiftLeft(toUInt64(transform(outcome, ['scored', 'abstained', 'unpaired'], [3, 2, 1], 0)), 62)
        + bitShiftLeft(toUInt64(4398046511103 - least(greatest(stored_at, 0), 4398046511103)), 20)
        + cityHash64(reason, stable_output, stable_error, candidate_output, candidate_error) % 1048576,
    stored_at Int64 DEFAULT toUnixTimestamp64Milli(now64(3)) CODEC(Delta, ZSTD(1)),
    INDEX ts_range ts_time TYPE minmax GRANULARITY 1,
    INDEX completed_range completed_time TYPE minmax GRANULARITY 1,
    INDEX stored_range stored_at TYPE minmax GRANULARITY 1,
    CONSTRAINT is_pair CHECK pair_id != '' AND request_id != '' AND outcome IN ('scored', 'abstained', 'unpaired'),
    CONSTRAINT is_known CHECK schema_version = 1,
    CONSTRAINT is_dated CHECK ts >= 0 AND ts < 4102444800000 AND completed_at >= 0 AND completed_at < 4102444800000
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(ts_time)
ORDER BY (rollout, epoch, pair_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW noise_pairs AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    fromUnixTimestamp64Milli(stored_at, 'UTC') AS stored_at,
    toStartOfMinute(ts_time) AS minute,
    outcome, reason, key, attributes, request, left_out,
    stable_model, stable_served_model, stable_fingerprint, stable_output, stable_tool_calls, stable_finish_reason,
    stable_error, stable_error_message, stable_status, stable_latency_ms, stable_ttft_ms, stable_input_tokens,
    stable_output_tokens,
    candidate_model AS again_model,
    candidate_served_model AS again_served_model,
    candidate_fingerprint AS again_fingerprint,
    candidate_output AS again_output,
    candidate_tool_calls AS again_tool_calls,
    candidate_finish_reason AS again_finish_reason,
    candidate_error AS again_error,
    candidate_error_message AS again_error_message,
    candidate_status AS again_status,
    candidate_latency_ms AS again_latency_ms,
    candidate_input_tokens AS again_input_tokens,
    candidate_output_tokens AS again_output_tokens,
    candidate_attempts AS again_attempts,
    stable_scores,
    candidate_scores AS again_scores,
    stable_quality,
    candidate_quality AS again_quality
FROM noise_log FINAL;

-- For each request that has both, and each scorer that grades both: what the candidate's answer scores, and what the
-- stable version's second answer scores in its place. quality_score is among them.
CREATE OR REPLACE VIEW noise_scores AS
SELECT
    rollout, epoch, stage, service, route, request_id, ts, minute, key, attributes,
    scored.1 AS scorer,
    scored.2 AS candidate,
    scored.3 AS again,
    candidate - again AS difference
FROM
(
    SELECT
        both.rollout AS rollout, both.epoch AS epoch, both.stage AS stage, both.service AS service,
        both.route AS route, both.request_id AS request_id, both.ts AS ts, both.minute AS minute, both.key AS key,
        both.attributes AS attributes,
        mapConcat(both.candidate_scores, map('quality_score', both.candidate_quality)) AS candidate_scores,
        mapConcat(twice.again_scores, map('quality_score', twice.again_quality)) AS again_scores,
        arrayJoin(
            arrayMap(
                name -> (name::String, candidate_scores[name], again_scores[name]),
                arrayFilter(name -> mapContains(again_scores, name), mapKeys(candidate_scores))
            )
        ) AS scored
    FROM pairs AS both
    INNER JOIN
    (
        SELECT rollout, epoch, request_id, again_scores, again_quality FROM noise_pairs WHERE outcome = 'scored'
    ) AS twice
    ON both.rollout = twice.rollout AND both.epoch = twice.epoch AND both.request_id = twice.request_id
)
WHERE isNotNull(candidate) AND isNotNull(again);
