"""One suite for every server: see tests/services.py for which one it runs on."""

from collections.abc import Iterator
from uuid import uuid4

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tests.services import ClickHouseAddress


@pytest.fixture
def database(clickhouse: ClickHouseAddress) -> Iterator[str]:
    """The name of a database that belongs to this test."""
    name = f"test_{uuid4().hex}"
    with _connect(clickhouse) as client:
        client.command(f"CREATE DATABASE {name}")
        yield name
        client.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def store(clickhouse: ClickHouseAddress, database: str) -> Iterator[Client]:
    """A client whose database belongs to this test."""
    with _connect(clickhouse, database) as client:
        yield client


def _connect(address: ClickHouseAddress, database: str = "default") -> Client:
    return clickhouse_connect.get_client(
        host=address.host,
        port=address.port,
        username=address.username,
        password=address.password,
        database=database,
        autogenerate_session_id=False,
    )
