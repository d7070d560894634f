"""The store as the controller and the commands want it: queries, inserts under a token, and its clock."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from clickhouse_connect.driver.client import Client

from shadowlane.processors.store import connect, insert_lines, querying
from shadowlane.schemas.config import ClickHouse

Rows = Callable[[str, Mapping[str, Any]], list[dict[str, Any]]]
"""Runs one query with ``{name:Type}`` parameters, gives its rows by column. Raises StoreError."""

_INSERTS = """
SELECT toInt64(ceil(max(elapsed) * 1000)) AS ms FROM system.processes
WHERE query_kind = 'Insert' AND match(query, {into:String})
"""
_INTO = r"(?i)^\s*INSERT\s+INTO\s+(TABLE\s+)?([\w`\"]+\s*\.\s*)?[`\"]?{table}\b"
"""An insert elsewhere that reads the table, an analyst's copy of an hour, is none of its inserts."""


class Store(Protocol):
    """Blocks until the store has answered. Every method raises StoreError."""

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A query's rows, by column."""
        ...

    def insert(self, table: str, lines: bytes, token: str) -> None:
        """JSON lines into a table. Of several inserts under one token the store keeps the first."""
        ...

    def now(self) -> int:
        """The store's clock, in Unix milliseconds: the one that all decisions go by."""
        ...

    def longest_insert_ms(self, table: str) -> int:
        """For how long the longest insert into a table has been running: its rows are stamped, and not yet seen."""
        ...


class ClickHouseStore:
    """A :class:`Store` over one connection; several threads may use it."""

    def __init__(self, clickhouse: ClickHouse, client: Client | None = None) -> None:
        """Raises StoreError: nobody answers."""
        self._clickhouse = clickhouse
        self._client = client or connect(clickhouse)

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with querying(self._clickhouse):
            return list(self._client.query(sql, parameters=dict(parameters)).named_results())

    def insert(self, table: str, lines: bytes, token: str) -> None:
        insert_lines(self._client, self._clickhouse, table, lines, token)

    def now(self) -> int:
        return int(self.rows("SELECT toUnixTimestamp64Milli(now64(3)) AS now", {})[0]["now"])

    def longest_insert_ms(self, table: str) -> int:
        return int(self.rows(_INSERTS, {"into": _INTO.replace("{table}", table)})[0]["ms"])
