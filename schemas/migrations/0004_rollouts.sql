-- The controller's part: when a pair was stored, who served it, and what was decided.

ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS key String CODEC(ZSTD(1)) AFTER reason;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS served_arm LowCardinality(String) AFTER key;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_fingerprint LowCardinality(String) AFTER stable_model;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS candidate_fingerprint LowCardinality(String) AFTER candidate_model;

ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_error_message String CODEC(ZSTD(1)) AFTER stable_error;

-- When the row came here, by this store's clock. Evidence is folded by it: a bucket of it that is over gets no more
-- pairs, and what comes late is in the bucket in which it came. Rows from before this column were complete when they
-- came, as near as can be told.
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stored_at Int64 DEFAULT completed_at CODEC(Delta, ZSTD(1));
ALTER TABLE pair_log MATERIALIZE COLUMN stored_at SETTINGS mutations_sync = 2;
ALTER TABLE pair_log MODIFY COLUMN stored_at Int64 DEFAULT toUnixTimestamp64Milli(now64(3)) CODEC(Delta, ZSTD(1));
ALTER TABLE pair_log ADD INDEX IF NOT EXISTS stored_range stored_at TYPE minmax GRANULARITY 1;

-- Of two rows of the same outcome the one that was stored first counts, and not the one that was complete first: a
-- verdict may rest on it already, so that nothing that comes later may take its place.
ALTER TABLE pair_log MODIFY COLUMN version UInt64 MATERIALIZED
    bitShiftLeft(toUInt64(transform(outcome, ['scored', 'abstained', 'unpaired'], [3, 2, 1], 0)), 62)
    + bitShiftLeft(toUInt64(4398046511103 - least(greatest(stored_at, 0), 4398046511103)), 20)
    + cityHash64(reason, stable_output, stable_error, candidate_output, candidate_error) % 1048576;

CREATE OR REPLACE VIEW pairs AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    fromUnixTimestamp64Milli(stored_at, 'UTC') AS stored_at,
    toStartOfMinute(ts_time) AS minute,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, stored_at, outcome, reason
    ),
    (stable_error != '')::Bool AS stable_failed,
    (candidate_error != '')::Bool AS candidate_failed,
    candidate_latency_ms - stable_latency_ms AS latency_difference_ms,
    toInt64(candidate_output_tokens) - toInt64(stable_output_tokens) AS output_tokens_difference,
    lengthUTF8(stable_output) AS stable_length,
    lengthUTF8(candidate_output) AS candidate_length
FROM pair_log FINAL
WHERE outcome = 'scored';

CREATE OR REPLACE VIEW abstained AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    fromUnixTimestamp64Milli(stored_at, 'UTC') AS stored_at,
    toStartOfMinute(ts_time) AS minute,
    reason,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, stored_at, outcome, reason,
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference
    )
FROM pair_log FINAL
WHERE outcome = 'abstained';

CREATE OR REPLACE VIEW unpaired AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    fromUnixTimestamp64Milli(stored_at, 'UTC') AS stored_at,
    toStartOfMinute(ts_time) AS minute,
    reason,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, stored_at, outcome, reason,
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference
    )
FROM pair_log FINAL
WHERE outcome = 'unpaired';

-- Every decision on a rollout, and every command of a person, in order; docs/rollouts.md. The state of a rollout is
-- the column state of its last row. Rows are added one at a time, each under the insert token rollout:seq, so that of
-- two that would be the same seq the store keeps the first and drops the other.
CREATE TABLE IF NOT EXISTS rollout_log
(
    rollout LowCardinality(String),
    seq UInt64,
    entry_id String,
    at Int64,
    epoch LowCardinality(String),
    event LowCardinality(String),
    actor String,
    reason String CODEC(ZSTD(1)),
    phase LowCardinality(String),
    stage LowCardinality(String),
    traffic_pct Float64,
    evidence String CODEC(ZSTD(1)),
    alerts String CODEC(ZSTD(1)),
    state String CODEC(ZSTD(1)),
    at_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(at, 'UTC'),
    CONSTRAINT is_entry CHECK rollout != '' AND entry_id != '' AND seq > 0
)
ENGINE = MergeTree
ORDER BY (rollout, seq)
SETTINGS non_replicated_deduplication_window = 100000;

CREATE OR REPLACE VIEW decisions AS
SELECT rollout, seq, at_time AS at, epoch, event, actor, reason, phase, stage, traffic_pct, evidence
FROM rollout_log;

-- Who leads: as the log, under the token name:term.
CREATE TABLE IF NOT EXISTS lease_log
(
    name LowCardinality(String),
    term UInt64,
    holder String,
    until Int64
)
ENGINE = MergeTree
ORDER BY (name, term)
SETTINGS non_replicated_deduplication_window = 100000;

-- The fold of a stage's evidence after its closed buckets: what the next poll goes on from.
CREATE TABLE IF NOT EXISTS fold_log
(
    rollout LowCardinality(String),
    epoch LowCardinality(String),
    since Int64,
    until Int64,
    rules LowCardinality(String),
    state String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(until)
ORDER BY (rollout, epoch, since, rules)
SETTINGS non_replicated_deduplication_window = 10000;

-- The evidence for each claim after each bucket that had pairs. slice '' is all traffic.
CREATE TABLE IF NOT EXISTS evidence_log
(
    rollout LowCardinality(String),
    epoch LowCardinality(String),
    stage LowCardinality(String),
    since Int64 CODEC(Delta, ZSTD(1)),
    until Int64 CODEC(Delta, ZSTD(1)),
    slice LowCardinality(String),
    decides LowCardinality(String),
    claim LowCardinality(String),
    pairs UInt64 CODEC(ZSTD(1)),
    mean Nullable(Float64) CODEC(ZSTD(1)),
    log_e Float64 CODEC(ZSTD(1)),
    log_needed Float64 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(until, 'UTC'))
ORDER BY (rollout, epoch, since, slice, decides, claim, until)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW evidence AS
SELECT
    rollout, epoch, stage,
    fromUnixTimestamp64Milli(since, 'UTC') AS since,
    fromUnixTimestamp64Milli(until, 'UTC') AS until,
    slice, decides, claim, pairs, mean,
    exp(least(log_e, 690)) AS e,
    round(exp(least(log_needed, 690)), 6) AS needed,
    log_e >= log_needed AS reached
FROM evidence_log FINAL;

-- What became of each alert, by channel: one row for each attempt.
CREATE TABLE IF NOT EXISTS alert_log
(
    alert_id String,
    channel LowCardinality(String),
    attempt UInt32,
    at Int64,
    outcome LowCardinality(String),
    status Int32,
    message String CODEC(ZSTD(1)),
    at_time DateTime64(3, 'UTC') MATERIALIZED fromUnixTimestamp64Milli(at, 'UTC'),
    CONSTRAINT is_attempt CHECK outcome IN ('sent', 'failed', 'refused', 'gave_up')
)
ENGINE = MergeTree
ORDER BY (alert_id, channel, attempt)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE OR REPLACE VIEW alerts AS
SELECT alert_id, channel, attempt, at_time AS at, outcome, status, message FROM alert_log;
