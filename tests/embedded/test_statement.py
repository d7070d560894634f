"""Where an INSERT's data begins: byte for byte, whatever the data is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowlane.embedded.store.statement import find_insert, from_file, output_format

HEADERS = [
    "INSERT INTO t",
    "insert into db.t",
    "INSERT INTO TABLE `a``b`.`FORMAT`",
    "INSERT INTO format",
    "INSERT INTO values",
    'INSERT INTO db.select (`values`, "FORMAT", c)',
    "-- FORMAT CSV\nINSERT /* VALUES (';') */ INTO t (a, b)",
    "# INSERT INTO x VALUES\nINSERT INTO t",
    "INSERT INTO t (* EXCEPT(format))",
    "INSERT INTO t SETTINGS async_insert = 0, insert_deduplication_token = 'it\\'s FORMAT \\\\'",
    "INSERT INTO FUNCTION file('x FORMAT CSV', 'CSV')",
    "INSERT INTO {t:Identifier} (a)",
]


@pytest.mark.parametrize("header", HEADERS)
@given(data=st.binary(max_size=60))
def test_data_after_a_format_is_left_alone(header: str, data: bytes) -> None:
    text = f"{header}\n FORMAT JSONEachRow\n".encode()
    insert = find_insert(text + data)
    assert insert is not None
    assert (insert.header, insert.format, insert.data_at) == (header, "JSONEachRow", len(text))


@pytest.mark.parametrize("header", HEADERS)
@given(data=st.binary(max_size=60))
def test_data_after_values_is_left_alone(header: str, data: bytes) -> None:
    text = f"{header} values".encode()
    insert = find_insert(text + b"(" + data)
    assert insert is not None
    assert (insert.header, insert.format, insert.data_at) == (header, "Values", len(text))


@pytest.mark.parametrize("header", HEADERS)
def test_an_insert_may_name_no_format(header: str) -> None:
    insert = find_insert(f"{header} ;\n".encode())
    assert insert is not None
    assert (insert.header.rstrip(), insert.format) == (header, None)


@pytest.mark.parametrize(
    ("after", "eaten"), [("\n", 1), (" \t\n", 3), ("\r\n", 2), ("", 0), ("\n\n", 1), (" ", 1), ("{}", 0)]
)
def test_one_end_of_line_belongs_to_the_statement(after: str, eaten: int) -> None:
    text = "INSERT INTO t FORMAT TSV"
    insert = find_insert((text + after).encode())
    assert insert is not None
    assert insert.data_at == len(text) + eaten


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FORMAT CSV",
        "INSERT INTO t SELECT * FROM values('a Int8', 1) FORMAT CSV",
        "INSERT INTO t (a) WITH 1 AS x SELECT x",
        "INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        "CREATE TABLE insert (a Int8) ENGINE = Memory",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "INSERTED INTO t VALUES",
        "/* INSERT INTO t VALUES (1) */",
        "",
    ],
)
def test_other_statements_carry_no_data(text: str) -> None:
    assert find_insert(text.encode()) is None


@given(st.binary(max_size=200))
def test_no_text_is_too_strange(text: bytes) -> None:
    for prefix in (b"", b"INSERT INTO t "):
        try:
            insert = find_insert(prefix + text)
        except UnicodeDecodeError:
            continue
        assert insert is None or 0 <= insert.data_at <= len(prefix + text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", "CSV"),
        ("SELECT 1 FORMAT Native", "Native"),
        ("SELECT 1\n format  JSONEachRow ;\n", "JSONEachRow"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        ("SELECT 'FORMAT Native'", "CSV"),
    ],
)
def test_the_output_format(text: str, expected: str) -> None:
    assert output_format(text.encode(), "CSV") == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("INSERT INTO t", "INSERT INTO t FROM INFILE '/f'  FORMAT Native"),
        ("INSERT INTO t (a, b)", "INSERT INTO t (a, b) FROM INFILE '/f'  FORMAT Native"),
        (
            "INSERT INTO t (a) SETTINGS max_threads = 1",
            "INSERT INTO t (a)  FROM INFILE '/f' SETTINGS max_threads = 1 FORMAT Native",
        ),
        ("INSERT INTO t (settings)", "INSERT INTO t (settings) FROM INFILE '/f'  FORMAT Native"),
        ("INSERT INTO `settings`", "INSERT INTO `settings` FROM INFILE '/f'  FORMAT Native"),
    ],
)
def test_data_may_come_from_a_file(header: str, expected: str) -> None:
    assert from_file(header, "/f", "Native") == expected
