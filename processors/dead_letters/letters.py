"""The dead letters in the store: what is there, and what people did with them."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from clickhouse_connect.driver.client import Client

from shadowlane.processors.dead_letters.selection import Selection, State
from shadowlane.processors.store import insert_lines, querying
from shadowlane.schemas.config import ClickHouse

FETCHED = 100
"""Letters whose payloads are fetched at once: of 128 KiB each at most."""

_COLUMNS = """
dead_letter_id, ts, component, reason, source_topic, source_partition, source_offset, source_line, request_id,
payload_encoding, payload_bytes, state, replayed_at, replayed_by, went_to, purged_at, purged_by
"""
_GROUPS = """
SELECT
    component, source_topic, replaceRegexpAll(reason, '[0-9]+', 'N') AS pattern,
    argMax(reason, ts) AS newest_reason, count() AS letters,
    uniqExactIf(request_id, request_id != '') AS requests, min(ts) AS first, max(ts) AS last
FROM dead_letters WHERE {where} GROUP BY component, source_topic, pattern ORDER BY last DESC, pattern
"""
_LIST = "SELECT {columns} FROM dead_letters WHERE {where} ORDER BY ts DESC, dead_letter_id DESC LIMIT {limit:UInt32}"
# In the order of the log, so that what comes again comes in that order.
_IDS = """
SELECT dead_letter_id FROM dead_letters WHERE {where}
ORDER BY source_topic, source_partition, source_offset, source_line
"""
_SOME = "SELECT {columns}, payload FROM dead_letters WHERE dead_letter_id IN {ids:Array(String)}"
_ERASE = """
ALTER TABLE dead_letter_log UPDATE payload = '' WHERE payload != '' AND dead_letter_id IN
    (SELECT dead_letter_id FROM dead_letter_action_log WHERE action = 'purged')
SETTINGS mutations_sync = 2
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. ``payload`` is None where it was not asked for. Times are UTC, without saying so."""

    dead_letter_id: str
    ts: datetime
    component: str
    reason: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_line: int
    request_id: str
    payload_encoding: str
    payload_bytes: int
    state: State
    replayed_at: datetime | None
    replayed_by: str
    went_to: str
    purged_at: datetime | None
    purged_by: str
    payload: bytes | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the payload that was fetched is the whole record."""
        return self.payload is not None and len(self.payload) == self.payload_bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Letters of one component, topic and kind of reason: ``pattern`` has its numbers as N."""

    component: str
    source_topic: str
    pattern: str
    newest_reason: str
    letters: int
    requests: int
    first: datetime
    last: datetime


class Letters:
    """The dead letters of one store. Every method blocks, and raises StoreError where ClickHouse is away or refuses."""

    def __init__(self, clickhouse: ClickHouse, client: Client) -> None:
        self._clickhouse, self._client = clickhouse, client

    def groups(self, selection: Selection) -> list[Group]:
        """By component, topic and reason; the newest first."""
        where, parameters = selection.where()
        return [Group(**row) for row in self._rows(_GROUPS.replace("{where}", where), parameters)]

    def newest(self, selection: Selection, limit: int) -> list[Letter]:
        """Without their payloads, the newest first."""
        where, parameters = selection.where()
        sql = _LIST.replace("{columns}", _COLUMNS).replace("{where}", where)
        return [_letter(row) for row in self._rows(sql, parameters | {"limit": limit})]

    def ids(self, selection: Selection) -> list[str]:
        """In the order of the log that they came from."""
        where, parameters = selection.where()
        rows = self._rows(_IDS.replace("{where}", where), parameters)
        return [row["dead_letter_id"] for row in rows]

    def whole(self, ids: Sequence[str]) -> Iterator[Letter]:
        """With their payloads, in the order of ``ids``; what is not there is left out."""
        sql = _SOME.replace("{columns}", _COLUMNS)
        for start in range(0, len(ids), FETCHED):
            some = ids[start : start + FETCHED]
            found = {row["dead_letter_id"]: _letter(row) for row in self._rows(sql, {"ids": some})}
            yield from (found[i] for i in some if i in found)

    def mark(self, action: State, done: Iterable[tuple[str, str]], actor: str, at: int) -> None:
        """Notes what was done, with (id, where it went, if anywhere), by whom, and when (Unix milliseconds)."""
        rows = [
            {"dead_letter_id": i, "at": at, "action": action, "actor": actor, "went_to": went_to}
            for i, went_to in done
        ]
        if rows:
            lines = b"\n".join(map(orjson.dumps, rows))
            token = f"{action}:{at}:{actor}:{rows[0]['dead_letter_id']}-{rows[-1]['dead_letter_id']}"
            insert_lines(self._client, self._clickhouse, "dead_letter_action_log", lines, token)

    def erase(self) -> None:
        """Takes the payloads of what was purged off the disk. Blocks until it is done."""
        with querying(self._clickhouse):
            self._client.command(_ERASE)

    def _rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with querying(self._clickhouse):
            return list(self._client.query(sql, parameters=dict(parameters)).named_results())


def _letter(row: Mapping[str, Any]) -> Letter:
    values: dict[str, Any] = dict(row) | {"state": State(row["state"])}
    if "payload" in row:
        values["payload"] = None if row["state"] == State.PURGED else _bytes(row)
    return Letter(**values)


def _bytes(row: Mapping[str, Any]) -> bytes:
    text: str = row["payload"]
    if row["payload_encoding"] == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error:  # a letter that somebody else wrote
            pass
    return text.encode("utf-8", "surrogatepass")
