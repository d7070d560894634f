-- Sessions, step by step: what an agent was asked, and where the candidate would have gone another way.
--
-- Each step was asked with its recorded context, so that each is compared, whatever the candidate said before. From the
-- first step at which it would have called other tools, that context is none that it would have come to by itself.
-- Nothing is kept of that but the pairs: it is computed from them.

ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_prompt String ALIAS splitByChar('-', stable_fingerprint)[2];
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS stable_tools String ALIAS splitByChar('-', stable_fingerprint)[3];
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS candidate_prompt String ALIAS splitByChar('-', candidate_fingerprint)[2];
ALTER TABLE pair_log ADD COLUMN IF NOT EXISTS candidate_tools String ALIAS splitByChar('-', candidate_fingerprint)[3];

CREATE OR REPLACE VIEW steps_of AS
SELECT
    rollout, epoch, session, step, pair_id, request_id, stage, service, route, ts, served_arm, outcome, reason,
    stable_tool_calls, candidate_tool_calls, agreement, diverged,
    minIf(step, diverged) OVER session_ AS first_divergence,
    (first_divergence > 0 AND step > first_divergence)::Bool AS after_divergence
FROM
(
    SELECT
        rollout, epoch, pair_id, request_id, stage, service, route, ts_time AS ts, served_arm, outcome, reason,
        multiIf(
            {by:String} = 'key', if(key = request_id, '', key),
            {by:String} != '', attributes[{by:String}],
            attributes['session.id'] != '', attributes['session.id'],
            key = request_id, '',
            key
        ) AS session,
        row_number() OVER (PARTITION BY rollout, epoch, session ORDER BY pair_log.ts, request_id) AS step,
        stable_tool_calls, candidate_tool_calls,
        candidate_scores['tool_calls'] AS agreement,
        (
            outcome = 'scored' AND stable_error = '' AND candidate_error = ''
            AND ifNull(agreement < 1, stable_tool_calls != candidate_tool_calls)
        )::Bool AS diverged
    FROM pair_log FINAL
    WHERE rollout != '' AND {rollout:String} IN ('', rollout) AND {epoch:String} IN ('', epoch) AND session != ''
)
WINDOW session_ AS (PARTITION BY rollout, epoch, session);

CREATE OR REPLACE VIEW steps AS SELECT * FROM steps_of(by = '', rollout = '', epoch = '');

CREATE OR REPLACE VIEW sessions_of AS
SELECT
    rollout, epoch, session,
    min(steps_of.ts) AS began,
    max(steps_of.ts) AS ended,
    count() AS steps,
    countIf(outcome = 'scored') AS compared,
    countIf(diverged) AS divergences,
    any(steps_of.first_divergence) AS first_divergence,
    avg(agreement) AS agreement
FROM steps_of(by = {by:String}, rollout = {rollout:String}, epoch = {epoch:String})
GROUP BY rollout, epoch, session;

CREATE OR REPLACE VIEW sessions AS SELECT * FROM sessions_of(by = '', rollout = '', epoch = '');
