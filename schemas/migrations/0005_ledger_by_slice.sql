-- The ledger by slice: for each minute, by the values of one attribute (docs/tables.md).
--
-- A mirror counts requests without a look at their attributes, and of what it sampled out or dropped nobody ever
-- learns them. So the slices are those of the requests that came, and beside them stands one whose value is not known:
-- what was sampled out, dropped, or is still on its way. Each slice's eligible requests are those that came of it, and
-- the unknown one's are all others. So each slice adds up, and the slices add up to the ledger, row by row.
--
-- Requests and what became of them are told apart by hashes: 128 bits of an id, and 64 of the few combinations of
-- rollout, outcome and so on. Grouping five million ids by themselves took ten times as long.
CREATE OR REPLACE VIEW ledger_by_slice AS
WITH
    dead AS
    (
        SELECT
            sipHash128(request_id) AS id,
            min(toStartOfMinute(ts_time)) AS minute,
            argMax(component, version) AS component
        FROM dead_letter_log
        WHERE request_id != ''
        GROUP BY id
    ),
    kinds AS
    (
        SELECT DISTINCT
            rollout, epoch, outcome, reason, service, route,
            if({attribute:String} = '', '', attributes[{attribute:String}]) AS named,
            cityHash64(rollout, epoch, outcome, reason, service, route, named) AS kind
        FROM pair_log
    ),
    resolved AS
    (
        SELECT
            toStartOfMinute(ts_time) AS minute,
            cityHash64(service, route) AS place,
            sipHash128(request_id) AS id,
            argMax(
                cityHash64(
                    rollout, epoch, outcome, reason, service, route,
                    if({attribute:String} = '', '', attributes[{attribute:String}])
                ),
                (({rollout:String} IN ('', rollout)) AND ({epoch:String} IN ('', epoch)), version)
            ) AS kind
        FROM pair_log
        GROUP BY minute, place, id
    ),
    counted AS
    (
        SELECT resolved.minute AS minute, resolved.kind AS kind, dead.component AS component, toInt64(count()) AS n
        FROM resolved LEFT JOIN dead ON dead.id = resolved.id
        GROUP BY minute, kind, component
    ),
    found AS
    (
        SELECT
            minute, service, route, rollout, epoch, named, n,
            ({rollout:String} IN ('', rollout)) AND ({epoch:String} IN ('', epoch)) AS own,
            multiIf(
                own AND outcome != 'unpaired', outcome,
                component != '', 'dead_lettered',
                own, outcome,
                'other_epoch'
            ) AS row,
            multiIf(row = 'dead_lettered', component, row = 'other_epoch', outcome, reason) AS why
        FROM counted INNER JOIN kinds ON kinds.kind = counted.kind
    )
SELECT
    minute,
    service,
    route,
    rollout,
    epoch,
    {attribute:String} AS attribute,
    multiIf(attribute = 'service', service, attribute = 'route', route, named) AS value,
    (known OR (attribute IN ('service', 'route') AND service != ''))::Bool AS known,
    row,
    reason,
    sum(n) AS requests
FROM
(
    -- A mirror's count is its total so far: of each mirror's cell the largest counts.
    SELECT
        minute_time AS minute, service::String AS service, route::String AS route, '' AS rollout, '' AS epoch,
        '' AS named, false AS known, row::String AS row, reason::String AS reason, toInt64(max(count)) AS n
    FROM ledger_log
    GROUP BY minute_time, service, route, row, reason, instance
    UNION ALL
    SELECT
        minute, service::String, route::String,
        entry.1 AS rollout, entry.2 AS epoch, entry.3 AS named, entry.4 AS known, entry.5 AS row, entry.6 AS reason,
        entry.7 AS n
    FROM
    (
        SELECT
            minute, service, route,
            arrayJoin([
                (rollout::String, epoch::String, named, true, row::String, why::String, n),
                ('', '', named, true, 'eligible', '', n),
                ('', '', '', false, 'eligible', '', -n)
            ]) AS entry
        FROM found
    )
    UNION ALL
    -- Of a dead letter whose request has no other row, service and route are not known.
    SELECT minute, '', '', '', '', '', false, 'dead_lettered', component::String, toInt64(count())
    FROM dead
    WHERE id NOT IN
    (
        SELECT sipHash128(request_id) FROM pair_log
        WHERE request_id IN (SELECT request_id FROM dead_letter_log)
    )
    GROUP BY minute, component
    UNION ALL
    -- No known request: not in the sum.
    SELECT
        toStartOfMinute(ts_time), '', '', '', '', '', false, 'unreadable', component::String,
        toInt64(uniqExact(dead_letter_id))
    FROM dead_letter_log
    WHERE request_id = ''
    GROUP BY toStartOfMinute(ts_time), component
)
GROUP BY minute, service, route, rollout, epoch, value, known, row, reason
HAVING requests != 0;

CREATE OR REPLACE VIEW ledger_of AS
SELECT minute, service, route, rollout, epoch, row, reason, toUInt64(sum(requests)) AS requests
FROM ledger_by_slice(attribute = '', rollout = {rollout:String}, epoch = {epoch:String})
GROUP BY minute, service, route, rollout, epoch, row, reason
HAVING requests != 0;

CREATE OR REPLACE VIEW ledger AS SELECT * FROM ledger_of(rollout = '', epoch = '');
