"""What shadowlane relies on in a store: the same for ClickHouse's server and for the embedded one."""

import base64
import gzip
import http.client
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.services import ClickHouseAddress

ROWS = "(a UInt64, b String) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
# Any byte may be in a text: quotes, ends of statements, zeroes, and what is no UTF-8.
ALL_BYTES = bytes(range(256)) + b"';--\n\n\\N FORMAT Native"


class Http:
    """Plain HTTP, as curl and Grafana speak it. Keeps its connection."""

    def __init__(self, address: ClickHouseAddress, database: str) -> None:
        self.database = database
        login = base64.b64encode(f"{address.username}:{address.password}".encode()).decode()
        self._login = {"Authorization": f"Basic {login}"}
        self.connection = http.client.HTTPConnection(address.host, address.port, timeout=60)

    def __call__(
        self,
        query: str = "",
        body: Any = None,
        *,
        method: str = "POST",
        headers: dict[str, str] | None = None,
        **parameters: object,
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        fields = {"database": self.database} | parameters | ({"query": query} if query else {})
        self.connection.request(method, f"/?{urlencode(fields)}", body, self._login | (headers or {}))
        response = self.connection.getresponse()
        return response.status, response.read(), response.headers

    def start(self, head: str, body: bytes) -> socket.socket:
        """Send a request's beginning, and hand over the socket."""
        connection = socket.create_connection((self.connection.host, self.connection.port))
        fields = urlencode({"database": self.database, "cancel_http_readonly_queries_on_client_close": 1})
        login = f"Authorization: {self._login['Authorization']}"
        text = f"POST /?{fields} HTTP/1.1\r\nHost: localhost\r\n{login}\r\n{head}\r\n\r\n"
        connection.sendall(text.encode() + body)
        return connection


@pytest.fixture
def call(clickhouse: ClickHouseAddress, database: str) -> Iterator[Http]:
    http_client = Http(clickhouse, database)
    yield http_client
    http_client.connection.close()


def rows(store: Client, table: str = "t") -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.query(f"SELECT * FROM {table} ORDER BY ALL").result_rows]


def until(true: Callable[[], bool]) -> None:
    """Wait for what another process will do. The suite's time limit ends it if it never does."""
    while not true():
        time.sleep(0.02)


# -- asking


def test_ping_and_version(store: Client, call: Http) -> None:
    assert store.ping()
    assert call(method="GET")[:2] == (200, b"Ok.\n")
    call.connection.request("GET", "/ping")
    assert call.connection.getresponse().read() == b"Ok.\n"
    assert store.command("SELECT version()") == store.server_version


def test_typed_parameters_reach_the_query_unharmed(store: Client) -> None:
    nasty = "it's \\ a `test`\t\n{x:Int8}; DROP TABLE t --"
    result = store.query(
        "SELECT {s:String}, {n:Int32}, {a:Array(String)}, {d:DateTime64(3)}",
        parameters={"s": nasty, "n": -5, "a": ["x'", "y"], "d": datetime(2024, 5, 6, 7, 8, 9, 120000, UTC)},
    )
    assert result.result_rows == [(nasty, -5, ["x'", "y"], datetime(2024, 5, 6, 7, 8, 9, 120000))]


def test_an_identifier_can_be_a_parameter(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    store.insert("t", [[1, "x"]], column_names=["a", "b"])
    assert store.query("SELECT a FROM {t:Identifier}", parameters={"t": "t"}).result_rows == [(1,)]


def test_a_requests_settings_end_with_it(call: Http) -> None:
    ask = "SELECT getSetting('max_block_size'), getSetting('max_result_rows')"
    before = call(ask)[1]
    assert call(ask, max_block_size=1234, max_result_rows=77)[1] == b"1234\t77\n"
    call("SET max_block_size = 4321")
    assert call(ask)[1] == before


def test_a_requests_parameters_and_database_end_with_it(store: Client, call: Http) -> None:
    store.command(f"CREATE TABLE only_here {ROWS}")
    assert call("SELECT {x:UInt8} FROM only_here", param_x=1)[0] == 200
    assert b"UNKNOWN_QUERY_PARAMETER" in call("SELECT {x:UInt8}")[1]
    assert b"UNKNOWN_TABLE" in call("SELECT * FROM only_here", database="default")[1]


def test_the_output_format(call: Http) -> None:
    status, body, headers = call("SELECT 1 AS x, 'a' AS y")
    assert (status, body, headers["X-ClickHouse-Format"]) == (200, b"1\ta\n", "TabSeparated")
    assert call("SELECT 1 AS x", default_format="JSONEachRow")[1] == b'{"x":1}\n'
    assert call("SELECT 1 AS x", headers={"X-ClickHouse-Format": "CSVWithNames"})[1] == b'"x"\n1\n'
    # A FORMAT clause comes before what the request asks for.
    status, body, headers = call("SELECT 1 AS x FORMAT JSONCompact", default_format="CSV")
    assert json.loads(body)["data"] == [[1]]
    assert headers["X-ClickHouse-Format"] == "JSONCompact"
    assert headers["Content-Type"].startswith("application/json")


def test_a_statement_without_a_result_names_no_format(call: Http) -> None:
    status, body, headers = call("CREATE TABLE t (a Int8) ENGINE = Memory")
    assert (status, body, headers["X-ClickHouse-Format"]) == (200, b"", None)


def test_the_query_may_be_in_the_url_in_the_body_or_in_both(call: Http) -> None:
    assert call("SELECT 1", method="GET")[1] == b"1\n"
    assert call(body=b"SELECT 1")[1] == b"1\n"
    assert call("SELECT", body=b"1")[1] == b"1\n"
    assert call(body=gzip.compress(b"SELECT 1"), headers={"Content-Encoding": "gzip"})[1] == b"1\n"
    assert call(body=iter([b"SELECT ", b"'", b"\xff", b"'"]))[1] == b"\xff\n"  # chunked


def test_a_form_may_carry_the_query(clickhouse: ClickHouseAddress) -> None:
    with clickhouse_connect.get_client(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.username,
        password=clickhouse.password,
        autogenerate_session_id=False,
        form_encode_query_params=True,
    ) as client:
        assert client.query("SELECT {s:String}", parameters={"s": "é" * 20_000}).result_rows == [
            ("é" * 20_000,)
        ]


def test_a_get_changes_nothing(store: Client, call: Http) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    status, _, headers = call("DROP TABLE t", method="GET")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")
    assert store.command("EXISTS TABLE t") == 1


def test_a_connection_is_kept(call: Http) -> None:
    call("SELECT 1")
    kept = call.connection.sock
    for number in range(20):
        assert call(f"SELECT {number}")[1] == f"{number}\n".encode()
    call("SELECT nonsense(")
    assert call("SELECT 1")[1] == b"1\n"
    assert call.connection.sock is kept


@pytest.mark.parametrize(("encoding", "undo"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_a_client_may_ask_for_compression(call: Http, encoding: str, undo: Callable[[bytes], bytes]) -> None:
    accept = {"Accept-Encoding": encoding}
    query = "SELECT number FROM numbers(10000)"
    plain = call(query)[1]
    _, body, headers = call(query, headers=accept, enable_http_compression=1)
    assert headers["Content-Encoding"] == encoding
    assert undo(body) == plain
    _, body, headers = call(query, headers=accept, enable_http_compression=0)
    assert (headers["Content-Encoding"], body) == (None, plain)


def test_the_query_id_comes_back(call: Http) -> None:
    assert call("SELECT 1", query_id="my-own-id")[2]["X-ClickHouse-Query-Id"] == "my-own-id"
    assert call("SELECT 1")[2]["X-ClickHouse-Query-Id"]


def test_a_result_of_a_million_rows(store: Client) -> None:
    result = store.query("SELECT number AS n, toString(number) AS s FROM numbers(1000000)")
    assert result.row_count == 1_000_000
    assert result.result_rows[-1] == (999_999, "999999")


def test_a_stream_of_rows(store: Client) -> None:
    with store.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
        assert sum(row[0] for block in blocks for row in block) == sum(range(300_000))


def test_columns_of_an_empty_result(store: Client) -> None:
    assert store.query("SELECT 1 AS x, 'a' AS y LIMIT 0").column_names == ("x", "y")
    assert store.query("SELECT 1 AS x WHERE 0").result_rows == []


def test_times_and_numbers_come_back_as_they_went_in(store: Client) -> None:
    store.command(
        "CREATE TABLE t (t DateTime64(3, 'UTC'), f Float64, n Nullable(Int64), d Decimal(18, 4),"
        " u UUID, l LowCardinality(String), m Map(String, String), a Array(Float64), b Bool, e Enum8('x' = 1))"
        " ENGINE = MergeTree ORDER BY t"
    )
    row = (
        datetime(2024, 2, 29, 23, 59, 59, 999000),
        0.1,
        None,
        Decimal("12345.6789"),
        UUID(int=7),
        "low",
        {"k": "v"},
        [1.5, 2.5],
        True,
        "x",
    )
    store.insert("t", [row])
    assert rows(store) == [row]


# -- changing


def test_tables_are_made_changed_listed_and_explained(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    store.command("ALTER TABLE t ADD COLUMN c Array(Float64) DEFAULT [1, 2]")
    store.insert("t", [[1, "x"], [2, "y"]], column_names=["a", "b"])
    store.command("CREATE TABLE copy AS t")
    store.command("INSERT INTO copy SELECT * FROM t WHERE a > {least:UInt8}", parameters={"least": 1})
    assert rows(store, "copy") == [(2, "y", [1.0, 2.0])]
    assert store.query("SHOW TABLES").result_columns == [["copy", "t"]]
    assert store.query("SELECT name FROM system.tables WHERE database = currentDatabase()").row_count == 2
    assert store.query("EXPLAIN SELECT * FROM t").row_count > 0
    store.command("ALTER TABLE t DELETE WHERE a = 1", settings={"mutations_sync": 1})
    store.command("OPTIMIZE TABLE t FINAL")
    assert store.command("SELECT count() FROM t") == 1


def test_a_view_adds_up_sums_over_arrays(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    store.command(
        "CREATE TABLE sums (k UInt8, s AggregateFunction(sumForEach, Array(Float64)))"
        " ENGINE = AggregatingMergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 100"
    )
    store.command(
        "CREATE MATERIALIZED VIEW v TO sums AS"
        " SELECT toUInt8(a % 2) AS k, sumForEachState([toFloat64(a), 1.0]) AS s FROM t GROUP BY k"
    )
    for token in ("one", "one", "two"):
        store.insert(
            "t",
            [[n, ""] for n in range(10)],
            column_names=["a", "b"],
            settings={
                "insert_deduplication_token": token,
                "deduplicate_blocks_in_dependent_materialized_views": 1,
            },
        )
    result = store.query("SELECT k, sumForEachMerge(s) FROM sums GROUP BY k ORDER BY k")
    assert result.result_rows == [(0, [40.0, 10.0]), (1, [50.0, 10.0])]


# -- inserting


def test_an_insert_of_columns_keeps_every_byte(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    summary = store.insert("t", [[1, ALL_BYTES], [2, b""]], column_names=["a", "b"])
    assert summary.written_rows == 2
    assert store.command("SELECT hex(b) FROM t WHERE a = 1") == ALL_BYTES.hex().upper()


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate", "lz4", "zstd"])
@pytest.mark.parametrize("where", ["url", "body"])
def test_an_insert_of_json_lines(store: Client, call: Http, encoding: str | None, where: str) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    do: dict[str | None, Callable[[bytes], bytes]] = {
        None: lambda data: data,
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        # As clickhouse-connect sends it: a frame for each block.
        "lz4": lambda data: lz4.frame.compress(data[:50]) + lz4.frame.compress(data[50:]),
        "zstd": lambda data: zstandard.compress(data[:50]) + zstandard.compress(data[50:]),
    }
    statement = "INSERT INTO t (a, b) FORMAT JSONEachRow"
    data = b"".join(b'{"a": %d, "b": "FORMAT Native; \\u0000 \\"%d\\""}\n' % (n, n) for n in range(1000))
    body = data if where == "url" else statement.encode() + b"\n" + data
    status, answer, headers = call(
        statement if where == "url" else "",
        do[encoding](body),
        headers={"Content-Encoding": encoding} if encoding else {},
        async_insert=0,
    )
    assert (status, answer) == (200, b"")
    assert int(json.loads(headers["X-ClickHouse-Summary"])["written_rows"]) == 1000
    assert rows(store) == [(n, f'FORMAT Native; \0 "{n}"') for n in range(1000)]


def test_raw_inserts_as_the_sink_sends_them(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    lines = b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'
    packed = lz4.frame.compress(lines)

    def settings(token: str) -> dict[str, Any]:
        return {"async_insert": 0, "insert_deduplication_token": token}

    store.raw_insert("t", insert_block=lines, fmt="JSONEachRow", settings=settings("1"))
    parts = (lines[at : at + 20] for at in range(0, len(lines), 20))
    store.raw_insert("t", ["a", "b"], parts, fmt="JSONEachRow", settings=settings("2"))
    store.raw_insert("t", insert_block=packed, fmt="JSONEachRow", compression="lz4", settings=settings("3"))
    assert rows(store) == [(1, "x")] * 3 + [(2, "y")] * 3


def test_inserts_in_other_formats(store: Client, call: Http) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    bodies: dict[str, bytes] = {
        "INSERT INTO t FORMAT CSV": b'1,"a, b"\n',
        "INSERT INTO t (b, a) FORMAT TSV": b"tab\\t\t2\n",
        "INSERT INTO t VALUES": b"(3, 'VALUES (')",
        "INSERT INTO t FORMAT Values": b"(4, 'x;y')",
        "INSERT INTO t SETTINGS async_insert = 0 FORMAT RowBinary": (5).to_bytes(8, "little")
        + b"\x03\x00\n\xff",
    }
    for statement, body in bodies.items():
        assert call(statement, body, async_insert=0)[:2] == (200, b""), statement
    assert call("INSERT INTO t (a) VALUES (6), (7)", async_insert=0)[0] == 200
    assert store.query("SELECT a, hex(b) FROM t ORDER BY a").result_rows == [
        (1, b"a, b".hex().upper()),
        (2, b"tab\t".hex().upper()),
        (3, b"VALUES (".hex().upper()),
        (4, b"x;y".hex().upper()),
        (5, "000AFF"),
        (6, ""),
        (7, ""),
    ]


def test_a_block_counts_once_however_often_its_token_comes(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    store.command(f"CREATE TABLE seen {ROWS}")
    store.command("CREATE MATERIALIZED VIEW v TO seen AS SELECT a, b FROM t")
    lines = b"".join(b'{"a": %d, "b": ""}\n' % n for n in range(100))
    for token in ("p0:0-99", "p0:0-99", "p1:0-99"):
        settings = {
            "insert_deduplication_token": token,
            "async_insert": 0,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }
        store.raw_insert("t", insert_block=lines, fmt="JSONEachRow", settings=settings)
    assert store.command("SELECT count() FROM t") == 200
    assert store.command("SELECT count() FROM seen") == 200


def test_an_upload_that_breaks_off_inserts_nothing(store: Client, call: Http) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    body = b"INSERT INTO t FORMAT JSONEachRow\n" + b'{"a": 1}\n' * 100
    for head, sent in (
        (f"Content-Length: {len(body) + 1000}", body),
        ("Transfer-Encoding: chunked", b"%x\r\n%s\r\n" % (len(body), body)),
    ):
        with call.start(head, sent) as connection:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass  # until the server is done with it
    assert store.command("SELECT count() FROM t") == 0


# -- failing


@pytest.mark.parametrize(
    ("query", "code", "name", "status"),
    [
        ("SELECT * FROM not_there", 60, "UNKNOWN_TABLE", 404),
        ("SELECT 1 FROM nowhere.t", 81, "UNKNOWN_DATABASE", 404),
        ("SELECT not_there(1)", 46, "UNKNOWN_FUNCTION", 404),
        ("SELECT x", 47, "UNKNOWN_IDENTIFIER", 404),
        ("SELECT 1 FORMAT NotThere", 73, "UNKNOWN_FORMAT", 404),
        ("SELEC 1", 62, "SYNTAX_ERROR", 400),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR", 400),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500),
        ("INSERT INTO not_there FORMAT JSONEachRow", 60, "UNKNOWN_TABLE", 404),
    ],
)
def test_errors_carry_clickhouses_code(
    store: Client, call: Http, query: str, code: int, name: str, status: int
) -> None:
    answer, body, headers = call(query, body=b"" if query.startswith("INSERT") else None)
    assert (answer, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert f"({name})".encode() in body
    with pytest.raises(DatabaseError) as raised:
        store.command(query)
    assert (raised.value.code, raised.value.name) == (code, name)


def test_an_unknown_setting_is_refused(call: Http) -> None:
    status, _, headers = call("SELECT 1", no_such_setting=1)
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115")


def test_an_insert_that_fails_inserts_nothing(store: Client) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    lines = b'{"a": 1, "b": ""}\n' * 1000 + b'{"a": "no number"}\n'
    with pytest.raises(DatabaseError) as raised:
        store.raw_insert("t", insert_block=lines, fmt="JSONEachRow", settings={"async_insert": 0})
    assert raised.value.code in (27, 117)
    assert store.command("SELECT count() FROM t") == 0


def test_data_that_is_no_text_is_refused_with_a_code(store: Client, call: Http) -> None:
    """The error quotes the data. Without its code, whoever sends the rows would take the store for broken."""
    store.command(f"CREATE TABLE t {ROWS}")
    status, text, headers = call("INSERT INTO t FORMAT JSONEachRow", b'{"a": 1}\n' + bytes(range(256)))
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "27"), text


def test_a_block_that_breaks_a_constraint_is_refused_whole(store: Client) -> None:
    """The error comes after parsing: an engine that only listens until then acknowledges rows it did not store."""
    store.command(
        "CREATE TABLE checked (a UInt64, CONSTRAINT small CHECK a < 10) ENGINE = MergeTree ORDER BY a"
    )
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        store.raw_insert("checked", insert_block=b'{"a": 1}\n{"a": 11}', fmt="JSONEachRow")
    with pytest.raises(DatabaseError, match="VIOLATED_CONSTRAINT"):
        store.insert("checked", [[2], [12]], column_names=["a"])
    store.insert("checked", [[3]], column_names=["a"])
    assert store.query("SELECT a FROM checked").result_rows == [(3,)]


def test_an_insert_may_carry_settings(store: Client) -> None:
    store.command("CREATE TABLE set_by_statement (a UInt64) ENGINE = MergeTree ORDER BY a")
    store.command(
        "INSERT INTO set_by_statement (a) SETTINGS max_threads = 1 FORMAT JSONEachRow", data='{"a": 7}\n'
    )
    assert store.query("SELECT a FROM set_by_statement").result_rows == [(7,)]


def test_max_execution_time_ends_a_query(store: Client) -> None:
    with pytest.raises(DatabaseError) as raised:
        store.command(
            "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)", settings={"max_execution_time": 0.3}
        )
    assert raised.value.code == 159


# -- several at once


def test_readers_see_whole_blocks_while_it_ingests(
    clickhouse: ClickHouseAddress, store: Client, database: str
) -> None:
    store.command(f"CREATE TABLE t {ROWS}")
    block = b"".join(b'{"a": %d, "b": "%s"}\n' % (n, b"x" * 500) for n in range(1000))
    stop = threading.Event()

    def client() -> Client:
        return clickhouse_connect.get_client(
            host=clickhouse.host,
            port=clickhouse.port,
            username=clickhouse.username,
            password=clickhouse.password,
            database=database,
            autogenerate_session_id=False,
        )

    def write(name: int) -> int:
        with client() as writer:
            for number in range(40):
                token = {"insert_deduplication_token": f"{name}-{number}", "async_insert": 0}
                writer.raw_insert("t", insert_block=block, fmt="JSONEachRow", settings=token)
        return 40 * 1000

    def read(name: int) -> int:
        reads = last = 0
        with client() as reader:
            while not stop.is_set():
                count = reader.query("SELECT count() FROM t").result_rows[0][0]
                assert count % 1000 == 0
                assert count >= last
                text = f"{name}-{reads}"
                assert reader.query("SELECT {t:String} AS t", parameters={"t": text}).result_rows == [(text,)]
                last, reads = count, reads + 1
        return reads

    with ThreadPoolExecutor(4) as threads:
        readers = [threads.submit(read, name) for name in range(2)]
        writers = [threads.submit(write, name) for name in range(2)]
        try:
            written = sum(writer.result() for writer in writers)
        finally:
            stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert store.command("SELECT count() FROM t") == written


def test_a_query_ends_when_its_client_goes_away(store: Client, call: Http) -> None:
    mark = f"mark_{id(call)}"
    query = f"SELECT sum(cityHash64(number)) AS {mark} FROM numbers(1000000000000)".encode()

    def under_way() -> bool:
        running = store.query("SELECT query FROM system.processes").result_columns[0]
        return any(mark in text for text in running)

    connection = call.start(f"Content-Length: {len(query)}", query)
    until(under_way)
    connection.close()
    until(lambda: not under_way())
