-- Noise pairs: the answer that the stable version served beside its own second one (docs/noise.md). In a table of their
-- own, so that nothing that counts pairs can count one of them. It has the columns of pair_log: stable_* is what was
-- served, candidate_* the second answer.

CREATE TABLE IF NOT EXISTS noise_log AS pair_log;

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
