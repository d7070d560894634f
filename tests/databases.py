"""Migrated databases for tests, each one test's alone. One that a test is done with is emptied and serves another:
making one takes the engine half a second of work, emptying it a fiftieth."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from shadowlane.processors.store import connect, migrate
from shadowlane.schemas.config import ClickHouse
from tests.services import ClickHouseAddress

_FREE: dict[ClickHouseAddress, list[ClickHouse]] = {}


@contextmanager
def migrated(address: ClickHouseAddress) -> Iterator[ClickHouse]:
    """A database with all tables, and nothing in them."""
    free = _FREE.setdefault(address, [])
    settings = free.pop() if free else _new(address)
    yield settings
    client = connect(settings)
    _empty(client)
    client.close()
    free.append(settings)


def _new(address: ClickHouseAddress) -> ClickHouse:
    settings = ClickHouse(
        host=address.host,
        port=address.port,
        username=address.username,
        password=SecretStr(address.password),
        database=f"test_{uuid.uuid4().hex[:12]}",
    )
    client = connect(settings)
    migrate(client, settings.database)
    client.close()
    return settings


def _empty(client: Client) -> None:
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' "
        "AND name != 'schema_migrations'"
    )
    for (name,) in tables.result_rows:
        client.command(f"TRUNCATE TABLE {name}")
