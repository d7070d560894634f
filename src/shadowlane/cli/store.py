"""`shadowlane store migrate`, and how the other commands read the store."""

from collections.abc import Mapping
from typing import Any

import typer

from shadowlane.processors.store import connect, migrate, querying
from shadowlane.rollout.report import Rows
from shadowlane.schemas.config import Settings


def run_migrate(settings: Settings) -> None:
    """Applies what is missing, and says what that was."""
    applied = migrate(connect(settings.clickhouse), settings.clickhouse.database)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: the store is up to date")


def reader(settings: Settings) -> Rows:
    """A connection as the reports want it: a query in, rows by column out."""
    client = connect(settings.clickhouse)

    def rows(sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with querying(settings.clickhouse):
            return list(client.query(sql, parameters=dict(parameters)).named_results())

    return rows
