-- How long requests and answers were, also where their content was hashed or left out (docs/redaction.md).
--
-- The logs hold a length only where the text beside it does not tell; the views tell it of every row. What is not known,
-- or was never there, is NULL, so that averages leave it out.

ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS request_bytes UInt64 CODEC(ZSTD(1)) AFTER request;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_output_bytes UInt64 CODEC(ZSTD(1)) AFTER stable_output;
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS candidate_output_bytes UInt64 CODEC(ZSTD(1)) AFTER candidate_output;
ALTER TABLE noise_log ADD COLUMN IF NOT EXISTS request_bytes UInt64 CODEC(ZSTD(1)) AFTER request;
ALTER TABLE noise_log ADD COLUMN IF NOT EXISTS stable_output_bytes UInt64 CODEC(ZSTD(1)) AFTER stable_output;
ALTER TABLE noise_log ADD COLUMN IF NOT EXISTS candidate_output_bytes UInt64 CODEC(ZSTD(1)) AFTER candidate_output;

CREATE OR REPLACE VIEW pairs AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    fromUnixTimestamp64Milli(stored_at, 'UTC') AS stored_at,
    toStartOfMinute(ts_time) AS minute,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, stored_at, outcome, reason,
        request_bytes, stable_output_bytes, candidate_output_bytes
    ),
    (stable_error != '')::Bool AS stable_failed,
    (candidate_error != '')::Bool AS candidate_failed,
    candidate_latency_ms - stable_latency_ms AS latency_difference_ms,
    toInt64(candidate_output_tokens) - toInt64(stable_output_tokens) AS output_tokens_difference,
    lengthUTF8(stable_output) AS stable_length,
    lengthUTF8(candidate_output) AS candidate_length,
    nullIf(if(pair_log.request_bytes = 0, length(request), pair_log.request_bytes), 0) AS request_bytes,
    nullIf(if(stable_output_bytes = 0, length(stable_output), stable_output_bytes), 0) AS stable_bytes,
    nullIf(if(candidate_output_bytes = 0, length(candidate_output), candidate_output_bytes), 0) AS candidate_bytes
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
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference,
        request_bytes, stable_output_bytes, candidate_output_bytes
    ),
    nullIf(if(pair_log.request_bytes = 0, length(request), pair_log.request_bytes), 0) AS request_bytes,
    nullIf(if(stable_output_bytes = 0, length(stable_output), stable_output_bytes), 0) AS stable_bytes,
    nullIf(if(candidate_output_bytes = 0, length(candidate_output), candidate_output_bytes), 0) AS candidate_bytes
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
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference,
        request_bytes, stable_output_bytes, candidate_output_bytes
    ),
    nullIf(if(pair_log.request_bytes = 0, length(request), pair_log.request_bytes), 0) AS request_bytes,
    nullIf(if(stable_output_bytes = 0, length(stable_output), stable_output_bytes), 0) AS stable_bytes,
    nullIf(if(candidate_output_bytes = 0, length(candidate_output), candidate_output_bytes), 0) AS candidate_bytes
FROM pair_log FINAL
WHERE outcome = 'unpaired';

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
    candidate_quality AS again_quality,
    nullIf(if(noise_log.request_bytes = 0, length(request), noise_log.request_bytes), 0) AS request_bytes,
    nullIf(if(stable_output_bytes = 0, length(stable_output), stable_output_bytes), 0) AS stable_bytes,
    nullIf(if(candidate_output_bytes = 0, length(candidate_output), candidate_output_bytes), 0) AS again_bytes
FROM noise_log FINAL;
