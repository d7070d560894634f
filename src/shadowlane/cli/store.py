"""`shadowlane store migrate`."""

import typer

from shadowlane.processors.store import connect, migrate
from shadowlane.schemas.config import Settings


def run_migrate(settings: Settings) -> None:
    """Applies what is missing, and says what that was."""
    applied = migrate(connect(settings.clickhouse), settings.clickhouse.database)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to do: the store is up to date")
