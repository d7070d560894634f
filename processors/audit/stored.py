"""The store, as the audit asks it: which of these ids it knows, and what it counts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client

from shadowlane.processors.audit.account import Row
from shadowlane.processors.audit.mirrors import Cell, CellKey, Minute
from shadowlane.processors.store import connect, querying
from shadowlane.schemas.codec import TIME_END
from shadowlane.schemas.config import ClickHouse

# Room for ten thousand ids of 1,000 characters, in hex.
SETTINGS = {"max_query_size": 64 * 2**20}

REQUESTS = """
SELECT request_id, max(outcome != 'unpaired' OR reason != 'no_shadow_response')
FROM pair_log WHERE {among} GROUP BY request_id
"""
PAIRS = "SELECT DISTINCT pair_id FROM pair_log WHERE {among}"
NOISE = "SELECT DISTINCT pair_id FROM noise_log WHERE {among}"
LETTERS = "SELECT DISTINCT dead_letter_id FROM dead_letter_log WHERE {among}"
LETTERED = "SELECT DISTINCT request_id FROM dead_letter_log WHERE {among}"
COUNTS = """
SELECT instance, minute, service, route, row, reason, max(count) FROM ledger_log
WHERE minute >= {since:Int64} AND minute <= {until:Int64} AND {among}
GROUP BY instance, minute, service, route, row, reason
"""
# Ids sort by time, so that a range of times is a range of rows: without it all ids would be read for each chunk.
RANGE = """
ts_time >= fromUnixTimestamp64Milli({since:Int64}, 'UTC') AND ts_time <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
AND """

MIRRORS = """
SELECT minute, service, route, row, sum(largest)
FROM
(
    SELECT minute, service, route, row, reason, instance, max(count) AS largest
    FROM ledger_log
    WHERE minute >= {since:Int64} AND minute < {until:Int64}
    GROUP BY minute, service, route, row, reason, instance
)
GROUP BY minute, service, route, row
"""
# Of a request that has a dead letter alone, what the letter's record says.
RESOLVED = """
SELECT intDiv(ts, 60000) * 60000 AS minute, service, route, uniqExact(request_id)
FROM pair_log
WHERE ts >= {since:Int64} AND ts < {until:Int64}
GROUP BY minute, service, route
UNION ALL
SELECT intDiv(at, 60000) * 60000 AS minute, service, route, uniqExact(request_id)
FROM
(
    SELECT
        request_id,
        JSONExtractInt(payload, 'ts') AS at,
        JSONExtractString(payload, 'service') AS service,
        JSONExtractString(payload, 'route') AS route
    FROM dead_letter_log
    WHERE request_id != '' AND request_id NOT IN
    (
        SELECT request_id FROM pair_log
        WHERE request_id IN (SELECT request_id FROM dead_letter_log)
    )
)
WHERE at >= {since:Int64} AND at < {until:Int64}
GROUP BY minute, service, route
"""
LEDGER = """
SELECT row, sum(requests) FROM ledger
WHERE minute >= toDateTime({since:Int64} / 1000, 'UTC') AND minute < toDateTime({until:Int64} / 1000, 'UTC')
GROUP BY row
"""
COPIES = """
SELECT
    (SELECT count() FROM pair_log WHERE ts >= {since:Int64} AND ts < {until:Int64}),
    (SELECT count() FROM pair_log FINAL WHERE ts >= {since:Int64} AND ts < {until:Int64})
"""
BEGAN = "SELECT rollout, min(at) FROM rollout_log GROUP BY rollout"
TRACED = "SELECT rollout, min(ts) FROM pair_log GROUP BY rollout"

Times = tuple[int, int]
"""From the one up to the other, Unix milliseconds."""


class Stored:
    """Blocks; every method raises StoreError where ClickHouse can't be reached or refuses.

    ``times`` narrows a search to requests of these times, both included. ``since`` is included, ``until`` not.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse
        self._client: Client = connect(clickhouse)

    def close(self) -> None:
        self._client.close()

    def requests(self, ids: Collection[str], times: Times | None = None) -> dict[str, Row]:
        """What the store has of each request; those that it does not know are left out."""
        rows = self._among(REQUESTS, "request_id", ids, times)
        return {name: Row.SETTLED if settled else Row.UNANSWERED for name, settled in rows}

    def pairs(self, ids: Collection[str], times: Times | None = None) -> set[str]:
        """Those of the pair ids that it has."""
        return {name for (name,) in self._among(PAIRS, "pair_id", ids, times)}

    def noise(self, ids: Collection[str], times: Times | None = None) -> set[str]:
        """Those of the noise pairs' ids that it has."""
        return {name for (name,) in self._among(NOISE, "pair_id", ids, times)}

    def letters(self, ids: Collection[str]) -> set[str]:
        """Those of the dead letters' ids that it has."""
        return {name for (name,) in self._among(LETTERS, "dead_letter_id", ids)}

    def lettered(self, ids: Collection[str]) -> set[str]:
        """Those of the requests that have a dead letter."""
        return {name for (name,) in self._among(LETTERED, "request_id", ids)}

    def counts(self, keys: Collection[CellKey]) -> dict[CellKey, int]:
        """What it has of these cells of the mirrors' ledgers: the largest count of each."""
        if not keys:
            return {}
        minutes = [key[1] for key in keys]
        among = _among("instance", {key[0] for key in keys})
        parameters = {"since": min(minutes), "until": max(minutes)}
        rows = self._rows(COUNTS.replace("{among}", among), parameters)
        return {(i, int(m), s, r, row, reason): int(n) for i, m, s, r, row, reason, n in rows}

    def mirrors(self, since: int | None, until: int | None) -> list[Cell]:
        """What the mirrors counted, by minute, service, route and row, over their instances and reasons."""
        rows = self._rows(MIRRORS, _range(since, until))
        return [Cell(int(m), s, r, row, int(n)) for m, s, r, row, n in rows]

    def resolved(self, since: int | None, until: int | None) -> dict[Minute, int]:
        """How many requests it has a row of, or a dead letter, by minute, service and route."""
        found: dict[Minute, int] = {}
        for minute, service, route, count in self._rows(RESOLVED, _range(since, until)):
            found[int(minute), service, route] = found.get((int(minute), service, route), 0) + int(count)
        return found

    def ledger(self, since: int | None, until: int | None) -> dict[str, int]:
        """The view ``ledger``, by row alone."""
        return {row: int(n) for row, n in self._rows(LEDGER, _range(since, until))}

    def copies(self, since: int | None, until: int | None) -> tuple[int, int]:
        """(rows of pairs, pairs): a pair that has more than one row is counted once by every view."""
        ((rows, pairs),) = self._rows(COPIES, _range(since, until))
        return int(rows), int(pairs)

    def began(self) -> dict[str, int]:
        """When the controller first knew of each rollout, Unix milliseconds."""
        return {name: int(at) for name, at in self._rows(BEGAN)}

    def traced(self) -> dict[str, int]:
        """The time of the first request of each rollout of which it has a row, Unix milliseconds."""
        return {name: int(ts) for name, ts in self._rows(TRACED)}

    def _among(
        self, query: str, column: str, ids: Collection[str], times: Times | None = None
    ) -> Sequence[Sequence[Any]]:
        if not ids:
            return []
        among = _among(column, ids)
        if times is None:
            return self._rows(query.replace("{among}", among))
        parameters = {"since": max(0, times[0]), "until": min(times[1], TIME_END)}
        return self._rows(query.replace("{among}", RANGE + among), parameters)

    def _rows(self, query: str, parameters: Mapping[str, int] | None = None) -> Sequence[Sequence[Any]]:
        with querying(self._clickhouse):
            given = dict(parameters) if parameters else None
            return self._client.query(query, parameters=given, settings=SETTINGS).result_rows


def _among(column: str, ids: Iterable[str]) -> str:
    """As hex, since an id may be any text; in the query itself, since a parameter may not be as long.

    As one literal: ten thousand take ClickHouse three times as long to parse.
    """
    one = ",".join(each.encode("utf-8", "surrogatepass").hex() for each in ids)
    return f"{column} IN (SELECT unhex(arrayJoin(splitByChar(',', '{one}'))))"


def _range(since: int | None, until: int | None) -> dict[str, int]:
    return {"since": since or 0, "until": TIME_END if until is None else until}
