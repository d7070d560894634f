"""What the text of a statement says before the engine sees it: where an INSERT's data begins.

ClickHouse's HTTP interface takes an INSERT's statement and its data as one text, or one in the URL and one in
the body; chDB reads data with every byte intact only from a file. This module finds the seam, as ClickHouse's
parser does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space> \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
  | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` )
  | (?P<word> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = (b"(", b"[", b"{"), (b")", b"]", b"}")
# After the format's name: blanks, and at most one end of line. What follows is data, byte for byte.
_BEFORE_DATA = re.compile(rb"[ \t\f]*\r?\n?")
_FORMAT_AT_END = re.compile(
    rb"\bFORMAT\s+(\w+)(?:\s+SETTINGS\b[^'\"`]*)?[\s;]*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT that carries data: ``header`` without format, the format's name if it has one.

    The data begins at byte ``data_at`` of the text that was read.
    """

    header: str
    format: str | None
    data_at: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: bytes
    start: int
    end: int


def _tokens(text: bytes) -> Iterator[_Token]:
    at = 0
    while found := _TOKEN.match(text, at):
        at = found.end()
        kind = found.lastgroup or "other"
        if kind != "space":
            yield _Token(kind, found[0].upper() if kind == "word" else found[0], found.start(), at)


def find_insert(text: bytes) -> Insert | None:
    """Return the INSERT at the start of ``text``, or None for any other statement.

    INSERT … SELECT and INSERT … FROM INFILE carry no data: they are other statements. A text that is
    no SQL gives None or a header that the engine will refuse; nothing is raised but UnicodeDecodeError.
    """
    tokens = _tokens(text)
    if not _is_word(token := next(tokens, None), b"INSERT"):
        return None
    token = next(tokens, None)
    for optional in (b"INTO", b"TABLE", b"FUNCTION"):
        if _is_word(token, optional):
            token = next(tokens, None)
    # The table's name is taken as it is: it may well be a word such as `format`, or {name:Identifier}.
    depth = 1 if token and token.text in _OPENING else 0
    after_dot, last = False, token
    for token in tokens:
        if token.text in _OPENING:
            depth += 1
        elif token.text in _CLOSING:
            depth -= 1
        elif token.kind == "word" and depth == 0 and not after_dot:
            if token.text in (b"SELECT", b"WITH", b"FROM", b"WATCH"):
                return None
            if token.text == b"VALUES":
                return Insert(_decode(text[: token.start]), "Values", token.end)
            if token.text == b"FORMAT":
                return _with_format(text, token, next(tokens, None))
        after_dot = token.text == b"."
        last = token
    return Insert(_decode(text[: last.end if last else 0]).rstrip(";"), None, len(text))


def _with_format(text: bytes, keyword: _Token, name: _Token | None) -> Insert | None:
    if name is None or name.kind != "word":
        return None
    before_data = _BEFORE_DATA.match(text, name.end)
    assert before_data  # it matches the empty text too
    header = _decode(text[: keyword.start])
    format_name = _decode(text[name.start : name.end])
    return Insert(header, "Values" if format_name.lower() == "values" else format_name, before_data.end())


def from_file(header: str, path: str, format_name: str) -> str:
    """The INSERT of ``header`` with its data in a file: FROM INFILE stands before SETTINGS, if there are any."""
    text, depth, seam = header.encode(), 0, len(header.encode())
    for token in _tokens(text):
        if token.text in _OPENING:
            depth += 1
        elif token.text in _CLOSING:
            depth -= 1
        elif depth == 0 and token.start and _is_word(token, b"SETTINGS"):
            seam = token.start
    before, settings = text[:seam].decode(), text[seam:].decode()
    return f"{before} FROM INFILE '{path}' {settings} FORMAT {format_name}"


def _is_word(token: _Token | None, word: bytes) -> bool:
    return token is not None and token.kind == "word" and token.text == word


def _decode(text: bytes) -> str:
    return text.decode().strip()


def output_format(text: bytes, default: str) -> str:
    """The format that a statement's result comes in: that of its FORMAT clause, or ``default``."""
    found = _FORMAT_AT_END.search(text, max(0, len(text) - 4096))
    return found[1].decode() if found else default
