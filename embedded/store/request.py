"""From HTTP's parameters, headers and body to what the engine is asked."""

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from shadowlane.embedded.store.problem import refused
from shadowlane.embedded.store.statement import find_insert

# What the HTTP interface takes for itself; everything else is a setting.
_OWN = {
    *("query", "database", "default_format", "query_id", "user", "password", "quota_key", "role"),
    *("session_id", "session_timeout", "session_check", "close_session", "buffer_size", "stacktrace"),
    *("wait_end_of_query", "client_protocol_version", "send_progress_in_http_headers"),
    *("http_headers_progress_interval_ms", "enable_http_compression", "compress", "decompress"),
    "cancel_http_readonly_queries_on_client_close",
}
# ClickHouse's own block compression with its checksums; HTTP's encodings do the same job.
_NOT_DONE = ("compress", "decompress")
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement, with all that belongs to it and to no other.

    ``sql`` is the statement, or an INSERT's header when ``insert_format`` is set; then ``data`` is
    what is inserted. ``comment`` finds the running query in system.processes.
    """

    sql: bytes
    query_id: str
    comment: str
    database: str = ""
    default_format: str = "TabSeparated"
    insert_format: str | None = None
    data: memoryview = field(default_factory=lambda: memoryview(b""))
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


def read_query(
    fields: Mapping[str, str], headers: Mapping[str, str], body: bytes, *, read_only: bool
) -> Query:
    """Read a request: ``fields`` are the URL's parameters (and a form's), ``body`` is decompressed.

    A GET is ``read_only``, as with ClickHouse. Raises Problem for what is not done here.
    """
    for name in _NOT_DONE:
        if fields.get(name, "0") not in ("0", "false"):
            raise refused(
                48, "NOT_IMPLEMENTED", f"{name}=1 is not done by the embedded store: use Content-Encoding"
            )
    asked_format = fields.get("default_format") or headers.get("X-ClickHouse-Format") or ""
    query_id = fields.get("query_id") or str(uuid.uuid4())
    settings = {
        name: value for name, value in fields.items() if name not in _OWN and not name.startswith("param_")
    }
    if read_only and settings.get("readonly", "0") == "0":
        settings["readonly"] = "2"
    # The id alone may be there twice, when a client sends a request again.
    comment = f"{query_id} {next(_serial)} {settings.pop('log_comment', '')}".rstrip()
    sql, insert_format, data = _statement(fields.get("query", "").encode(), body, asked_format)
    return Query(
        sql=sql,
        query_id=query_id,
        comment=comment,
        database=fields.get("database") or headers.get("X-ClickHouse-Database") or "",
        default_format=asked_format or "TabSeparated",
        insert_format=insert_format,
        data=data,
        settings=settings,
        parameters={
            name.removeprefix("param_"): v for name, v in fields.items() if name.startswith("param_")
        },
    )


def _statement(in_url: bytes, body: bytes, asked_format: str) -> tuple[bytes, str | None, memoryview]:
    """Split a request into a statement and an INSERT's data, of which either may hold both."""
    text, rest = (in_url, body) if in_url.strip() else (body, b"")
    try:
        insert = find_insert(text)
    except UnicodeDecodeError as exc:
        raise refused(62, "SYNTAX_ERROR", f"the statement is not UTF-8: {exc}") from exc
    if insert:
        data = memoryview(text)[insert.data_at :]
        if rest:
            data = memoryview(bytes(data) + rest) if data else memoryview(rest)
        return insert.header.encode(), insert.format or asked_format or "Values", data
    sql = text + b"\n" + rest if rest else text
    if not sql.strip():
        raise refused(62, "SYNTAX_ERROR", "Empty query")
    return sql, None, memoryview(b"")
