import dataclasses
import threading
import uuid
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from shadowlane.errors import StoreError
from shadowlane.processors import store
from shadowlane.schemas.config import ClickHouse
from shadowlane.schemas.events import DeadLetter, LedgerCell, Pair
from shadowlane.schemas.migrations import Migration, migrate, migrations, unapplied
from tests.services import ClickHouseAddress

ONE = Migration(1, "one", "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory;\n-- why; not\nSELECT 1;\n")
TWO = Migration(2, "two", "SELECT ';'\n;\n")


@pytest.fixture
def settings(clickhouse: ClickHouseAddress) -> Iterator[ClickHouse]:
    """An address with a database of its own, which is not there yet."""
    settings = ClickHouse(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.username,
        password=SecretStr(clickhouse.password),
        database=f"test_{uuid.uuid4().hex[:12]}",
    )
    yield settings
    store.connect(settings).command(f"DROP DATABASE IF EXISTS {settings.database}", use_database=False)


def applied(*migrations: Migration) -> list[tuple[int, str, str]]:
    return [(m.version, m.name, m.checksum) for m in migrations]


def test_a_file_holds_several_statements() -> None:
    assert ONE.statements == [
        "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = Memory",
        "-- why; not\nSELECT 1",
    ]
    assert TWO.statements == ["SELECT ';'"]


def test_line_ends_do_not_change_a_file() -> None:
    assert Migration(1, "one", ONE.sql.replace("\n", "\r\n")).checksum == ONE.checksum


def test_only_what_is_missing_is_applied() -> None:
    assert unapplied([ONE, TWO], [], "db") == [ONE, TWO]
    assert unapplied([ONE, TWO], applied(ONE), "db") == [TWO]
    assert unapplied([ONE, TWO], applied(TWO, ONE), "db") == []


def test_a_changed_file_is_refused() -> None:
    changed = Migration(1, "one", ONE.sql + "SELECT 2;")
    with pytest.raises(StoreError, match=r"0001_one was applied .* never change"):
        unapplied([changed, TWO], applied(ONE), "db")


def test_a_newer_store_is_refused() -> None:
    with pytest.raises(StoreError, match=r"0002_two, .* knows up to 0001.* upgrade"):
        unapplied([ONE], applied(ONE, TWO), "db")


def test_migrating_again_does_nothing(settings: ClickHouse) -> None:
    client = store.connect(settings)
    assert store.migrate(client, settings.database) == [f"{m.version:04}_{m.name}" for m in migrations()]
    assert store.migrate(client, settings.database) == []
    recorded = client.query(
        "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
    ).result_rows
    assert [tuple(row) for row in recorded] == applied(*migrations())


def test_several_at_once(settings: ClickHouse) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            store.migrate(store.connect(settings), settings.database)
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.migrate(store.connect(settings), settings.database) == []


def test_one_that_broke_in_the_middle_is_run_again(settings: ClickHouse) -> None:
    client = store.connect(settings)
    broken = Migration(1, "one", f"{ONE.sql}SELECT broken_here;")
    adapter = store._Migrating(client, settings.database)
    with pytest.raises(StoreError, match="broken_here"):
        migrate(adapter, settings.database, [broken])
    assert migrate(adapter, settings.database, [ONE, TWO]) == [ONE, TWO]


def test_a_store_that_is_not_there(settings: ClickHouse) -> None:
    with pytest.raises(StoreError, match=r"does not answer at 127\.0\.0\.1:1: is it running"):
        store.connect(settings.model_copy(update={"host": "127.0.0.1", "port": 1}))


def test_a_store_that_is_not_migrated(settings: ClickHouse) -> None:
    client = store.connect(settings)
    with pytest.raises(StoreError, match="shadowlane store migrate"), store.querying(settings):
        client.query("SELECT * FROM pairs")


@pytest.mark.parametrize(
    ("table", "record"),
    [("pair_log", Pair), ("noise_log", Pair), ("ledger_log", LedgerCell), ("dead_letter_log", DeadLetter)],
)
def test_columns_are_the_records_fields(settings: ClickHouse, table: str, record: type) -> None:
    client = store.connect(settings)
    store.migrate(client, settings.database)
    assert [c for c in columns(client, table) if c != "stored_at"] == [
        f.name for f in dataclasses.fields(record)
    ]


def columns(client: Client, table: str) -> list[str]:
    """Those that an insert fills."""
    found = client.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
        "AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position",
        parameters={"table": table},
    )
    return [row[0] for row in found.result_rows]


@pytest.mark.parametrize(
    ("table", "columns", "row"),
    [
        ("pair_log", "request_id, outcome", "'r', 'scored'"),
        ("pair_log", "pair_id, request_id, outcome", "'p', 'r', 'better'"),
        ("pair_log", "pair_id, request_id, outcome, schema_version", "'p', 'r', 'scored', 2"),
        ("ledger_log", "instance, row", "'i', 'scored'"),
        ("pair_log", "pair_id, request_id, outcome, ts", "'p', 'r', 'scored', -1"),
        ("pair_log", "pair_id, request_id, outcome, ts", "'p', 'r', 'scored', 1700000000000000"),
        ("pair_log", "pair_id, request_id, outcome, completed_at", "'p', 'r', 'scored', 4102444800000"),
        ("ledger_log", "instance, row, minute", "'i', 'eligible', 4102444800000"),
        ("dead_letter_log", "component", "'sink'"),
        ("dead_letter_log", "dead_letter_id, component, ts", "'d', 'sink', -1"),
    ],
)
def test_what_is_no_record_is_refused(settings: ClickHouse, table: str, columns: str, row: str) -> None:
    client = store.connect(settings)
    store.migrate(client, settings.database)
    with pytest.raises(store.BadRowsError, match="VIOLATED_CONSTRAINT"), store.querying(settings):
        client.command(f"INSERT INTO {table} ({columns}) SELECT {row}")
