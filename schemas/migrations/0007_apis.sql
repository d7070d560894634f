-- Arms that speak different APIs: what could not be asked of one of them, and what each server calls its own model.

ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS left_out Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER request;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_served_model LowCardinality(String) AFTER stable_model;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS candidate_served_model LowCardinality(String) AFTER candidate_model;

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
