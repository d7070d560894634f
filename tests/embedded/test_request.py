"""From HTTP's parameters to a query."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.embedded.store.encoding import compress, decompress
from shadowlane.embedded.store.problem import Problem, from_engine
from shadowlane.embedded.store.request import Query, read_query


def read(body: bytes = b"", **fields: str) -> Query:
    return read_query(fields, {}, body, read_only=False)


def read_get(**fields: str) -> Query:
    return read_query(fields, {}, b"", read_only=True)


def test_settings_parameters_and_http_are_told_apart() -> None:
    query = read(
        query="SELECT 1",
        param_x="1",
        max_threads="2",
        wait_end_of_query="1",
        client_protocol_version="54405",
        session_id="s",
        database="d",
    )
    assert (query.sql, query.database) == (b"SELECT 1", "d")
    assert query.settings == {"max_threads": "2"}
    assert query.parameters == {"x": "1"}


def test_a_get_reads_only() -> None:
    assert read_get(query="SELECT 1").settings == {"readonly": "2"}
    assert read_get(query="SELECT 1", readonly="1").settings == {"readonly": "1"}
    assert read_get(query="SELECT 1", readonly="0").settings == {"readonly": "2"}


def test_a_query_sent_twice_under_one_id_can_be_told_apart() -> None:
    first, second = (read(query="SELECT 1", query_id="q", log_comment="mine") for _ in range(2))
    assert first.query_id == second.query_id == "q"
    assert first.comment != second.comment
    assert "log_comment" not in first.settings
    assert first.comment.endswith(" mine")


@given(data=st.binary(max_size=100), in_url=st.booleans())
def test_an_inserts_data_is_taken_byte_for_byte(data: bytes, in_url: bool) -> None:
    statement = "INSERT INTO t (a) FORMAT Native"
    query = read(data, query=statement) if in_url else read(statement.encode() + b"\n" + data)
    assert (query.sql, query.insert_format) == (b"INSERT INTO t (a)", "Native")
    assert bytes(query.data) == data


def test_an_inserts_format_may_come_with_the_request() -> None:
    assert read(b"{}", query="INSERT INTO t", default_format="JSONEachRow").insert_format == "JSONEachRow"
    assert read(b"(1)", query="INSERT INTO t").insert_format == "Values"


def test_values_may_be_split_between_url_and_body() -> None:
    assert bytes(read(b"(2)", query="INSERT INTO t VALUES (1),").data) == b" (1),(2)"


@pytest.mark.parametrize(
    ("fields", "body", "code"),
    [
        ({"query": "SELECT 1", "compress": "1"}, b"", 48),
        ({"decompress": "1"}, b"SELECT 1", 48),
        ({}, b" \n", 62),
        ({}, b"INSERT INTO t\xff VALUES (1)", 62),
    ],
)
def test_what_is_not_done_is_refused(fields: dict[str, str], body: bytes, code: int) -> None:
    with pytest.raises(Problem) as raised:
        read(body, **fields)
    assert raised.value.code == code


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
@given(data=st.binary(min_size=1024, max_size=3000))
def test_what_is_compressed_can_be_read_again(encoding: str, data: bytes) -> None:
    packed, used = compress(data, f"br;q=1.0, {encoding.upper()};q=0.5, identity")
    assert used == encoding
    assert decompress(packed, encoding) == data


def test_only_what_is_accepted_is_used() -> None:
    data = bytes(5000)
    for accepted in ("", "br", "gzip;q=0", "lz4; q=0.0, identity"):
        assert compress(data, accepted) == (data, None)
    assert compress(b"short", "gzip") == (b"short", None)


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
@pytest.mark.parametrize("spoil", [lambda data: b"nonsense", lambda data: data[:-6]])
def test_a_body_that_is_not_what_it_says_is_refused(encoding: str, spoil: Callable[[bytes], bytes]) -> None:
    packed, _ = compress(bytes(5000), encoding)
    with pytest.raises(Problem) as raised:
        decompress(spoil(packed), encoding)
    assert (raised.value.status, raised.value.code) == (400, 271)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Problem, match=r"snappy.*lz4, zstd, gzip") as raised:
        decompress(b"x", "snappy")
    assert raised.value.status == 415


@pytest.mark.parametrize(
    ("text", "code", "status", "body"),
    [
        (
            "Streaming insert append failed: Code: 27. DB::Exception: no. (CANNOT) (version 1.2)",
            27,
            400,
            "Code: 27. DB::Exception: no. (CANNOT) (version 1.2)",
        ),
        (
            "Code: 60. DB::Exception: no t. (UNKNOWN_TABLE)",
            60,
            404,
            "Code: 60. DB::Exception: no t. (UNKNOWN_TABLE) (version 9)",
        ),
        ("out of luck", 1002, 500, "Code: 1002. DB::Exception: out of luck (UNKNOWN_EXCEPTION)"),
    ],
)
def test_the_engines_errors_in_clickhouses_words(text: str, code: int, status: int, body: str) -> None:
    problem = from_engine(RuntimeError(text), "9")
    assert (problem.code, problem.status, str(problem)) == (code, status, body)
