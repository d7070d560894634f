"""ClickHouse at the edge: connections, its errors as ours, migrations, and inserts of ready-made lines."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import clickhouse_connect
import lz4.frame
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from shadowlane.errors import StoreError
from shadowlane.schemas import migrations
from shadowlane.schemas.config import ClickHouse

CONNECT_TIMEOUT_S = 5

# They warn of what comes here as an error anyway, once for each attempt, with the whole URL.
for _name in ("urllib3.connectionpool", "clickhouse_connect"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# It logs what it raises, and what it raises goes on from here as a StoreError.
logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)

# ClickHouse's codes for what is wrong with the rows themselves. Everything else (no memory, too many parts,
# read only, no such table, no such user, …) can pass, or be put right, without the rows being changed.
_BAD_ROWS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        38,  # CANNOT_PARSE_DATE
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        130,  # CANNOT_READ_ARRAY_FROM_TEXT
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        467,  # CANNOT_PARSE_BOOL
        469,  # VIOLATED_CONSTRAINT
    }
)
_NOT_MIGRATED = frozenset({60, 81})  # UNKNOWN_TABLE, UNKNOWN_DATABASE
_NOT_ALLOWED = frozenset({192, 193, 194, 497, 516})  # UNKNOWN_USER, WRONG_PASSWORD, …, ACCESS_DENIED, …
_REFUSALS = {
    75: "it can't write to its disk",
    164: "it is read-only",
    241: "it has no memory left",
    243: "its disk is full",
    252: "it has too many parts to merge",
}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_LINES = {
    # Answered once the rows are stored: with async_insert, the default since 26.2, a token means something
    # else, and an error may come after the answer.
    "async_insert": 0,
    "wait_end_of_query": 1,
    "insert_deduplicate": 1,
    # Columns that keep a JSON value as its text.
    "input_format_json_read_objects_as_strings": 1,
    "input_format_json_read_arrays_as_strings": 1,
    "input_format_json_read_numbers_as_strings": 1,
    "input_format_json_read_bools_as_strings": 1,
    # Fields that a newer version wrote, and nulls where a text may be missing.
    "input_format_skip_unknown_fields": 1,
    "input_format_null_as_default": 1,
    "input_format_defaults_for_omitted_fields": 1,
    # A replay of old logs may bring many months at once.
    "max_partitions_per_insert_block": 0,
}


class CodedError(StoreError):
    """ClickHouse refuses. ``code`` is its own."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class BadRowsError(CodedError):
    """ClickHouse can't read some of the rows: sending them again is of no use.

    ``str(error)`` may quote a part of a row, so it is not for logs.
    """


def refusal(error: Exception) -> str:
    """How the store refuses, in a few words of ours and ClickHouse's number: fit for everybody's eyes."""
    if isinstance(error, CodedError):
        known = _REFUSALS.get(error.code, "it refuses")
        return f"{known} (ClickHouse's code {error.code})"
    return "it does not answer" if isinstance(error, StoreError) else "Kafka does not take the dead letters"


def connect(clickhouse: ClickHouse, *, timeout_s: int = 300) -> Client:
    """A connection, bound to the configured database, whether that exists already or not.

    It has no session, so several threads may use it. ``timeout_s`` is for one answer. Use it within
    :func:`querying`.

    Raises:
        StoreError: nobody answers there, or the user is not let in.
    """
    with querying(clickhouse):
        client = clickhouse_connect.get_client(
            host=clickhouse.host,
            port=clickhouse.port,
            username=clickhouse.username,
            password=clickhouse.password.get_secret_value(),
            secure=clickhouse.secure,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=timeout_s,
            autogenerate_session_id=False,  # or two threads meet SESSION_IS_LOCKED
        )
    client.database = clickhouse.database  # not as an argument: it would have to be there
    return client


@contextmanager
def querying(clickhouse: ClickHouse) -> Iterator[None]:
    """Turns what clickhouse-connect raises within into a StoreError (BadRowsError) that says what to do."""
    with _explaining(f"{clickhouse.host}:{clickhouse.port}", clickhouse.database):
        yield


def migrate(client: Client, database: str) -> list[str]:
    """Brings the store's schema up to date (:func:`shadowlane.schemas.migrations.migrate`).

    Gives the names of the migrations that it applied, as ``0001_tables``. ``client`` must be bound to
    ``database``.

    Raises:
        StoreError: ClickHouse can't be reached or refuses, or the schema there is not this version's.
    """
    applied = migrations.migrate(_Migrating(client, database), database)
    return [f"{migration.version:04}_{migration.name}" for migration in applied]


def insert_lines(client: Client, clickhouse: ClickHouse, table: str, lines: bytes, token: str) -> None:
    """Inserts records as they travel, JSON lines, into a log of the same columns. Blocks until stored.

    The same token again within the table's deduplication window inserts nothing.

    Raises:
        BadRowsError: some lines can't be read; none was stored.
        StoreError: anything else; whether the lines were stored is not known.
    """
    local = clickhouse.host in _LOOPBACK  # there lz4 costs more than it saves: benchmarks/store.py
    with querying(clickhouse):
        client.raw_insert(
            table,
            insert_block=lines if local else lz4.frame.compress(lines),
            fmt="JSONEachRow",
            compression=None if local else "lz4",
            settings={**_LINES, "insert_deduplication_token": token},
        )


class _Migrating:
    """A connection, as migrations want it."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._database = database

    def command(
        self, statement: str, *, parameters: dict[str, Any] | None = None, use_database: bool = True
    ) -> object:
        with self._querying():
            return self._client.command(statement, parameters=parameters, use_database=use_database)

    def rows(self, query: str) -> Sequence[Sequence[Any]]:
        with self._querying():
            return self._client.query(query).result_rows

    def _querying(self) -> AbstractContextManager[None]:
        return _explaining(self._client.uri, self._database)


@contextmanager
def _explaining(where: str, database: str) -> Iterator[None]:
    try:
        yield
    except (ClickHouseError, OSError) as exc:  # OSError: what urllib3 lets through
        raise _explained(exc, where, database) from exc


def _explained(exc: Exception, where: str, database: str) -> StoreError:
    code: int | None = getattr(exc, "code", None)
    # The driver repeats the whole URL of the request, parameters and all; what broke comes last.
    reasons = re.findall(r"\[Errno[^\"')]+|timed out|Connection aborted[^\"')]*", str(exc))
    said = reasons[-1] if code is None and reasons else " ".join(str(exc).split())
    if code is None:
        return StoreError(
            f"ClickHouse does not answer at {where}: is it running, and are clickhouse.host and "
            f"clickhouse.port (the HTTP port) right? ({said})"
        )
    if code in _BAD_ROWS:
        return BadRowsError(f"ClickHouse can't read the rows: {said[:1000]}", code)
    if code in _NOT_MIGRATED:
        return CodedError(
            f"the database {database} at {where} is not set up: run `shadowlane store migrate`, or put "
            f"clickhouse.database right ({said})",
            code,
        )
    if code in _NOT_ALLOWED:
        return CodedError(
            f"ClickHouse at {where} does not let this user do it: check clickhouse.username, "
            f"clickhouse.password and the user's grants ({said})",
            code,
        )
    return CodedError(f"ClickHouse at {where} refuses: {said}", code)
