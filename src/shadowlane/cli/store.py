"""`shadowlane store migrate`, and how the other commands read the store."""

from collections.abc import Mapping
from typing import Any

import typer
from clickhouse_connect.driver.client import Client

from shadowlane.processors.store import connect, migrate, querying
from shadowlane.rollout.store import Rows
from shadowlane.schemas.config import Settings

HANDSHAKE_S = 10


def run_migrate(settings: Settings) -> None:
    """Applies what is missing, and says what that was."""
    applied = migrate(connected(settings), settings.clickhouse.database)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: the store is up to date")


def connected(settings: Settings) -> Client:
    """A connection to what has answered as ClickHouse does.

    Another kind of server at that port may never answer, so the first answer has 10 s; a query may take longer.

    Raises:
        StoreError: nobody answers there in time.
    """
    connect(settings.clickhouse, timeout_s=HANDSHAKE_S).close()
    return connect(settings.clickhouse)


def reader(settings: Settings) -> Rows:
    """A connection as the reports want it: a query in, rows by column out."""
    client = connected(settings)

    def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with querying(settings.clickhouse):
            return list(client.query(sql, parameters=dict(parameters)).named_results())

    return rows
