"""Errors as ClickHouse's HTTP interface gives them: a code, a status, one line of text."""

import re

# ClickHouse's error codes, by the HTTP status that its server answers them with; the rest are 500.
_CODES_BY_STATUS = {
    400: "6 8 15 25 26 27 36 37 38 41 44 53 62 72 117 123 167 168 223 321 376 427 441 675 676",
    401: "194",
    403: "192 193 497 512 516",
    404: "46 47 50 56 60 63 73 78 81 115 152 336 511",
    408: "159",
    411: "381",
    413: "229",
    415: "779",
    501: "48",
    503: "76 209 439",
}
_STATUS = {int(code): status for status, codes in _CODES_BY_STATUS.items() for code in codes.split()}
_TEXT = re.compile(r"Code: (\d+)\. ")
_VERSION = re.compile(r"\(version [^()]*\)\s*$")


class Problem(Exception):
    """A request that is refused, or a query that failed.

    ``code`` is ClickHouse's error code, ``status`` the HTTP status, ``str()`` the body of the answer.
    """

    def __init__(self, code: int, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.status = status or _STATUS.get(code, 500)


def refused(code: int, name: str, message: str, status: int | None = None) -> Problem:
    """A problem found here, not by the engine, in the words ClickHouse would put it."""
    return Problem(code, f"Code: {code}. DB::Exception: {message} ({name})", status)


def from_engine(error: Exception, version: str) -> Problem:
    """The engine's error, with ClickHouse's code, without what chDB put around it."""
    text = str(error).strip()
    found = _TEXT.search(text)
    if not found:
        # chDB's own refusals have no code; 1002 is ClickHouse's UNKNOWN_EXCEPTION.
        return refused(1002, "UNKNOWN_EXCEPTION", text)
    text = text[found.start() :]
    if not _VERSION.search(text):
        text = f"{text} (version {version})"
    return Problem(int(found[1]), text)
