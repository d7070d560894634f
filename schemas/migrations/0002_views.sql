-- What analysts query (docs/tables.md): each record once, however often it was delivered.
-- FINAL, because it was the fastest of what is exact: docs/decisions/0004-one-row-per-pair.md.

CREATE OR REPLACE VIEW pairs AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    toStartOfMinute(ts_time) AS minute,
    * EXCEPT (pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, outcome, reason),
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
    toStartOfMinute(ts_time) AS minute,
    reason,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, outcome, reason,
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference
    )
FROM pair_log FINAL
WHERE outcome = 'abstained';

CREATE OR REPLACE VIEW unpaired AS
SELECT
    pair_id, request_id, rollout, epoch, stage, service, route,
    ts_time AS ts,
    completed_time AS completed_at,
    toStartOfMinute(ts_time) AS minute,
    reason,
    * EXCEPT (
        pair_id, request_id, rollout, epoch, stage, service, route, ts, completed_at, outcome, reason,
        stable_scores, candidate_scores, stable_quality, candidate_quality, quality_difference
    )
FROM pair_log FINAL
WHERE outcome = 'unpaired';

CREATE OR REPLACE VIEW dead_letters AS
SELECT
    dead_letter_id,
    ts_time AS ts,
    * EXCEPT (dead_letter_id, ts)
FROM dead_letter_log FINAL;

-- The ledger of one epoch of one rollout: each request in exactly one row. Of what is known of a request,
-- the best counts: scored, then abstained, dead_lettered, unpaired; then what became of it under another
-- rollout or epoch alone (row other_epoch). An empty parameter takes any.
CREATE OR REPLACE VIEW ledger_of AS
WITH
    dead AS
    (
        SELECT request_id, min(toStartOfMinute(ts_time)) AS minute, argMax(component, version) AS component
        FROM dead_letter_log
        WHERE request_id != ''
        GROUP BY request_id
    ),
    resolved AS
    (
        SELECT
            toStartOfMinute(ts_time) AS minute,
            service,
            route,
            request_id,
            argMax(
                (rollout, epoch, outcome, reason),
                (({rollout:String} IN ('', rollout)) AND ({epoch:String} IN ('', epoch)), version)
            ) AS best,
            (best.1, best.2) AS found,
            ({rollout:String} IN ('', best.1)) AND ({epoch:String} IN ('', best.2)) AS own
        FROM pair_log
        GROUP BY minute, service, route, request_id
    )
SELECT minute, service, route, '' AS rollout, '' AS epoch, row, reason, sum(largest) AS requests
FROM
(
    -- A mirror's count is its total so far: of each mirror's cell the largest counts.
    SELECT minute_time AS minute, service, route, row, reason, instance, max(count) AS largest
    FROM ledger_log
    GROUP BY minute, service, route, row, reason, instance
)
GROUP BY minute, service, route, row, reason
UNION ALL
SELECT
    minute, service, route, best.1 AS rollout, best.2 AS epoch,
    multiIf(
        own AND best.3 != 'unpaired', best.3,
        dead.request_id != '', 'dead_lettered',
        own, best.3,
        'other_epoch'
    ) AS row,
    multiIf(row = 'dead_lettered', dead.component, row = 'other_epoch', best.3, best.4) AS reason,
    count() AS requests
FROM resolved LEFT JOIN dead ON dead.request_id = resolved.request_id
GROUP BY minute, service, route, rollout, epoch, row, reason
UNION ALL
-- Of a dead letter whose request has no other row, service and route are not known.
SELECT
    minute, '' AS service, '' AS route, '' AS rollout, '' AS epoch,
    'dead_lettered' AS row, component AS reason, count() AS requests
FROM dead
WHERE request_id NOT IN (SELECT request_id FROM pair_log WHERE request_id IN (SELECT request_id FROM dead))
GROUP BY minute, component
UNION ALL
-- No known request: not in the sum.
SELECT
    toStartOfMinute(ts_time) AS minute, '' AS service, '' AS route, '' AS rollout, '' AS epoch,
    'unreadable' AS row, component AS reason, uniqExact(dead_letter_id) AS requests
FROM dead_letter_log
WHERE request_id = ''
GROUP BY minute, component;

CREATE OR REPLACE VIEW ledger AS SELECT * FROM ledger_of(rollout = '', epoch = '');
