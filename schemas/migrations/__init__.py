"""The store's schema: numbered SQL files, applied once each, in order, and never changed afterwards.

A file is called ``NNNN_name.sql``, with numbers that follow each other from 0001. Its statements end with
``;`` at a line's end. ClickHouse has no transactions, and two components may start together, so every
statement must be one that can be run twice (``IF NOT EXISTS``, ``OR REPLACE``): then a migration that two
run at once, or that broke in the middle and is run again, ends the same.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from shadowlane.errors import StoreError

_APPLIED = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (version, checksum)
"""


class Client(Protocol):
    """What a migration needs of a connection; :class:`shadowlane.processors.store.Store` is one.

    Both block until ClickHouse has answered, and raise StoreError where it can't be reached or refuses.
    """

    def command(
        self, statement: str, *, parameters: dict[str, Any] | None = None, use_database: bool = True
    ) -> object:
        """Runs a statement, in the connection's database unless told otherwise."""

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        """A query's rows."""
        ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, with line ends as LF, in hex."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The statements, without their ``;``."""
        return [part.strip() for part in re.split(r";[ \t]*$", self.sql, flags=re.M) if part.strip()]


def migrations() -> list[Migration]:
    """Those of this version of shadowlane, in order.

    Raises:
        StoreError: a number is missing or there twice, or a file's name is no ``NNNN_name.sql``.
    """
    found = []
    for file in resources.files(__name__).iterdir():
        if file.name.endswith(".sql"):
            matched = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", file.name)
            if not matched:
                raise StoreError(f"{file.name} in schemas/migrations: call it NNNN_name.sql")
            found.append(Migration(int(matched[1]), matched[2], file.read_text("utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise StoreError("the files in schemas/migrations must be numbered 0001, 0002, …: " + _listed(found))
    return found


def migrate(client: Client, database: str, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Creates the database where it is not there, and applies what is missing; gives what it applied.

    ``client`` must be bound to ``database``. ``known`` is :func:`migrations` unless given. Safe to run again
    and to run twice at once.

    Raises:
        StoreError: ClickHouse can't be reached or refuses; a file that was applied has changed since; or
            the store was migrated by a newer shadowlane.
    """
    known = migrations() if known is None else known
    client.command(f"CREATE DATABASE IF NOT EXISTS `{database}`", use_database=False)
    client.command(_APPLIED)
    pending = unapplied(
        known, client.rows("SELECT DISTINCT version, name, checksum FROM schema_migrations"), database
    )
    for migration in pending:
        for statement in migration.statements:
            client.command(statement)
        client.command(
            "INSERT INTO schema_migrations (version, name, checksum) "
            "VALUES ({version:UInt32}, {name:String}, {checksum:String})",
            parameters={
                "version": migration.version,
                "name": migration.name,
                "checksum": migration.checksum,
            },
        )
    return pending


def unapplied(known: Sequence[Migration], applied: Iterable[Sequence[Any]], database: str) -> list[Migration]:
    """Those of ``known`` that are missing in ``applied``, rows of (version, name, checksum).

    Raises:
        StoreError: what was applied is not what is known.
    """
    by_version = {migration.version: migration for migration in known}
    done = set()
    for version, name, checksum in sorted(map(tuple, applied)):
        if version not in by_version:
            raise StoreError(
                f"the database {database} has migration {version:04}_{name}, which this shadowlane does not "
                f"know (it knows up to {max(by_version, default=0):04}): it was migrated by a newer version; "
                "upgrade this one, or use another clickhouse.database"
            )
        if by_version[version].checksum != checksum:
            raise StoreError(
                f"migration {version:04}_{name} was applied to the database {database} with another content "
                "than it has now: a file that was applied must never change. Put its old text back and add a "
                "new migration, or start with a new clickhouse.database"
            )
        done.add(version)
    return [migration for migration in known if migration.version not in done]


def _listed(found: Iterable[Migration]) -> str:
    return ", ".join(f"{m.version:04}_{m.name}" for m in found)
